"""Whether a cell's ``step`` is what every engine takes it for: the same function of its arguments each time.

The loop calls ``step`` once for each time step, in order, and autograd follows it. The other engines call it
for many steps at once, or once only. A step that draws, keeps state, decides by values or mixes rows computes
something else there. It is found by calling the step a few times, once for each cell.
"""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.cells.held import check_holds_nothing
from gatewise.cells.noise import draw as draw_noise
from gatewise.engine.aside import aside
from gatewise.engine.contract import check_result, is_shipped, raise_again, step_of
from gatewise.engine.torch_internals import writes
from gatewise.engine.watch import Snapshot, Watch

_NOISE = "name what it draws in Cell.noise and read it from `a`"
_STATES = "name what lasts from step to step in Cell.states and return it with h"
_WHERE = "choose with torch.where, feature by feature"


class LoopOnly(NamedTuple):
    """Why only the loop runs a cell as it is written."""

    what: str
    """What its step does."""
    instead: str
    """How to write it for every engine."""


_examined: WeakKeyDictionary[Cell, dict[int, LoopOnly | None]] = WeakKeyDictionary()


def loop_only(
    cell: Cell, hidden_size: int, dtype: torch.dtype | None = None, device: torch.device | None = None
) -> LoopOnly | None:
    """Why only the loop runs this cell, or None where every engine may.

    Found once for a cell and hidden size. Raises ValueError, one line that names the cell and the place of
    its step, where the step fails, changes its arguments or returns something else than it has to.
    """
    cell = cell.innermost
    by_size = _examined.setdefault(cell, {})
    if hidden_size not in by_size:
        check_holds_nothing(cell)
        answer = None
        if not is_shipped(cell):
            answer = aside(examine, cell, hidden_size, dtype or torch.get_default_dtype(), device)
        by_size[hidden_size] = answer
    return by_size[hidden_size]


def examine(
    cell: Cell, hidden_size: int, dtype: torch.dtype, device: torch.device | None = None
) -> LoopOnly | None:
    """As :func:`loop_only`, found anew."""
    if device is None or device.type == "meta":
        device = torch.device("cpu")
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        point = _Point.draw(cell, 3 if hidden_size != 3 else 5, hidden_size, dtype, device)
        point.check_contract()
        try:
            # Nothing is rounded away in float64, which not every step and device has.
            point = _Point.draw(cell, 4, hidden_size, torch.float64, torch.device("cpu"))
            point.step(copied(cell))
        except Exception:
            point = _Point.draw(cell, 4, hidden_size, dtype, device)
        return point.examine()


class _Point:
    """A cell, and values of its step's arguments for some rows."""

    def __init__(self, cell: Cell, a: Tensor, r: Tensor, state: list[Tensor], own: dict[str, Tensor]) -> None:
        self.cell, self.a, self.r, self.state, self.own = cell, a, r, state, own

    @classmethod
    def draw(
        cls, cell: Cell, rows: int, hidden_size: int, dtype: torch.dtype, device: torch.device
    ) -> _Point:
        """Values around 0, some of them large; the own parameters near where they start."""
        generator = torch.Generator().manual_seed(20)

        def normal(*shape: int) -> Tensor:
            values = torch.randn(shape, generator=generator, dtype=torch.float64)
            # The later rows are larger, for steps that are different only there.
            scale = torch.logspace(-0.3, 0.9, rows, dtype=torch.float64)[:, None]
            return (values * scale).to(device, dtype)

        a = normal(rows, len(cell.gates) * hidden_size)
        noise = draw_noise(cell, rows, hidden_size, a)
        a = a if noise is None else torch.cat([a, noise], dim=1)
        r = normal(rows, len(cell.recurrent) * hidden_size)
        state = [normal(rows, size) for size in cell.state_sizes(hidden_size)]
        return cls(cell, a, r, state, own_values(cell, hidden_size, dtype, device))

    def rows(self, rows: slice) -> _Point:
        """The same values, for some of the rows."""
        return _Point(self.cell, self.a[rows], self.r[rows], [s[rows] for s in self.state], self.own)

    def step(self, cell: Cell) -> Any:
        """What the step returns. Raises ValueError with its place where it fails."""
        try:
            return cell.step(
                cell.split_gates(self.a),
                cell.split_recurrent(self.r),
                cell.name_state(self.state),
                SimpleNamespace(**self.own),
            )
        except Exception as error:
            raise_again(cell, error)

    def check_contract(self) -> None:
        """Raise ValueError where the step fails, returns something wrong, or writes into its arguments."""
        cell = copied(self.cell)
        if not cell.gates:
            raise ValueError(f"{type(cell).__name__}.gates names none: a step needs one at least")
        hidden_size = self.a.shape[1] // (len(cell.gates) + len(cell.noise))
        arguments: dict[str, Tensor | list[Tensor]] = {"a": self.a, "r": self.r, "p": list(self.own.values())}
        arguments |= {f"s.{name}": value for name, value in zip(cell.states, self.state, strict=True)}
        before = {name: _versions(value) for name, value in arguments.items()}
        with torch.no_grad():
            result = self.step(cell)
        check_result(cell, result, hidden_size, self.a)
        for name, value in arguments.items():
            if _versions(value) != before[name]:
                raise ValueError(
                    f"{step_of(cell)} changes its argument {name} in place; write x = x * 2, not x *= 2 or "
                    f"x.mul_(2): the engines still need the values"
                )

    def examine(self) -> LoopOnly | None:
        """Run the step with and without gradients, again, and on some of the rows."""
        cell = copied(self.cell)
        before, watch = Snapshot(cell), Watch()
        with torch.no_grad(), watch:
            first = self._values(cell)
        if watch.draws:
            return LoopOnly("draws random numbers", _NOISE)
        changed = before.changed(Snapshot(cell))
        if changed is not None:
            return LoopOnly(f"changes {changed}", _STATES)
        with torch.no_grad():
            again = self._values(cell)
        changed = before.changed(Snapshot(cell))
        if changed is not None or not self._same(first, again):
            return LoopOnly(f"changes {changed}" if changed else "gives another result each time", _STATES)
        if watch.reads is not None:
            if watch.reads == "register_hook":
                return LoopOnly("hangs a hook on a tensor", "clip gradients outside of the cell")
            return LoopOnly(f"reads the values of tensors ({watch.reads})", _WHERE)
        return self._examine_modes(cell, first)

    def _examine_modes(self, cell: Cell, first: list[Tensor]) -> LoopOnly | None:
        leaves = _Point(
            self.cell,
            self.a.clone().requires_grad_(),
            self.r.clone().requires_grad_(),
            [s.clone().requires_grad_() for s in self.state],
            {name: value.clone().requires_grad_() for name, value in self.own.items()},
        )
        watch = Watch()
        with watch:
            # No leaves any more, as in a sequence.
            values = _Point(self.cell, leaves.a * 1, leaves.r * 1, [s * 1 for s in leaves.state], leaves.own)
            differentiated = values._values(cell)
        if watch.reads == "register_hook":
            return LoopOnly("hangs a hook on a tensor", "clip gradients outside of the cell")
        if watch.draws or watch.reads or not self._same(first, [v.detach() for v in differentiated]):
            return LoopOnly("computes something else where gradients are asked for", "compute one thing")
        with torch.no_grad():
            for rows in (slice(0, 1), slice(1, 4), slice(3, 4)):
                try:
                    part = self.rows(rows)._values(cell)
                except ValueError:
                    return LoopOnly("needs a number of rows", "treat every row alone")
                if not self._same([value[rows] for value in first], part):
                    return LoopOnly("mixes the rows of a batch", "treat every row alone")
        return None

    def _values(self, cell: Cell) -> list[Tensor]:
        """New states and gates."""
        after, gates = self.step(cell)
        return [*after, *gates.values()]

    def _same(self, values: list[Tensor], others: list[Tensor]) -> bool:
        return len(values) == len(others) and all(
            close(value, other) for value, other in zip(values, others, strict=True)
        )


def own_values(
    cell: Cell, hidden_size: int, dtype: torch.dtype, device: torch.device | None = None
) -> dict[str, Tensor]:
    """Values of the own parameters that are not their starting ones, which may hide what they do later."""
    generator = torch.Generator().manual_seed(21)
    values = {}
    for name, value in cell.own_parameters(hidden_size).items():
        near = torch.rand(value.shape, generator=generator, dtype=torch.float64) * 0.4 + 0.1
        values[name] = (value.detach().to("cpu", torch.float64) + near).to(device or "cpu", dtype)
    return values


def close(value: Tensor, other: Tensor) -> bool:
    """Whether two results differ by rounding alone, beside the largest number of both."""
    if value.shape != other.shape or value.dtype != other.dtype:
        return False
    share = {torch.float64: 1e-8, torch.float32: 1e-3}.get(value.dtype, 5e-2)
    value, other = value.detach().double(), other.detach().double()
    finite = value.isfinite() & other.isfinite()
    if not torch.equal(value.nan_to_num()[~finite], other.nan_to_num()[~finite]):
        return False
    largest = torch.maximum(value.abs(), other.abs())[finite].max() if bool(finite.any()) else 0.0
    return bool(((value - other).abs()[finite] <= share * largest).all())


def copied(cell: Cell) -> Cell:
    """A copy to try out, so that what a step changes in the cell itself stays as it is."""
    try:
        return copy.deepcopy(cell)
    except Exception:  # it holds something that cannot be copied, such as an open file
        return cell


def _versions(value: Tensor | list[Tensor]) -> list[int]:
    return [writes(tensor) for tensor in (value if isinstance(value, list) else [value])]
