"""Checks of what is passed to a Recurrent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def check_kind(what: str, tensor: Any, weight: Tensor) -> None:
    """Raise ValueError where ``tensor`` is none, or lies and is kept in another way than the weights."""
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{what} must be a torch.Tensor, got {type(tensor).__name__}")
    if tensor.device != weight.device:
        raise ValueError(
            f"{what} is on {tensor.device} and the weights are on {weight.device}: move one to the other"
        )
    if tensor.layout != torch.strided:
        raise ValueError(f"{what} is {tensor.layout}: make it dense with .to_dense()")
    if tensor.dtype != weight.dtype and not torch.is_autocast_enabled(tensor.device.type):
        raise ValueError(f"{what} is {tensor.dtype} and the weights are {weight.dtype}: make them one dtype")


def check_state(
    names: Sequence[str], tensors: Sequence[Any], expected: Sequence[tuple[int, ...]], weight: Tensor
) -> None:
    """Raise ValueError where the tensors of a state are not those of these names and shapes."""
    if [tuple(s.shape) for s in tensors] != list(expected):
        got = ", ".join(str(tuple(s.shape)) for s in tensors)
        shapes = f"each of shape {expected[0]}"
        if len(set(expected)) > 1:
            shapes = f"of shapes {', '.join(map(str, expected))}"
        raise ValueError(f"state must be ({', '.join(names)}), {shapes}; got {got}")
    for name, tensor in zip(names, tensors, strict=True):
        check_kind(f"state {name}", tensor, weight)
