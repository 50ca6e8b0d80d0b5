"""Calls of an engine prepared once for a form of input: what holds for all of them is not looked at again.

A training step on one step of few sequences takes a fraction of a millisecond, half of it in Python; on a GPU
Python has to be ahead of the kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gatewise.engine.autocast import without_autocast
from gatewise.engine.request import Request, Unsupported, Weights

PLAIN = (Tensor, torch.nn.Parameter)


class PreparedLayers:
    """A stack of layers of one direction, over B sequences of T steps each, whose results carry gradients."""

    def __init__(
        self,
        kernel: Any,
        layers: Sequence[Request],
        apply: Callable[..., Any],
        is_current: Callable[[], bool] | None = None,
        dtypes: tuple[torch.dtype, torch.dtype] | None = None,
    ) -> None:
        """``apply`` is that of the autograd Function which runs a layer by a kernel.

        ``is_current`` says whether it would still be prepared in the same way; ``dtypes`` are those of
        products and of states and own parameters, where they are not that of the input.
        """
        first = layers[0]
        self._kernel, self._apply, self._is_current = kernel, apply, is_current
        self._device = first.x.device
        self._of_input, self._of_weights = first.x.dtype, first.weights.input.dtype
        self._dtype, self._wide = dtypes or (first.x.dtype, first.x.dtype)
        self._converts = {self._of_input, self._of_weights, self._dtype, self._wide} != {self._dtype}
        # Converted within the node: an operation after it costs as much again for its own node.
        of_final = (self._dtype, *[self._of_weights] * (len(first.state) - 1)) if self._converts else None
        self._settings = [replace(layer.settings, final_dtypes=of_final) for layer in layers]
        # None where a layer has no such tensor, as for the mask of the state, which no prepared call has.
        self._shapes = [
            [None if tensor is None else tensor.shape for tensor in layer.tensors()] for layer in layers
        ]
        self._before = 5 + len(first.weights.own)
        """Place of the state before among the tensors of a request."""
        with torch.inference_mode(False):
            self._zeros = _zeros([state.shape for state in first.state], self._wide, self._device)

    def is_current(self) -> bool:
        """Whether it would still be prepared in the same way."""
        return self._is_current is None or self._is_current()

    def run(
        self, layers: Sequence[Weights], x: Tensor, state: Sequence[Tensor] | None
    ) -> tuple[Tensor, list[Tensor]] | None:
        """Outputs [T, B, P] and final state [L, B, P or H], from x [T, B, F] and the state before, or zeros.

        None where a tensor is not of the form that it was prepared for.
        """
        if state is not None and not self._fits(state, len(layers)):
            return None
        with without_autocast(self._device):
            return self._run(layers, x, state)

    def _run(
        self, layers: Sequence[Weights], x: Tensor, state: Sequence[Tensor] | None
    ) -> tuple[Tensor, list[Tensor]] | None:
        steps, batch = x.shape[:2]
        gradients = torch.is_grad_enabled()
        below = x.reshape(steps * batch, x.shape[2])
        finals = []
        for index, weights in enumerate(layers):
            given: tuple[Tensor | None, ...] = (
                below,
                weights.input,
                weights.hidden,
                weights.bias,
                None,
                *weights.own.values(),
            )
            last: tuple[Tensor | None, ...] = () if weights.projection is None else (weights.projection,)
            if state is None:
                if not self._are_as_prepared((*given, *last), index, has_state=False):
                    return None
                before: Sequence[Tensor] = self._zeros
            else:
                before = [s[index] for s in state]
                if not self._are_as_prepared((*given, *before, *last), index, has_state=True):
                    return None
            if self._converts:
                given, before, last = self._converted(given, before, last)
            tensors = (*given, *before, *last)
            differentiated = gradients and any(t is not None and t.requires_grad for t in tensors)
            try:
                below, *final = self._apply(self._settings[index], self._kernel, differentiated, *tensors)
            except Unsupported:  # the device refuses
                return None
            finals.append(final)
        if len(finals) == 1:
            after = [tensor.unsqueeze(0) for tensor in finals[0]]
        else:
            after = [torch.stack(of_layers) for of_layers in zip(*finals, strict=True)]
        return below.view(steps, batch, below.shape[1]), after

    def _converted(
        self, given: Sequence[Tensor | None], before: Sequence[Tensor], last: Sequence[Tensor | None]
    ) -> tuple[tuple[Tensor | None, ...], list[Tensor], tuple[Tensor | None, ...]]:
        """The tensors in the dtypes that they are computed in."""

        shared, own = _each_in(self._dtype, given[:5]), _each_in(self._wide, given[5:])
        states = [s if s.dtype is self._wide else s.to(self._wide) for s in before]
        return (*shared, *own), states, _each_in(self._dtype, last)

    def _fits(self, state: Sequence[Tensor], layers: int) -> bool:
        """Whether there is a state for every layer."""
        return len(state) == len(self._zeros) and all(
            type(given) is Tensor and given.shape == (layers, *like.shape)
            for given, like in zip(state, self._zeros, strict=True)
        )

    def _are_as_prepared(self, tensors: Sequence[Tensor | None], index: int, has_state: bool) -> bool:
        shapes = self._shapes[index]
        if not has_state:
            shapes = shapes[: self._before] + shapes[self._before + len(self._zeros) :]
        # Above the first layer, the input is what a layer has returned.
        dtype = self._of_input if not index else self._dtype
        for tensor, shape in zip(tensors, shapes, strict=True):
            if tensor is None or shape is None:
                if (tensor is None) is not (shape is None):
                    return False
            elif (
                tensor.shape != shape
                or tensor.dtype is not dtype
                or type(tensor) not in PLAIN
                or tensor.device != self._device
                or tensor.layout is not torch.strided
            ):
                return False
            dtype = self._of_weights
        return True


def _each_in(dtype: torch.dtype, tensors: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    return tuple(t if t is None or t.dtype is dtype else t.to(dtype) for t in tensors)


def _zeros(shapes: Sequence[torch.Size], dtype: torch.dtype, device: torch.device) -> Sequence[Tensor]:
    """Zeros of these shapes; one after the other in memory where all are the same."""
    if len(set(shapes)) > 1:
        return [torch.zeros(shape, dtype=dtype, device=device) for shape in shapes]
    return torch.zeros(len(shapes), *shapes[0], dtype=dtype, device=device).unbind(0)
