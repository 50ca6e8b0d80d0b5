"""Interventions: gates and states of a Recurrent set to values, and all that follows computed from these."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.engine import Packing, Request
from gatewise.engine.intervened import find_places, intervened
from gatewise.engine.replaced import Place
from gatewise.settings import did_you_mean

Places = int | Sequence[int] | slice | None
"""One of them, some, a range, or all."""


@dataclass(frozen=True)
class Clamp:
    """A number that a gate or state is set to: everywhere, or for some units, steps, a layer, a direction.

    ``units`` and ``steps`` are a number, a list of numbers or a slice, all counted from 0. Raises ValueError
    for a value that is no finite number.
    """

    value: float
    units: Places = None
    steps: Places = None
    layer: int | None = None
    direction: int | None = None

    def __post_init__(self) -> None:
        number = isinstance(self.value, (int, float)) and not isinstance(self.value, bool)
        if not number or not math.isfinite(self.value):
            raise ValueError(f"a clamp's value must be a finite number, got {self.value!r}")


Change = Callable[[Packing, int, Request], Request]
"""The request of the layer and direction with this number as it is asked of the engine."""
Intervention = float | Clamp | Sequence[Clamp] | Tensor


class IntervenedCells:
    """The cells that run interventions on one module; neither copied nor saved with it."""

    def __init__(self) -> None:
        self._places: dict[str, Place | str] | None = None
        self._cells: dict[tuple[Cell, tuple[str, ...]], Cell] = {}

    def __reduce__(self) -> tuple[type[IntervenedCells], tuple[()]]:
        return IntervenedCells, ()

    def places(self, cell: Cell, hidden_size: int) -> Mapping[str, Place | str]:
        """Where each gate and state of the cell comes from, or why it cannot be set."""
        if self._places is None:
            self._places = find_places(cell, hidden_size)
        return self._places

    def cell(self, cell: Cell, run_cell: Cell, names: tuple[str, ...], hidden_size: int) -> Cell:
        """The cell that runs ``run_cell`` with these gates and states set, the same at every call."""
        key = (run_cell, names)
        if key not in self._cells:
            places = self.places(cell, hidden_size)
            self._cells[key] = intervened(cell, run_cell, tuple((name, places[name]) for name in names))  # type: ignore[misc]
        return self._cells[key]


class Interventions:
    """What a call sets, ready to be asked of an engine for each layer and direction."""

    def __init__(
        self,
        given: Any,
        cells: IntervenedCells,
        cell: Cell,
        layers: int,
        directions: int,
        hidden_size: int,
    ) -> None:
        """``given`` maps names of gates and states to numbers, clamps and tensors.

        Raises ValueError for a name that cannot be set, and for a number, unit, layer or direction that
        cannot be.
        """
        if not isinstance(given, Mapping):
            raise ValueError(f"intervene must be a dict, as in {{'f': 1.0}}, got {type(given).__name__}")
        self._cells, self._cell, self._hidden_size = cells, cell, hidden_size
        self._layers, self._directions = layers, directions
        self._values: dict[str, list[Clamp] | Tensor] = {}
        for name, value in given.items():
            self._check_name(name)
            self._values[name] = self._read(name, value)

    def request(self, packing: Packing, index: int, request: Request) -> Request:
        """The request of a layer and direction with these values set.

        Raises ValueError for a step and a shape that the batch does not have.
        """
        names: list[str] = []
        blocks: list[Tensor] = []
        for name, value in self._values.items():
            wanted = self._wanted(name, value, packing, *divmod(index, self._directions)).to(request.x)
            left = wanted.isnan()
            if not bool(left.all()):
                names.append(name)
                blocks += [(~left).to(wanted.dtype), wanted.nan_to_num()]
        if not names:
            return request
        cell = self._cells.cell(self._cell, request.cell, tuple(names), self._hidden_size)
        # Put side by side while B and T may still be 1, and spread over all steps once.
        noise = _packed(torch.cat(_alike(blocks), dim=2), packing)
        if request.noise is not None:
            noise = torch.cat([request.noise, noise], dim=1)
        return replace(request, cell=cell, noise=noise)

    def _wanted(
        self, name: str, value: list[Clamp] | Tensor, packing: Packing, layer: int, direction: int
    ) -> Tensor:
        """Values of a layer and direction, [B, T, H], NaN where none is set; B and T may each be 1."""
        if isinstance(value, Tensor):
            return self._expanded(name, value, packing)[layer, direction]
        wanted = torch.full((1, packing.time, self._hidden_size), torch.nan, dtype=torch.float64)
        for clamp in value:
            steps = _places(f"{name}: step", clamp.steps, packing.time)
            if clamp.layer in (None, layer) and clamp.direction in (None, direction):
                rows = wanted[0, steps]
                rows[:, _places("unit", clamp.units, self._hidden_size)] = clamp.value
                wanted[0, steps] = rows
        return wanted

    def _check_name(self, name: Any) -> None:
        cell, kind = self._cell, type(self._cell.innermost).__name__
        places = self._cells.places(cell, self._hidden_size)
        if name not in places:
            known = ", ".join(places)
            hint = did_you_mean(str(name), places)
            raise ValueError(f"intervene: {kind} returns no gate or state {name!r}{hint}; it has {known}")
        if name == cell.states[0] and cell.projection_size is not None:
            raise ValueError(
                f"intervene: {name} of {kind} cannot be set: each step projects it from {self._hidden_size} "
                f"features to {cell.projection_size} after its equations; set a gate or another state"
            )
        place = places[name]
        if isinstance(place, str):
            raise ValueError(f"intervene: {name} of {kind} cannot be set: {place}")

    def _read(self, name: str, value: Any) -> list[Clamp] | Tensor:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = Clamp(value)
        if isinstance(value, Clamp):
            value = [value]
        if hasattr(value, "__array__"):
            values = torch.as_tensor(value).detach()
            if values.is_complex() or bool(values.isinf().any()):
                raise ValueError(f"intervene: the tensor for {name} must hold real, finite numbers, or NaN")
            return values
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, Clamp) for item in value):
            raise ValueError(
                f"intervene: {name} must be a number, a Clamp, a list of them or a tensor, got {value!r}"
            )
        for clamp in value:
            _places(f"{name}: unit", clamp.units, self._hidden_size)
            for what, number, size in (
                ("layer", clamp.layer, self._layers),
                ("direction", clamp.direction, self._directions),
            ):
                if number is not None and not isinstance(number, int):
                    raise ValueError(f"intervene: {name}: {what} must be a whole number, got {number!r}")
                _places(f"{name}: {what}", number, size)
        return list(value)

    def _expanded(self, name: str, value: Tensor, packing: Packing) -> Tensor:
        """A view as [L, D, B, T, H], in which B and T stay 1 where they are."""
        whole = (self._layers, self._directions, packing.batch, packing.time, self._hidden_size)
        shape = (1,) * (5 - value.dim()) + tuple(value.shape)
        if len(shape) > 5 or any(have not in (1, size) for have, size in zip(shape, whole, strict=True)):
            raise ValueError(
                f"intervene: the tensor for {name} must broadcast to [L, D, B, T, H] = {list(whole)}, "
                f"got {list(value.shape)}"
            )
        layers, directions, _, _, hidden = whole
        return value.reshape(shape).expand(layers, directions, shape[2], shape[3], hidden)


def _places(what: str, given: Places, size: int) -> Any:
    """The indices of units, steps, …. Raises ValueError where one lies outside of 0 … size - 1."""
    if given is None:
        return slice(None)
    if isinstance(given, slice):
        return given
    numbers = [given] if isinstance(given, int) else list(given)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < size:
            raise ValueError(f"intervene: {what} must lie in 0 … {size - 1}, got {number!r}")
    return numbers


def _alike(blocks: Sequence[Tensor]) -> list[Tensor]:
    """Blocks [B, T, H], of whose B and T each may be 1, with the same B and T."""
    batch, time = (max(block.shape[axis] for block in blocks) for axis in (0, 1))
    return [block.expand(batch, time, -1) for block in blocks]


def _packed(values: Tensor, packing: Packing) -> Tensor:
    """[B, T, H] to [N, H]; of B and T each may be 1 instead."""
    sequences, steps = (places.to(values.device) for places in packing.places)
    # Index 0 of an axis that is 1.
    return values[sequences.clamp(max=values.shape[0] - 1), steps.clamp(max=values.shape[1] - 1)]
