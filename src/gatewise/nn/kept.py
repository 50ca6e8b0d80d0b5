"""The share of a state that a step carries over itself: a derivative with the gates held fixed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional as F

from gatewise.cells import Cell
from gatewise.engine import Request
from gatewise.engine.autocast import without_autocast
from gatewise.engine.contract import step_of
from gatewise.engine.examine import loop_only
from gatewise.engine.packing import step_slices

_log = logging.getLogger(__name__)
_warned: set[type[Cell]] = set()


def kept_of(request: Request, gates: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """By state the share that each step carries over, and the state before it, both [N, H].

    ``gates`` are all gates and states that the request returned. Left out are states that no step carries
    over. Steps are looked at once more, all at the same time: of a cell whose step that changes, all states
    are left out, and the log says so.
    """
    cell = request.cell
    objection = loop_only(cell, request.hidden_size, request.x.dtype, request.x.device)
    if objection is not None:
        if type(cell.innermost) not in _warned:
            _warned.add(type(cell.innermost))
            _log.warning("trace.kept is empty: %s %s; %s", step_of(cell), objection.what, objection.instead)
        return {}
    with torch.inference_mode(False), torch.enable_grad(), without_autocast(request.x.device):
        old = [_before(request, index, gates[name]) for index, name in enumerate(cell.states)]
        leaves = [tensor.clone().requires_grad_() for tensor in old]
        after, of_step = _step(request, leaves)
        # Of the old state as a gate everything is held fixed, and nothing would be left.
        fixed = [gate for gate in of_step.values() if not any(gate is leaf for leaf in leaves)]
        edges = {_edge(gate) for gate in fixed if gate.requires_grad}
        for gate in fixed:
            if gate.requires_grad:
                gate.register_hook(torch.zeros_like)
        kept = {}
        for name, new, leaf, before in zip(cell.states, after, leaves, old, strict=True):
            if new.requires_grad and _reaches(new, leaf, edges):
                (share,) = torch.autograd.grad(new.sum(), leaf, retain_graph=True)
                kept[name] = (share, before)
        return kept


def _step(request: Request, old: list[Tensor]) -> Any:
    """One call of the step for all packed rows, differentiable with respect to the old states alone."""
    cell, weights, mask = request.cell, request.weights, request.state_mask
    dtype = weights.input.dtype
    x = request.x.detach().to(dtype)
    a = F.linear(x, weights.input.detach(), None if weights.bias is None else weights.bias.detach())
    if request.noise is not None:
        a = torch.cat([a, request.noise.to(dtype)], dim=1)
    h = old[0].detach()
    if mask is not None:
        h = h * torch.cat([mask[:size] for size in request.batch_sizes or (0,)])
    r = F.linear(h, weights.hidden.detach())
    own = SimpleNamespace(**{name: value.detach() for name, value in weights.own.items()})
    return cell.step(cell.split_gates(a), cell.split_recurrent(r), cell.name_state(old), own)


def _before(request: Request, index: int, after: Tensor) -> Tensor:
    """The state before every step, [N, H], from the state after every step."""
    dtype = request.weights.input.dtype
    carried, after = request.state[index].detach().to(dtype), after.detach().to(dtype)
    before = []
    for rows, alive in step_slices(request.batch_sizes, request.reverse):
        before.append(carried[:alive])
        carried = after[rows] if alive == len(carried) else torch.cat([after[rows], carried[alive:]])
    return torch.cat(before[::-1] if request.reverse else before)


def _reaches(new: Tensor, leaf: Tensor, fixed: Iterable[Any]) -> bool:
    """Whether the graph of ``new`` leads to a leaf without passing one of the edges that are held fixed."""
    seen = set(fixed)
    target, pending = _edge(leaf), [_edge(new)]
    while pending:
        edge = pending.pop()
        if edge == target:
            return True
        if edge not in seen:
            seen.add(edge)
            pending += [after for after in edge[0].next_functions if after[0] is not None]
    return False


def _edge(tensor: Tensor) -> tuple[Any, int]:
    """The node that has made a tensor, and which of its results it is."""
    node, number, *_ = get_gradient_edge(tensor)
    return node, number
