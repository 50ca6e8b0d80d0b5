"""Passes of sequences through an encoder, whose layers may each have a size of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatewise.nn import StackedTrace, Trace
from gatewise.tasks.inspected import Inspected

ByLayer = dict[str, list[Tensor]]
"""By the name of a gate or state one tensor for each layer, whose first axis are the directions."""


class Gradients(NamedTuple):
    """Gradients by every state after every step."""

    score: ByLayer
    """Of the score of an answer after the last step, [D, T, H] each."""
    losses: ByLayer
    """Of R losses, each after some steps, [D, R, T, H] each; NaN after them."""


def traced(inspected: Inspected) -> tuple[list[Trace], Tensor]:
    """The trace of the first sequence, one for each Recurrent of the encoder, and the outputs [1, T, K]."""
    rows, lengths = first_row(inspected)
    trace = inspected.encoder.trace(inspected.encoded(rows, lengths), lengths, inspected.state(1))
    outputs = trace.outputs
    assert isinstance(outputs, Tensor)
    return list(trace.layers) if isinstance(trace, StackedTrace) else [trace], outputs


def first_row(inspected: Inspected) -> tuple[Tensor, Tensor]:
    """The first sequence as the only row [1, T, F], without padding, and its length."""
    return inspected.inputs[:1, : int(inspected.lengths[0])].detach(), inspected.lengths[:1]


def by_layer(parts: Sequence[Mapping[str, Tensor]]) -> ByLayer:
    """Values [L, …] by name, of each Recurrent of an encoder, layer by layer."""
    return {name: [layer for part in parts for layer in part[name]] for name in parts[0]}


def gates_and_states(inspected: Inspected, rows: Tensor, lengths: Tensor) -> ByLayer:
    """Every gate and state at every step of rows in the form of ``inputs``, [D, R, T, H] each."""
    encoder = inspected.encoder
    state = inspected.state(len(rows))
    _, _, found = encoder(inspected.encoded(rows, lengths), state, lengths, return_gates=True)
    parts = list(found) if isinstance(found, tuple) else [found]
    directions = encoder.num_directions
    return by_layer([{k: v.unflatten(0, (-1, directions)) for k, v in part.items()} for part in parts])


def set_by_layer(inspected: Inspected, values: Mapping[str, Sequence[Tensor]]) -> Any:
    """Values of gates, one tensor [D, R, T, H] for each layer, in the form that the encoder's call takes."""
    if inspected.encoder is inspected.stack[0]:
        return {name: torch.stack(list(layers)) for name, layers in values.items()}
    return [{name: layers[index] for name, layers in values.items()} for index in range(len(inspected.sizes))]


def state_gradients(inspected: Inspected, answer: Any, lengths: Tensor | None = None) -> Gradients:
    """Gradients of the score of an answer to the first sequence, and of the losses after ``lengths`` steps.

    They come of one pass: of many small steps, one row more takes hardly longer.
    """
    time = int(inspected.lengths[0])
    whole = torch.full((1,), time)
    lengths = whole[:0] if lengths is None else lengths
    every = torch.cat([whole, lengths])
    rows = inspected.prefixes(every)

    def total(outputs: Tensor, state: Any) -> Tensor:  # noqa: ARG001
        scores = inspected.read(outputs, rows, every)
        found = inspected.score(scores[:1], answer).sum()
        return found + inspected.loss(scores[1:], lengths, answer).sum() if len(lengths) else found

    run: Callable[..., Any] = inspected.encoder.state_gradients
    parts = run(inspected.encoded(rows, every), total, every, inspected.state(len(rows)))
    found = by_layer(list(parts) if isinstance(parts, tuple) else [parts])
    return Gradients(
        {name: [layer[:, 0] for layer in layers] for name, layers in found.items()},
        {name: [layer[:, 1:] for layer in layers] for name, layers in found.items()},
    )
