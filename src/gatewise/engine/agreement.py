"""Whether an engine has the loop's results for a user's cell, tried once on a few short sequences.

An engine rests on what it has understood of a step. Tests show that for Gatewise's cells; for others this
does, so that what was misunderstood costs time and never a wrong number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.cells.noise import draw as draw_noise
from gatewise.engine import loop
from gatewise.engine.aside import aside
from gatewise.engine.contract import is_shipped
from gatewise.engine.examine import close, own_values
from gatewise.engine.request import Request, Result, Weights

_LARGEST = 1 << 24
"""Recurrent weights in one trial: more would take seconds."""
_agrees: WeakKeyDictionary[Cell, dict[object, bool]] = WeakKeyDictionary()


def agrees_with_loop(
    run: Callable[[Request], Result],
    cell: Cell,
    hidden_size: int,
    dtype: torch.dtype,
    gates: bool = False,
) -> bool:
    """Whether ``run`` has the loop's values and gradients for a user's cell; found once for each.

    With ``gates`` those of every step's gates and states as well.
    """
    if is_shipped(cell) or len(cell.recurrent) * hidden_size * cell.state_sizes(hidden_size)[0] > _LARGEST:
        return True
    by_engine = _agrees.setdefault(cell, {})
    key = (run.__module__, hidden_size, dtype, gates)
    if key not in by_engine:
        by_engine[key] = aside(_compare, run, cell, hidden_size, dtype, gates)
    return by_engine[key]


def _compare(
    run: Callable[[Request], Result], cell: Cell, hidden_size: int, dtype: torch.dtype, gates: bool
) -> bool:
    with torch.random.fork_rng([]):
        request = replace(_request(cell, hidden_size, dtype), return_gates=gates)
    expected, results = _results(loop.run, request), _results(run, request)
    return all(close(result, value) for result, value in zip(results, expected, strict=True))


def _request(
    cell: Cell, hidden_size: int, dtype: torch.dtype, lengths: tuple[int, ...] = (4, 3, 1)
) -> Request:
    """A ragged batch with all of a request's tensors."""
    generator = torch.Generator().manual_seed(22)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    batch_sizes = tuple(sum(length > step for length in lengths) for step in range(lengths[0]))
    rows, features, sizes = sum(lengths), 2, cell.state_sizes(hidden_size)
    weights = Weights(
        normal(len(cell.gates) * hidden_size, features),
        normal(len(cell.recurrent) * hidden_size, sizes[0]) / sizes[0] ** 0.5,
        normal(len(cell.gates) * hidden_size),
        own_values(cell, hidden_size, dtype),
        None if cell.projection_size is None else normal(sizes[0], hidden_size) / hidden_size**0.5,
    )
    state = tuple(normal(len(lengths), size) for size in sizes)
    x = normal(rows, features)
    noise = draw_noise(cell, rows, hidden_size, x)
    return Request(cell, weights, x, batch_sizes, state, noise=noise)


def _results(run: Callable[[Request], Result], request: Request) -> list[Tensor]:
    """All that a run returns, and the gradient of every tensor, for incoming gradients of all magnitudes."""
    tensors = [
        tensor if tensor is None or tensor is request.noise else tensor.clone().requires_grad_()
        for tensor in request.tensors()
    ]
    leaves = [tensor for tensor in tensors if tensor is not None and tensor.requires_grad]
    result = run(request.settings.request(tensors))
    values = [result.outputs, *result.state, *result.gates.values()]
    # A gradient that a step clips, or computes otherwise than by a product, shows with large ones.
    grads = [
        torch.arange(1.0, value.numel() + 1, dtype=value.dtype).view_as(value).sin() * 10.0 ** (index % 2 * 4)
        for index, value in enumerate(values)
    ]
    roots = [(value, grad) for value, grad in zip(values, grads, strict=True) if value.requires_grad]
    outputs, above = zip(*roots, strict=True)
    found = torch.autograd.grad(outputs, leaves, above, allow_unused=True)
    zeros = [
        torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, found, strict=True)
    ]
    return [value.detach() for value in (*values, *zeros)]
