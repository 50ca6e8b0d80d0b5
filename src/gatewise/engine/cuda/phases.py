"""From operations to CUDA C for one feature of a sequence, in phases between which reductions are exchanged.

A reduction along the features needs all of them, which other lanes, warps and blocks have. So what does not
depend on one is the first phase, what needs the result of those is the second, and so on; all reductions that
can be done after a phase are one exchange. A step without reductions is one phase.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gatewise.engine.traced.operations import EXPRESSIONS
from gatewise.engine.traced.trace import Operation

REDUCTIONS = ("sum", "mean", "amax", "amin")
_CHEAP = ("add", "sub", "mul", "neg")
_FEW = 4
"""So many cheap operations a later phase does again, rather than that a register keeps their result."""


def constant(value: float) -> str:
    """A number as C writes it."""
    if math.isnan(value):
        return "gw_splat(NAN)"
    if math.isinf(value):
        return "gw_splat(INFINITY)" if value > 0 else "gw_splat(-INFINITY)"
    return f"gw_splat({value!r})"


def expression(operation: Operation, arguments: Sequence[str]) -> str:
    """An operation on these C expressions."""
    if operation.kind == "div":
        by_number = isinstance(operation.args[1], float)
        return f"gw_{'over' if by_number else 'div'}({', '.join(arguments)})"
    if operation.kind in EXPRESSIONS and operation.kind not in ("rsqrt", "reciprocal"):
        return EXPRESSIONS[operation.kind].format(*arguments)
    return f"gw_{operation.kind}({', '.join(arguments)})"


def levels(operations: Sequence[Operation], squares: Mapping[str, str] | None = None) -> dict[str, int]:
    """After how many exchanges each value is there; ``squares`` come with the mean that they belong to."""
    level: dict[str, int] = {}
    for op in operations:
        before = [level.get(arg, 0) for arg in op.args if isinstance(arg, str)]
        level[op.name] = max(before, default=0) + (op.kind in REDUCTIONS)
        if squares and op.name in squares:
            level[op.name] = level[squares[op.name]]
    return level


class Exchange(NamedTuple):
    """Reductions that are done together."""

    moments: tuple[Operation, ...]
    """Means whose squares are reduced with them."""
    sums: tuple[Operation, ...]
    extremes: tuple[Operation, ...]

    @property
    def values(self) -> tuple[Operation, ...]:
        """All, in the order that ``sequence_rows.cu`` has them."""
        return (*self.moments, *self.sums, *self.extremes)

    @property
    def words(self) -> int:
        """Words that a block exchanges for a sequence."""
        return len(self.values) + len(self.moments)


class _Makers:
    """Which operation makes a value."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._by_name = {op.name: op for op in operations}

    def of(self, value: str | float, *kinds: str) -> Operation | None:
        """The operation that makes a value, if it is of one of these kinds."""
        op = self._by_name.get(value) if isinstance(value, str) else None
        return op if op is not None and op.kind in kinds else None


def squares_of(operations: Sequence[Operation]) -> dict[str, str]:
    """Sums and means of (x - m)², each with the name of m, where m is the mean of x.

    They are reduced together with m.
    """
    makers, found = _Makers(operations), {}
    for op in operations:
        square = makers.of(op.args[0], "mul") if op.kind in ("sum", "mean") else None
        if square is None or square.args[0] != square.args[1]:
            continue
        centred = makers.of(square.args[0], "sub")
        mean = centred and makers.of(centred.args[1], "mean")
        if centred is not None and mean is not None and mean.args[0] == centred.args[0]:
            found[op.name] = mean.name
    return found


def exchanges(operations: Sequence[Operation]) -> tuple[Exchange, ...]:
    """The exchanges of a step, in order."""
    squares = squares_of(operations)
    level = levels(operations, squares)
    found = []
    for current in range(1, max(level.values(), default=0) + 1):
        here = [
            op
            for op in operations
            if op.kind in REDUCTIONS and level[op.name] == current and op.name not in squares
        ]
        moments = tuple(op for op in here if op.name in squares.values())
        found.append(
            Exchange(
                moments,
                tuple(op for op in here if op.kind in ("sum", "mean") and op not in moments),
                tuple(op for op in here if op.kind in ("amax", "amin")),
            )
        )
    return tuple(found)


def bounded(operations: Sequence[Operation]) -> set[str]:
    """Values that are no further from 0 than float16 reaches: gates, and what a layer norm makes of x.

    The latter, (x - mean) / root of the variance, is at most the root of the number of features.
    """
    makers, squares = _Makers(operations), squares_of(operations)
    found = {op.name for op in operations if op.kind in ("sigmoid", "tanh")}
    for op in operations:
        if op.kind != "mul":
            continue
        centred, scale = makers.of(op.args[0], "sub"), makers.of(op.args[1], "rsqrt")
        variance = scale and makers.of(scale.args[0], "add")
        mean = variance and makers.of(variance.args[0], "mean")
        if centred is None or variance is None or mean is None or not isinstance(variance.args[1], float):
            continue
        if variance.args[1] >= 0 and squares.get(mean.name) == centred.args[1]:
            found.add(op.name)
    return found


@dataclass(frozen=True)
class Phases:
    """A step in C, as ``sequence_forward.cu`` and ``sequence_backward.cu`` take it."""

    of_row: str
    """Members of what a sequence has: the values that are one number for it."""
    live: str
    """Members of what a feature has from one phase to a later one."""
    known: str
    """Statements that set what is known of a sequence before the first phase."""
    exchanges: str
    """A class for each exchange, with the phase before it; then one that says what the last phase sets."""
    last: str
    """Statements of the last phase."""
    alive: int
    """Most values of a feature that live from one phase to the next, or that the last sets of ``early``."""


class _Step:
    """Which value is where, of a step."""

    def __init__(
        self,
        operations: Sequence[Operation],
        row_values: frozenset[str],
        read: Mapping[str, str],
        write: Sequence[tuple[str, str | float]],
        early: Mapping[str, Sequence[str | float]],
    ) -> None:
        self.operations = [op for op in operations if op.name not in read]
        self.row_values, self.read, self.write, self.early = row_values, read, write, early
        self.squares = squares_of(self.operations)
        self.level = levels(self.operations, self.squares)
        self.last = max(self.level.values(), default=0)
        self._by_name = {op.name: op for op in self.operations}
        self.live = self._live()

    def _is_here(self, value: str | float) -> bool:
        """Whether a value is at hand in every phase that may ask for it."""
        return not isinstance(value, str) or value in self.row_values or value in self.read

    def _live(self) -> dict[str, int]:
        """Values that are kept in registers after their phase, each with the last phase that needs it."""
        until: dict[str, int] = {}

        def use(value: str | float, phase: int) -> None:
            if isinstance(value, str) and not self._is_here(value):
                until[value] = max(until.get(value, 0), phase)

        for op in self.operations:
            if op.kind in REDUCTIONS:
                use(op.args[0], 0 if op.name in self.squares else self.level[op.name] - 1)
            elif not op.per_row:
                for arg in op.args:
                    use(arg, self.level[op.name])
        for _, value in self.write:
            use(value, self.last)
        for value in itertools.chain(*self.early.values()):
            use(value, self.level.get(str(value), 0))
        live = {value: phase for value, phase in until.items() if phase > self.level[value]}
        for op in self.operations:
            if op.name in live and self._operations_again(op.name, live[op.name], live, top=True) <= _FEW:
                del live[op.name]
        return live

    def _operations_again(
        self, value: str | float, phase: int, live: Mapping[str, int], top: bool = False
    ) -> int:
        """How many operations it takes to have a value in a phase again; many where it cannot be had."""
        if not isinstance(value, str) or value in self.row_values:
            return 0
        if value in self.read:
            return _FEW + 1 if value[0] == "r" else 0  # a product would have to be kept instead
        if not top and live.get(value, 0) >= phase:
            return 0
        op = self._by_name[value]
        if op.kind not in _CHEAP:
            return _FEW + 1
        return 1 + sum(self._operations_again(arg, phase, live) for arg in op.args)

    def alive(self) -> int:
        """Most values that are kept from one phase to the next."""
        return max(
            (
                sum(self.level[value] <= phase < until for value, until in self.live.items())
                for phase in range(self.last)
            ),
            default=0,
        )

    def text(self, value: str | float) -> str:
        """A value in C, where it is no result of the same phase."""
        if not isinstance(value, str):
            return constant(value)
        return f"row.{value}" if value in self.row_values else self.read.get(value, value)

    def set_in(self, current: int) -> dict[str, list[int]]:
        """Which numbers of each array of ``early`` a phase sets."""
        return {
            array: [i for i, value in enumerate(values) if self.level.get(str(value), 0) == current]
            for array, values in self.early.items()
        }

    def phase(self, current: int, results: Sequence[tuple[str, str | float]]) -> list[str]:
        """The statements of a phase, which sets these places and what of ``early`` is there by then."""
        early = [
            (f"{array}[{i}]", self.early[array][i])
            for array, numbers in self.set_in(current).items()
            for i in numbers
        ]
        results = [*results, *early]
        asked: set[str] = set()
        kept = [value for value in self.live if self.level[value] < current]

        def ask(value: str | float) -> None:
            if isinstance(value, str) and value not in asked and not self._is_here(value):
                asked.add(value)
                if value not in kept:
                    for arg in self._by_name[value].args:
                        ask(arg)

        on = [value for value, until in self.live.items() if self.level[value] == current < until]
        for value in (*(value for _, value in results), *on):
            ask(value)
        lines = [f"const S {value} = live.{value};" for value in kept if value in asked]
        lines += [
            f"const S {op.name} = {expression(op, [self.text(arg) for arg in op.args])};"
            for op in self.operations
            if op.name in asked and op.name not in kept
        ]
        lines += [f"live.{value} = {value};" for value in on]
        return lines + [f"{place} = {self.text(value)};" for place, value in results]

    def known_after(self, current: int, values: Sequence[str]) -> list[int]:
        """Which of these values, one number for the sequence each, come from an exchange; 0: from none."""
        return [i for i, value in enumerate(values) if self.level.get(value, 0) == current]

    def rows(self, current: int) -> list[str]:
        """The statements that follow from an exchange, or (0) from what is known before the first."""
        return [
            f"row.{op.name} = {expression(op, [self.text(arg) for arg in op.args])};"
            for op in self.operations
            if op.per_row and op.kind not in REDUCTIONS and self.level[op.name] == current
        ]


def phases(
    operations: Sequence[Operation],
    row_values: frozenset[str],
    read: Mapping[str, str],
    write: Sequence[tuple[str, str | float]],
    early: Mapping[str, Sequence[str | float]],
    known: Mapping[str, str],
    kept_of_row: Sequence[str],
    arguments: str,
) -> Phases:
    """The phases of a step.

    ``read`` says where its arguments stand, ``known`` where those stand that are one number for the sequence.
    The last phase sets the places of ``write``; what the arrays of ``early`` hold is set as soon as it is
    there. ``kept_of_row`` are those that the backward pass needs. All phases have the ``arguments``.
    """
    step = _Step(operations, row_values, read, write, early)
    classes, before, arrays = [], 0, "".join(f", S *{array}" for array in early)
    for current, exchange in enumerate(exchanges(step.operations), 1):
        values = [(f"x[{i}]", op.args[0]) for i, op in enumerate(exchange.values)]
        body = step.phase(current - 1, values)
        body += [f"x[{i}] = -x[{i}];" for i, op in enumerate(exchange.values) if op.kind == "amin"]
        numbers = {
            "MOMENTS": len(exchange.moments),
            "ADDED": len(exchange.sums),
            "MAXES": len(exchange.extremes),
            "VALUES": len(exchange.values),
            "WORDS": exchange.words,
            "BEFORE": before,
        }
        constants = ", ".join(f"{name} = {number}" for name, number in numbers.items())
        before += exchange.words
        lines = [
            f"struct Exchange{current} {{",
            f"    static constexpr int {constants};",
            *_says({**step.set_in(current - 1), "row": step.known_after(current, kept_of_row)}),
            f"    static METHOD void phase({arguments}, const OfRow &row, Live &live, S *x{arrays}) {{",
            *(f"        {line}" for line in body),
            "    }",
            "    static METHOD void rows(const S *total, OfRow &row) {",
            *(f"        {line}" for line in [*_totals(step, exchange), *step.rows(current)]),
            "    }",
            "};",
        ]
        classes.append("\n".join(lines))
    late = step.set_in(step.last)
    classes.append(
        "\n".join(["struct Last {", *_says({**late, "row": step.known_after(0, kept_of_row)}), "};"])
    )
    named = [*known, *(op.name for op in step.operations if op.per_row)]
    first = [f"row.{value} = {place};" for value, place in known.items()] + step.rows(0)
    return Phases(
        of_row=_members(named),
        live=_members(sorted(step.live)),
        known="\n".join(f"    {line}" for line in first),
        exchanges="\n".join(classes),
        last="\n".join(f"    {line}" for line in step.phase(step.last, write)),
        alive=max(step.alive(), max(map(len, late.values()))),
    )


def _says(numbers: Mapping[str, Sequence[int]]) -> list[str]:
    """Functions that say which numbers of an array are set."""
    lines = []
    for array, some in numbers.items():
        condition = " || ".join(f"i == {number}" for number in some) or "false"
        lines.append(f"    static METHOD constexpr bool sets_{array}(int i) {{ return {condition}; }}")
    return lines


def _members(names: Sequence[str]) -> str:
    return f"S {', '.join(names)};" if names else ""


def _totals(step: _Step, exchange: Exchange) -> list[str]:
    """Statements that take what an exchange results in."""
    lines = []
    for i, op in enumerate(exchange.values):
        word = 2 * i if op in exchange.moments else len(exchange.moments) + i
        value = {"sum": "{}", "mean": "{} * ((S)1 / H)", "amax": "{}", "amin": "-{}"}[op.kind]
        lines.append(f"row.{op.name} = {value.format(f'total[{word}]')};")
        for other in step.operations:
            if step.squares.get(other.name) == op.name:
                value = "{}" if other.kind == "sum" else "{} * ((S)1 / H)"
                lines.append(f"row.{other.name} = {value.format(f'total[{word + 1}]')};")
    return lines
