"""From a :class:`~gatewise.engine.native.trace.Trace` to C: the whole sequence, forward and backward.

The text around the generated step is ``sequence.c``. A row's operations run in passes over its features: one,
unless the step reduces along them (a layer norm), as what uses a reduction has to wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files

import torch

from gatewise.cells import Cell
from gatewise.engine.native.trace import Operation, Trace

C_TYPES = {torch.float32: "float", torch.float64: "double"}

EXPRESSIONS = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "div": "{} / {}",
    "neg": "-{}",
    "reciprocal": "1 / {}",
    "sigmoid": "gw_sigmoid({})",
    "tanh": "gw_tanh({})",
    "relu": "gw_relu({})",
    "exp": "gw_exp({})",
    "log": "REAL(log)({})",
    "log1p": "REAL(log1p)({})",
    "expm1": "REAL(expm1)({})",
    "sqrt": "REAL(sqrt)({})",
    "rsqrt": "1 / REAL(sqrt)({})",
    "abs": "REAL(fabs)({})",
    "sign": "(T)(({0} > 0) - ({0} < 0))",
    "sin": "REAL(sin)({})",
    "cos": "REAL(cos)({})",
    "tan": "REAL(tan)({})",
    "asin": "REAL(asin)({})",
    "acos": "REAL(acos)({})",
    "atan": "REAL(atan)({})",
    "atan2": "REAL(atan2)({}, {})",
    "sinh": "REAL(sinh)({})",
    "cosh": "REAL(cosh)({})",
    "asinh": "REAL(asinh)({})",
    "acosh": "REAL(acosh)({})",
    "atanh": "REAL(atanh)({})",
    "exp2": "REAL(exp2)({})",
    "log2": "REAL(log2)({})",
    "log10": "REAL(log10)({})",
    "erf": "REAL(erf)({})",
    "erfc": "REAL(erfc)({})",
    "floor": "REAL(floor)({})",
    "ceil": "REAL(ceil)({})",
    "trunc": "REAL(trunc)({})",
    "round": "REAL(nearbyint)({})",
    "fmod": "REAL(fmod)({}, {})",
    "hypot": "REAL(hypot)({}, {})",
    "copysign": "REAL(copysign)({}, {})",
    # These two give the other one where one is NaN.
    "fmax": "REAL(fmax)({}, {})",
    "fmin": "REAL(fmin)({}, {})",
    "pow": "REAL(pow)({}, {})",
    # torch's give NaN where one of the two is.
    "maximum": "gw_maximum({}, {})",
    "minimum": "gw_minimum({}, {})",
    "where": "{} != 0 ? {} : {}",
    "gt": "(T)({} > {})",
    "ge": "(T)({} >= {})",
    "lt": "(T)({} < {})",
    "le": "(T)({} <= {})",
    "eq": "(T)({} == {})",
    "ne": "(T)({} != {})",
    "not": "(T)({} == 0)",
    "and": "(T)({} != 0 && {} != 0)",
    "or": "(T)({} != 0 || {} != 0)",
    "xor": "(T)(({} != 0) != ({} != 0))",
    "isnan": "(T)({0} != {0})",
}
_REDUCTIONS = {
    "sum": ("0", "{0} += {1};"),
    "mean": ("0", "{0} += {1};"),
    "amax": ("-INFINITY", "{0} = gw_maximum({0}, {1});"),
    "amin": ("INFINITY", "{0} = gw_minimum({0}, {1});"),
}


def source(cell: Cell, trace: Trace, hidden_size: int, dtype: torch.dtype) -> str:
    """The C source of the two functions of a cell, ``gw_forward`` and ``gw_backward``."""
    gates, states = range(len(cell.gates)), range(len(cell.states))
    own = range(len(trace.grad["p"]))
    read = {f"a{i}": f"a[{i} * H + j]" for i in gates}
    read |= {f"r{i}": f"r[{i} * H + j]" for i in gates}
    read |= {f"s{k}": f"s_row{k}[j]" for k in states}
    read |= {f"p{i}": f"p[{i} * H + j]" for i in own}
    write = [(f"n_row{k}[j]", value) for k, value in enumerate(trace.new_state)]
    keep: list[tuple[str, str | float]] = [
        (f"saved[{i} * H + j]", value) for i, value in enumerate(trace.saved)
    ]
    again = {f"s{k}": f"s_row{k}[j]" for k in states} | {f"p{i}": f"p[{i} * H + j]" for i in own}
    again |= {value: f"saved[{i} * H + j]" for i, value in enumerate(trace.saved)}
    again |= {f"g{k}": f"g_row{k}[j]" for k in states}
    again["g0"] = "g_row0[j] + above[j]"
    back: list[tuple[str, str | float]] = []
    for i, value in enumerate(trace.grad["a"]):
        back.append((f"da[{i} * H + j]", 0.0 if value is None else value))
    if not trace.one_gradient:
        for i, value in enumerate(trace.grad["r"]):
            back.append((f"dr[{i} * H + j]", 0.0 if value is None else value))
    for k, value in enumerate(trace.grad["s"]):
        back.append((f"g_row{k}[j]", 0.0 if value is None else value))
    sums = [(f"dp[{i} * H + j]", value) for i, value in enumerate(trace.grad["p"]) if value is not None]
    numbers = [value for value in trace.saved if value in trace.row_values]
    template = files("gatewise.engine.native").joinpath("sequence.c").read_text(encoding="utf-8")
    blocks = {
        "@TYPE@": C_TYPES[dtype],
        "@DOUBLE@": str(int(dtype == torch.float64)),
        "@H@": str(hidden_size),
        "@GATES@": str(len(gates)),
        "@STATES@": str(len(states)),
        "@OWN@": str(len(own)),
        "@SAVED@": str(len(trace.saved)),
        "@USES_HIDDEN@": str(int(trace.uses_hidden)),
        "@HIDDEN_GRAD@": str(int(trace.reaches("r"))),
        "@SHARED@": str(int(trace.one_gradient)),
        "@STATE_ROWS@": "\n".join(f"    const T *restrict s_row{k} = s[{k}];" for k in states),
        "@NEW_ROWS@": "\n".join(f"    T *restrict n_row{k} = n[{k}];" for k in states),
        "@GRAD_ROWS@": "\n".join(f"    T *restrict g_row{k} = g[{k}];" for k in states),
        "@STEP@": _passes(trace.forward, trace.row_values, read, write),
        "@STEP_SAVING@": _passes(trace.forward, trace.row_values, read, write + keep),
        "@STEP_BACK@": _passes(trace.backward, trace.row_values, again, back, sums, numbers),
    }
    for mark, text in blocks.items():
        template = template.replace(mark, text)
    return template


def _passes(
    operations: Iterable[Operation],
    row_values: frozenset[str],
    read: dict[str, str],
    write: Sequence[tuple[str, str | float]],
    sums: Iterable[tuple[str, str | float]] = (),
    numbers: Iterable[str] = (),
) -> str:
    """Loops over the features of one row: what is computed in each, and what is written in the last.

    ``numbers`` are the values that are one number for the row and can be read before the first loop.
    """
    operations = list(operations)
    level: dict[str, int] = {}
    for op in operations:
        before = [level.get(arg, 0) for arg in op.args if isinstance(arg, str)]
        # A reduction is known only after the pass that makes it.
        level[op.name] = max(before, default=0) + (op.kind in _REDUCTIONS)
    last = max(level.values(), default=0)
    by_name = {op.name: op for op in operations}
    stored = {
        arg
        for op in operations
        for arg in op.args
        if isinstance(arg, str)
        and arg in by_name
        and arg not in row_values
        and _pass_of(op, level) > level[arg]
    }
    stored |= {
        value for _, value in [*write, *sums] if isinstance(value, str) and level.get(value, last) < last
    }
    stored -= row_values
    lines = [f"    T {name}_row[H];" for name in sorted(stored - set(read))]
    lines += [f"    const T {name} = {read[name].replace('+ j', '')};" for name in numbers]
    for op in operations:
        if op.kind in _REDUCTIONS:
            lines.append(f"    T {op.name} = {_REDUCTIONS[op.kind][0]};")
    for current in range(last + 1):
        mine = [op for op in operations if op.kind not in _REDUCTIONS and level[op.name] == current]
        for op in [op for op in mine if op.per_row]:
            lines.append(f"    const T {op.name} = {_expression(op, _constant)};")
        reductions = [op for op in operations if op.kind in _REDUCTIONS and level[op.name] == current + 1]
        body: list[str] = []
        fetched: set[str] = set()

        def fetch(
            value: str | float, current: int = current, body: list[str] = body, fetched: set[str] = fetched
        ) -> str:
            if not isinstance(value, str):
                return _constant(value)
            if value in row_values:
                return value
            if value in fetched or (value in by_name and level[value] == current):
                return value
            fetched.add(value)
            body.append(f"        const T {value} = {read.get(value, f'{value}_row[j]')};")
            return value

        for op in mine:
            if op.per_row:
                continue
            text = _expression(op, fetch)
            body.append(f"        const T {op.name} = {text};")
            if op.name in stored:
                body.append(f"        {op.name}_row[j] = {op.name};")
        for op in reductions:
            body.append("        " + _REDUCTIONS[op.kind][1].format(op.name, fetch(op.args[0])))
        if current == last:
            values = [(place, fetch(value), "=") for place, value in write]
            values += [(place, fetch(value), "+=") for place, value in sums]
            body += [f"        {place} {sign} {value};" for place, value, sign in values]
        if body:
            added = [op.name for op in reductions if op.kind in ("sum", "mean")]
            pragma = "    LOOP" if not added else f"    LOOP_ADDING({', '.join(added)})"
            lines += [pragma, "    for (int j = 0; j < H; j++) {", *body, "    }"]
        lines += [f"    {op.name} /= H;" for op in reductions if op.kind == "mean"]
    return "\n".join(lines)


def _pass_of(op: Operation, level: dict[str, int]) -> int:
    return level[op.name] - (op.kind in _REDUCTIONS)


def _expression(op: Operation, fetch: Callable[[str | float], str]) -> str:
    return EXPRESSIONS[op.kind].format(*(fetch(arg) for arg in op.args))


def _constant(value: str | float) -> str:
    if isinstance(value, str):
        return value
    if math.isnan(value):
        return "(T)NAN"
    if math.isinf(value):
        return "(T)INFINITY" if value > 0 else "(-(T)INFINITY)"
    return f"((T){value!r})"
