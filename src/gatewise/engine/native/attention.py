"""Scores of additive attention as C: nothing of the size of all its tanh is ever in memory."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise.engine.native.emit import C_TYPES, attention_source
from gatewise.engine.native.kernel import loaded
from gatewise.engine.native.threads import openmp
from gatewise.engine.request import Unsupported
from gatewise.engine.second import differentiable_gradients

WORK_OF_A_THREAD = 100_000
"""Numbers whose tanh takes a thread longer than it takes to start."""


def plain_scores(queries: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
    """v · tanh(q + k), [B, Q, K], for queries [B, Q, A], keys [B, K, A] and v [A]."""
    return torch.tanh(queries.unsqueeze(2) + keys.unsqueeze(1)) @ weight


def scores(queries: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
    """The same by compiled code. Raises Unsupported where that cannot compute them."""
    tensors = (queries, keys, weight)
    for tensor in tensors:
        if tensor.device.type != "cpu" or tensor.layout != torch.strided:
            raise Unsupported(f"tensors on {tensor.device.type}")
        if type(tensor) not in (Tensor, torch.nn.Parameter):
            raise Unsupported(f"tensors of the class {type(tensor).__name__}")
        if tensor.dtype != queries.dtype or tensor.dtype not in C_TYPES:
            raise Unsupported(f"tensors of {tensor.dtype}")
    (batch, _, size), of_keys = queries.shape, keys.shape
    if (of_keys[0], of_keys[2], *weight.shape) != (batch, size, size):
        raise Unsupported("tensors whose shapes torch has to look at")
    functions = _compiled(queries.dtype)
    if isinstance(functions, Unsupported):
        raise functions
    found: Tensor = _Scores.apply(functions, *tensors)
    return found


@functools.cache
def _compiled(dtype: torch.dtype) -> tuple[Any, Any] | Unsupported:
    """The functions of the forward and the backward pass, or why there are none."""
    try:
        library = loaded(attention_source(dtype))
    except Unsupported as reason:
        return reason
    functions = library.gw_score, library.gw_score_back
    for function in functions:
        function.restype = None
    return functions


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, functions: tuple[Any, Any], queries: Tensor, keys: Tensor, weight: Tensor
    ) -> Tensor:
        ctx.save_for_backward(queries, keys, weight)
        ctx.functions = functions
        tensors = [tensor.contiguous() for tensor in (queries, keys, weight)]
        found = queries.new_empty(*queries.shape[:2], keys.shape[1])
        _call(functions[0], *tensors, found)
        return found

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        if torch.is_grad_enabled():
            # These gradients will be differentiated (create_graph).
            needed = ctx.needs_input_grad[1:]
            gradients = differentiable_gradients(_results, tensors, [above], needed)
            return (None, *gradients)
        queries, keys, weight = (tensor.contiguous() for tensor in tensors)
        of_weight = weight.new_empty(len(queries), len(weight))
        by_query, by_key = torch.empty_like(queries), torch.empty_like(keys)
        _call(ctx.functions[1], queries, keys, weight, above.contiguous(), by_query, by_key, of_weight)
        return None, by_query, by_key, of_weight.sum(0)


def _results(tensors: Sequence[Any]) -> tuple[Tensor]:
    return (plain_scores(*tensors),)


def _call(function: Any, queries: Tensor, keys: Tensor, *others: Tensor) -> None:
    """Pass what ``Attention`` in ``attention.c`` holds. The caller keeps the tensors alive."""
    sequences, count, size = queries.shape
    work = queries.numel() * keys.shape[1]
    threads = max(1, min(torch.get_num_threads(), work // WORK_OF_A_THREAD))
    words = [sequences, count, keys.shape[1], size, threads, *openmp()]
    words += [tensor.data_ptr() for tensor in (queries, keys, *others)]
    # The forward pass has no gradients.
    words += [0] * (3 - len(others[2:]))
    function((ctypes.c_int64 * len(words))(*words))
