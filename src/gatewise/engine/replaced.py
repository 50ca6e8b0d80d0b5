"""A cell's step with the values of some gates and new states replaced, wherever the step uses them.

A step calls functions of torch in the same order each time. One call of the step on a few rows shows which of
them makes a gate; later calls replace what that function returns. Fingerprints cover this file by its source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gatewise.cells import Cell
from gatewise.engine.contract import step_of
from gatewise.engine.torch_internals import writes

Place = tuple[str, Any, str, int]
"""Where a value comes from: ("call", number of the call, its function, place in what it returns or -1), or
(argument, its field, "", -1), as ("a", "n", "", -1) for a.n."""

Key = tuple[int, int]


class NotSetError(ValueError):
    """Why a value could not be replaced, as one line for the user."""


def places_of(cell: Cell, hidden_size: int, own: dict[str, Tensor]) -> dict[str, Place | str]:
    """Where each gate that the step returns, and each new state, comes from; or why it cannot be replaced."""

    def blocks(names: Sequence[str]) -> list[Tensor]:
        return [torch.zeros(2, hidden_size) for _ in names]

    state = [torch.zeros(2, size) for size in cell.state_sizes(hidden_size)]
    a = cell.Gates(*blocks((*cell.gates, *cell.noise)))
    r, s, p = cell.Recurrent(*blocks(cell.recurrent)), cell.name_state(state), SimpleNamespace(**own)
    calls = _Calls()
    for argument, fields in (("a", a._asdict()), ("r", r._asdict()), ("s", s._asdict()), ("p", own)):
        for field, value in fields.items():
            calls.note(value, (argument, field, "", -1))
    with torch.no_grad(), calls:
        after, gates = cell.step(a, r, s, p)
    values = {**gates, **dict(zip(cell.states, after, strict=True))}
    places = {name: calls.place(value, (2, hidden_size)) for name, value in values.items()}
    for name, value in gates.items():
        if not isinstance(places[name], str) and not calls.may_come_from(after, value):
            places[name] = "no new state is computed from what step returns as it: return the tensor it uses"
    return places


class _Calls(TorchFunctionMode):
    """Notes which call returns which tensor."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        # By identity and number of writes, since a function that writes returns the tensor it was given. The
        # tensors are held, so that no other one gets the identity of one that is gone.
        self._made: dict[Key, tuple[Tensor, Place]] = {}
        self._sources: dict[Key, list[Key]] = {}

    def note(self, value: Tensor, place: Place) -> None:
        """A tensor comes from a place, unless it has come from another one before."""
        self._made.setdefault(_key(value), (value, place))

    def place(self, value: Tensor, shape: tuple[int, int]) -> Place | str:
        """Where a tensor comes from, or why it cannot be replaced."""
        if tuple(value.shape) != shape or not value.is_floating_point():
            return f"it is no number for each feature, but {list(value.shape[1:])} of {value.dtype}"
        made = self._made.get(_key(value))
        return "it does not come from a function of torch" if made is None else made[1]

    def may_come_from(self, values: Sequence[Tensor], source: Tensor) -> bool:
        """Whether any of some tensors is computed from another; also where that cannot be followed."""
        pending, seen = [_key(value) for value in values], set()
        while pending:
            key = pending.pop()
            if key == _key(source) or key not in self._made:
                return True
            if key not in seen:
                seen.add(key)
                pending += self._sources.get(key, ())
        return False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        sources = [_key(tensor) for tensor in _held((args, kwargs))]
        result = func(*args, **(kwargs or {}))
        for position, value in _tensors(result):
            if _key(value) not in self._made:
                self._sources[_key(value)] = sources
            self.note(value, ("call", self._count, _name(func), position))
        self._count += 1
        return result


def replaced_step(
    cell: Cell, run_cell: Cell, places: Sequence[tuple[str, Place]], a: Any, r: Any, s: Any, p: Any
) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """The step of ``run_cell``, which is ``cell`` or calls its step first, with values of ``cell`` replaced.

    ``a`` holds two more blocks for each name of ``places``: where it is replaced (above 0), and by what. What
    is used later, and what is returned, are the new values. Raises ValueError where the step does not make
    them as it did when its places were found.
    """
    count = len(run_cell.gates) + len(run_cell.noise)
    blocks = {name: a[count + 2 * index :][:2] for index, (name, _) in enumerate(places)}
    arguments = {"a": run_cell.Gates(*a[:count]), "r": r, "s": s, "p": p}
    replacing = _Replacing()
    for name, place in places:
        kind, where, _, _ = place
        if kind == "call":
            replacing.after.setdefault(where, []).append((name, place, blocks[name]))
        elif name not in cell.states:  # a new state that is an argument is replaced where it is returned
            new = _either(blocks[name], getattr(arguments[kind], where))
            arguments[kind] = _with(arguments[kind], where, new)
            replacing.replaced[name] = new
    with replacing:
        new_states, gates = run_cell.step(*arguments.values())
    after = dict(zip(cell.states, new_states, strict=True))
    for name, place in places:
        made, is_state = replacing.replaced.get(name), name in after
        returned = after[name] if is_state else gates.get(name)
        # Zoneout returns another state than the step has made.
        found = made is not None and (made is returned or (is_state and run_cell is not cell))
        if not found and not (is_state and place[0] != "call"):
            raise NotSetError(
                f"{step_of(cell)} does not make {name} in the same way at each call: it cannot be set"
            )
        if made is not returned:
            after[name] = _either(blocks[name], after[name])
    return tuple(after.values()), gates


class _Replacing(TorchFunctionMode):
    """Replaces what some calls return."""

    def __init__(self) -> None:
        super().__init__()
        self.after: dict[int, list[tuple[str, Place, Sequence[Tensor]]]] = {}
        """By the number of a call: names, their places, and where they are replaced and by what."""
        self.replaced: dict[str, Tensor] = {}
        """What was replaced, as it is now."""
        self._count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        # Where the function is another one, the step notices that nothing was replaced.
        wanted = [item for item in self.after.get(self._count, ()) if item[1][2] == _name(func)]
        self._count += 1
        for _, place, blocks in wanted:
            position = place[3]
            if position < 0:
                result = _either(blocks, result)
            else:
                new = _either(blocks, result[position])
                result = (*result[:position], new, *result[position + 1 :])
        for name, place, _ in wanted:
            self.replaced[name] = result if place[3] < 0 else result[place[3]]
        return result


def _either(blocks: Sequence[Tensor], computed: Tensor) -> Tensor:
    mask, value = blocks
    return torch.where(mask > 0, value.to(computed.dtype), computed)


def _with(argument: Any, field: str, new: Tensor) -> Any:
    """An argument of a step with another tensor in one of its fields."""
    if isinstance(argument, SimpleNamespace):
        return SimpleNamespace(**{**vars(argument), field: new})
    return argument._replace(**{field: new})


def _key(tensor: Tensor) -> Key:
    return id(tensor), writes(tensor)


def _tensors(result: Any) -> Iterator[tuple[int, Tensor]]:
    if isinstance(result, Tensor):
        yield -1, result
    elif isinstance(result, (tuple, list)):
        yield from ((index, item) for index, item in enumerate(result) if isinstance(item, Tensor))


def _held(arguments: Any) -> Iterator[Tensor]:
    """Every tensor in the arguments of a call, also in lists and dictionaries."""
    if isinstance(arguments, Tensor):
        yield arguments
    elif isinstance(arguments, (tuple, list, dict)):
        for item in arguments.values() if isinstance(arguments, dict) else arguments:
            yield from _held(item)


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", ""))
