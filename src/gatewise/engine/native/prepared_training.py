"""Forward passes with gradients, prepared once for a form of input: the checks of a call need not come again.

A training step on one step of few sequences takes a fraction of a millisecond, half of it in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise.engine.native.kernel import Kernel
from gatewise.engine.request import Request, Weights

PLAIN = (Tensor, torch.nn.Parameter)


class PreparedTraining:
    """A stack of layers of one direction, over B sequences of T steps each, whose results carry gradients."""

    def __init__(self, kernel: Kernel, layers: Sequence[Request], apply: Callable[..., Any]) -> None:
        """``apply`` is that of the autograd Function which runs a layer."""
        self._kernel, self._apply = kernel, apply
        self._settings = [layer.settings for layer in layers]
        self._dtype = layers[0].x.dtype
        # None where a layer has no such tensor, as for the mask of the state, which no prepared call has.
        self._shapes = [
            [None if tensor is None else tensor.shape for tensor in layer.tensors()] for layer in layers
        ]
        self._zeros = [layer.state for layer in layers]

    def is_current(self) -> bool:
        """Always: every call looks for its threads."""
        return True

    def run(
        self, layers: Sequence[Weights], x: Tensor, state: Sequence[Tensor] | None
    ) -> tuple[Tensor, list[Tensor]] | None:
        """Outputs [T, B, P] and final state [L, B, P or H], from x [T, B, F] and the state before, or zeros.

        None where a tensor is not of the form that it was prepared for.
        """
        if state is not None and not self._fits(state, len(layers)):
            return None
        steps, batch = x.shape[:2]
        below = x.flatten(0, 1)
        finals = []
        for index, weights in enumerate(layers):
            before = self._zeros[index] if state is None else [s[index] for s in state]
            projection = () if weights.projection is None else (weights.projection,)
            tensors = (
                below,
                weights.input,
                weights.hidden,
                weights.bias,
                None,
                *weights.own.values(),
                *before,
                *projection,
            )
            if not self._are_as_prepared(tensors, index):
                return None
            differentiated = any(t is not None and t.requires_grad for t in tensors)
            below, *final = self._apply(self._settings[index], self._kernel, differentiated, *tensors)
            finals.append(final)
        if len(finals) == 1:
            after = [tensor.unsqueeze(0) for tensor in finals[0]]
        else:
            after = [torch.stack(of_layers) for of_layers in zip(*finals, strict=True)]
        return below.unflatten(0, (steps, batch)), after

    def _fits(self, state: Sequence[Tensor], layers: int) -> bool:
        """Whether there is a state for every layer."""
        zeros = self._zeros[0]
        return len(state) == len(zeros) and all(
            type(given) is Tensor and given.shape == (layers, *like.shape)
            for given, like in zip(state, zeros, strict=True)
        )

    def _are_as_prepared(self, tensors: Sequence[Tensor | None], index: int) -> bool:
        for tensor, shape in zip(tensors, self._shapes[index], strict=True):
            if tensor is None or shape is None:
                if (tensor is None) is not (shape is None):
                    return False
            elif (
                tensor.shape != shape
                or tensor.dtype is not self._dtype
                or type(tensor) not in PLAIN
                or not tensor.is_cpu
                or tensor.layout is not torch.strided
            ):
                return False
        return True
