"""The forms that the input of a Recurrent may have: a padded batch, one sequence, a PackedSequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatewise.cells import Cell
from gatewise.engine import Packing
from gatewise.nn.arguments import check_kind

Run = Callable[[Packing, Tensor], tuple[Tensor, Any, dict[str, list[Tensor]]]]
"""From packed inputs [N, F] to packed outputs, final state, and packed gates of each layer and direction."""


def check_input(
    x: Tensor | PackedSequence, lengths: Tensor | None, features: int, batch_first: bool, weight: Tensor
) -> None:
    """Raise ValueError for an input of another form, number of features, dtype or device."""
    check_kind("input", x.data if isinstance(x, PackedSequence) else x, weight)
    if isinstance(x, PackedSequence):
        if lengths is not None:
            raise ValueError("a PackedSequence carries its own lengths: leave `lengths` out")
        if x.data.dim() != 2 or x.data.shape[1] != features:
            raise ValueError(f"packed input must be [N, F] with F = {features}, got {tuple(x.data.shape)}")
    elif x.dim() not in (2, 3) or x.shape[-1] != features:
        shape = "[B, T, F]" if batch_first else "[T, B, F]"
        raise ValueError(f"input must be {shape} with F = {features}, got {tuple(x.shape)}")


def of_batch(run: Run, x: Tensor, lengths: Tensor | None, batch_first: bool, return_gates: bool) -> Any:
    """Run a padded batch [T, B, F], with ``batch_first`` [B, T, F]."""
    if batch_first:
        x = x.transpose(0, 1)
    time, batch = x.shape[:2]
    packing = Packing.full(time, batch) if lengths is None else Packing.of(lengths, time, batch, x.device)
    outputs, final, gates = run(packing, packing.pack(x))
    outputs = packing.unpack(outputs)
    padded = {name: torch.stack([packing.unpack(g) for g in values]) for name, values in gates.items()}
    if batch_first:
        outputs = outputs.transpose(0, 1)
        padded = {name: values.transpose(1, 2) for name, values in padded.items()}
    return (outputs, final, padded) if return_gates else (outputs, final)


def of_packed_sequence(run: Run, x: PackedSequence, return_gates: bool) -> Any:
    """Run a PackedSequence: outputs are one as well, and so are the gates of each layer and direction."""
    outputs, final, gates = run(Packing.of_packed_sequence(x), x.data)
    packed = x._replace(data=outputs)
    if not return_gates:
        return packed, final
    return packed, final, {k: [x._replace(data=g) for g in values] for k, values in gates.items()}


def of_one_sequence(
    call: Callable[..., Any],
    cell: Cell,
    x: Tensor,
    state: Any,
    lengths: Tensor | None,
    batch_first: bool,
    return_gates: bool,
) -> Any:
    """Call a Recurrent of this cell with one sequence [T, F], as a batch of one."""
    batch_dim = 0 if batch_first else 1
    if state is not None:
        state = tuple(s.unsqueeze(1) for s in ((state,) if isinstance(state, Tensor) else state))
    lengths = None if lengths is None else lengths.reshape(-1)
    outputs, final, *gates = call(x.unsqueeze(batch_dim), state, lengths, return_gates)
    final = cell.name_state([s.squeeze(1) for s in final])
    squeezed = [{name: g.squeeze(1 + batch_dim) for name, g in values.items()} for values in gates]
    return (outputs.squeeze(batch_dim), final, *squeezed)
