"""Second derivatives for the engines that are one autograd node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise.engine import loop
from gatewise.engine.request import Settings


def differentiable_backward(
    settings: Settings,
    tensors: Sequence[Any],
    grads: Sequence[Tensor | None],
    needed: Sequence[bool],
    gate_names: Sequence[str] = (),
) -> list[Tensor | None]:
    """The gradients of a request's tensors, as a graph that can be differentiated: from a run by the loop.

    ``tensors`` are those of :meth:`Request.tensors`; ``needed`` says for each whether its gradient is needed.
    ``grads`` are the gradients of the outputs, of the final state and of the gates (and states at every step)
    with these names; None where there is none.
    """

    def run(tensors: Sequence[Any]) -> tuple[Tensor, ...]:
        result = loop.run(settings.request(tensors))
        return (result.outputs, *result.state, *(result.gates[name] for name in gate_names))

    return differentiable_gradients(run, tensors, grads, needed)


def backward_by_loop(
    settings: Settings,
    tensors: Sequence[Any],
    grads: Sequence[Tensor | None],
    needed: Sequence[bool],
    gate_names: Sequence[str] = (),
) -> list[Tensor | None]:
    """The same without a graph, for an engine that has no backward pass for these gradients."""
    gradients = differentiable_backward(settings, tensors, grads, needed, gate_names)
    return [None if gradient is None else gradient.detach() for gradient in gradients]


def differentiable_gradients(
    run: Callable[[Sequence[Any]], Sequence[Tensor]],
    tensors: Sequence[Any],
    grads: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """The gradients of what ``run`` computes from tensors, as a graph that can be differentiated.

    ``grads`` are those of its results, or None.
    """
    with torch.enable_grad():
        # Views, because one input may be computed from another (a carried state from the weights), and a
        # gradient must not flow along that path: it lies outside this node.
        tensors = [None if tensor is None else tensor.view_as(tensor) for tensor in tensors]
        results = [
            (result, grad) for result, grad in zip(run(tensors), grads, strict=True) if grad is not None
        ]
        indices = [i for i, need in enumerate(needed) if need]
        needed_gradients = torch.autograd.grad(
            [result for result, _ in results],
            [tensors[i] for i in indices],
            [grad for _, grad in results],
            create_graph=True,
            allow_unused=True,
        )
    gradients: list[Tensor | None] = [None] * len(tensors)
    for i, gradient in zip(indices, needed_gradients, strict=True):
        gradients[i] = gradient
    return gradients


def pulled_back(
    settings: Settings, tensors: Sequence[Any], grads: Sequence[Tensor | None], wanted: Sequence[bool]
) -> tuple[Tensor, ...]:
    """As :func:`differentiable_backward`, inside of torch.func: gradients of the ``wanted`` tensors alone."""
    places = [place for place, want in enumerate(wanted) if want]

    def results(*chosen: Tensor) -> tuple[Tensor, ...]:
        values = list(tensors)
        for place, value in zip(places, chosen, strict=True):
            values[place] = value
        result = loop.run(settings.request(values))
        results = (result.outputs, *result.state)
        return tuple(value for value, grad in zip(results, grads, strict=True) if grad is not None)

    _, pull_back = torch.func.vjp(  # type: ignore[misc]
        results, *(tensors[place] for place in places)
    )
    gradients: tuple[Tensor, ...] = pull_back(tuple(grad for grad in grads if grad is not None))
    return gradients
