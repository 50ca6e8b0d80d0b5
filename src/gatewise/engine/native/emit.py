"""From a :class:`~gatewise.engine.traced.trace.Trace` to C: the whole sequence, forward and backward.

The code around the generated step is ``sequence.c``. The operations on a row run in passes over its features.
One pass is enough unless the step reduces along the features (a layer norm): what uses a reduction has to
wait for the pass that computes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files

import torch

from gatewise.cells import Cell
from gatewise.engine.traced.operations import EXPRESSIONS
from gatewise.engine.traced.trace import Operation, Trace

C_TYPES = {torch.float32: "float", torch.float64: "double"}

# How a reduction starts, takes in a vector of n numbers, and ends: with its value in every lane.
_REDUCTIONS = {
    "sum": ("0", "{0} += gw_first({1}, n, 0);", "gw_sum({0})"),
    "mean": ("0", "{0} += gw_first({1}, n, 0);", "gw_splat(gw_sum({0})[0] / H)"),
    "amax": ("-INFINITY", "{0} = gw_maximum({0}, gw_first({1}, n, -INFINITY));", "gw_amax({0})"),
    "amin": ("-INFINITY", "{0} = gw_maximum({0}, gw_first(-({1}), n, -INFINITY));", "-gw_amax({0})"),
}

# For a number that is the same in every lane: computed in one, as these are slow for whole vectors.
_OF_ONE_LANE = {
    "div": "gw_splat(({})[0] / ({})[0])",
    "reciprocal": "gw_splat(1 / ({})[0])",
    "sqrt": "gw_splat(REAL(sqrt)(({})[0]))",
    "rsqrt": "gw_splat(1 / REAL(sqrt)(({})[0]))",
}

# What the code has besides where returned gates and states carry gradients: what Python passes, a step that
# both saves and returns, and the places where these gradients come in.
CARRYING_GATES = {
    "@GATE_FIELDS@": """
    /* [N, H] each, or null: gradients of every step's states (the first stands in `above`) and gates. */
    const T *states_above[STATES], *gates_above[RETURNED];""",
    "@GATE_STEP@": """

static void step_of_gates(const T *restrict a, const T *restrict r, const T *const *s, const T *restrict p,
                          const T *restrict z, T *const *n, T *restrict saved, T *restrict returned) {
    (void)a, (void)r, (void)s, (void)p, (void)z, (void)saved, (void)returned;
@STATE_ROWS@
@NEW_ROWS@
@STEP_OF_GATES@
}""",
    "@GATE_CALL@": """
                    step_of_gates(a_row, r_row, s, q->own, z, n, q->saved + at * SAVED_SIZE,
                                  q->returned + at * RETURNED * H);
                else if (q->saved)""",
    "@GATE_PARAMETERS@": ", const T *const *u, int64_t u_at",
    "@STATES_ABOVE@": """
        for (int k = 1; k < STATES; k++) {
            const T *of_state = q->states_above[k] ? q->states_above[k] + at * H : NULL;
            for (int64_t j = 0; of_state && j < H; j++) g[k][j] += of_state[j];
        }""",
    "@GATE_ARGUMENTS@": ", q->gates_above, at * H",
}

# Lets GCC move instructions that depend on each other apart; its default on x86 leaves that to the processor.
# The matrix products are faster without.
SCHEDULED = """#ifndef __clang__
#pragma GCC optimize("schedule-insns")
#endif
"""


def source(
    cell: Cell,
    trace: Trace,
    hidden_size: int,
    dtype: torch.dtype,
    carries: bool = False,
    near: bool = False,
) -> tuple[str, str]:
    """The C sources of the two functions of a cell, ``gw_forward`` and ``gw_backward``.

    ``carries`` is whether the gates and states that they return carry gradients, ``near`` whether sigmoid and
    tanh need no more digits than stand beside products of bfloat16.
    """
    gates, recurrent = range(len(cell.gates)), range(len(cell.recurrent))
    states, own, noise = range(len(cell.states)), range(len(trace.grad["p"])), range(len(cell.noise))
    projects = cell.projection_size is not None
    inputs = {f"s{k}": f"s_row{k}" for k in states}
    inputs |= {f"p{i}": f"p + {i} * H" for i in own} | {f"z{i}": f"z + {i} * H" for i in noise}
    read = inputs | {f"a{i}": f"a + {i} * H" for i in gates} | {f"r{i}": f"r + {i} * H" for i in recurrent}
    sum_of = _sums_of_a_and_r(cell, trace)
    read |= {name: f"r + {i} * H" for name, i in sum_of.items()}
    forward = [op for op in trace.forward if op.name not in sum_of]
    write = [(f"n_row{k}", value) for k, value in enumerate(trace.new_state)]
    save: list[tuple[str, str | float]] = [(f"saved + {i} * H", v) for i, v in enumerate(trace.saved_wide)]
    row_places = {value: f"saved + SAVED * H + {i}" for i, value in enumerate(trace.saved_of_row)}
    returned = [(f"returned + {i} * H", value) for i, value in enumerate(trace.gates)]
    read_back = inputs | {
        str(value): f"n_row{k}" for k, value in enumerate(trace.new_state) if value in trace.saved
    }
    read_back |= {value: f"saved + {i} * H" for i, value in enumerate(trace.saved_wide)} | row_places
    read_back |= {f"g{k}": f"g_row{k}" for k in states}
    read_back |= {f"u{i}": f"u_row{i}" for i in trace.carrying}
    if projects:
        read_back["g0"] = "above"
    back: list[tuple[str, str | float]] = []
    for i, value in enumerate(trace.grad["a"]):
        back.append((f"da + {i} * H", 0.0 if value is None else value))
    if not trace.one_gradient:
        for i, value in enumerate(trace.grad["r"]):
            back.append((f"dr + {i} * H", 0.0 if value is None else value))
    for k, value in enumerate(trace.grad["s"]):
        if k > 0 or not projects:
            back.append((f"g_row{k}", 0.0 if value is None else value))
    grad_rows = [f"    T *restrict g_row{k} = g[{k}];" for k in states]
    grad_rows += [f"    const T *restrict u_row{i} = u[{i}] + u_at;" for i in trace.carrying]
    sums = [(f"dp + {i} * H", value) for i, value in enumerate(trace.grad["p"]) if value is not None]
    blocks: dict[str, object] = {
        "@NEAR@": int(near),
        "@H@": hidden_size,
        "@HIDDEN@": cell.projection_size or hidden_size,
        "@PROJECTS@": int(projects),
        "@GATES@": len(gates),
        "@RECURRENT@": len(recurrent),
        "@STATES@": len(states),
        "@OWN@": len(own),
        "@NOISE@": len(noise),
        "@SAVED@": len(trace.saved_wide),
        "@SAVED_SIZE@": trace.saved_size(hidden_size),
        "@RETURNED@": len(trace.gates),
        "@SUMMED@": int(bool(sum_of)),
        "@USES_HIDDEN@": int(trace.uses_hidden),
        "@A_GRAD@": int(trace.reaches("a")),
        "@R_GRAD@": int(trace.reaches("r")),
        "@SHARED@": int(trace.one_gradient),
        "@STATE_ROWS@": "\n".join(f"    const T *restrict s_row{k} = s[{k}];" for k in states),
        "@NEW_ROWS@": "\n".join(f"    T *restrict n_row{k} = n[{k}];" for k in states),
        "@AFTER_ROWS@": "\n".join(f"    const T *restrict n_row{k} = n[{k}];" for k in states),
        "@GRAD_ROWS@": "\n".join(grad_rows),
        "@STEP@": _passes(forward, trace.row_values, read, write),
        "@STEP_SAVING@": _passes(forward, trace.row_values, read, write + save, once=row_places),
        "@STEP_RETURNING@": _passes(forward, trace.row_values, read, write + returned),
        "@STEP_BACK@": _passes(trace.backward, trace.row_values, read_back, back, sums, tuple(row_places)),
    }
    added = dict.fromkeys(CARRYING_GATES, "")
    if carries:
        step = _passes(forward, trace.row_values, read, write + save + returned, once=row_places)
        added = {**CARRYING_GATES, "@STEP_OF_GATES@": step}
    blocks = added | blocks  # in this order, as the added text holds marks as well
    common = ("vector.c", "team.c", "sequence.c")
    forwards, backwards = (_filled((*common, name), dtype, blocks) for name in ("forward.c", "backward.c"))
    return SCHEDULED + forwards, SCHEDULED + backwards


def _sums_of_a_and_r(cell: Cell, trace: Trace) -> dict[str, int]:
    """Name and gate of each value a + r, where the step uses a and r only in these sums; else empty."""
    sums = {}
    for op in trace.forward:
        pair = sorted(str(arg) for arg in op.args)
        for i in range(len(cell.gates)):
            if op.kind == "add" and pair == [f"a{i}", f"r{i}"]:
                sums[op.name] = i
    parts = {f"{kind}{i}" for kind in "ar" for i in range(len(cell.gates))}
    other_uses = [arg for op in (*trace.forward, *trace.backward) if op.name not in sums for arg in op.args]
    other_uses += [*trace.new_state, *trace.gates, *trace.saved]
    only_sums = (
        cell.recurrent == cell.gates and len(sums) == len(cell.gates) and not parts.intersection(other_uses)
    )
    return sums if only_sums else {}


def products_source(dtype: torch.dtype) -> str:
    """The C source of the matrix products that every cell uses."""
    return _filled(("vector.c", "product.c"), dtype, {})


def attention_source(dtype: torch.dtype) -> str:
    """The C source of the scores of additive attention."""
    return _filled(("vector.c", "team.c", "attention.c"), dtype, {})


def rounded_products_source() -> str:
    """The C source of the products in float32 of factors that are rounded to bfloat16."""
    return _filled(("vector.c", "product.c", "bfloat16.c"), torch.float32, {})


def _filled(names: tuple[str, ...], dtype: torch.dtype, blocks: Mapping[str, object]) -> str:
    folder = files("gatewise.engine.native")
    text = "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)
    types = {"@TYPE@": C_TYPES[dtype], "@DOUBLE@": int(dtype == torch.float64), "@NEAR@": 0}
    for mark, value in {**types, **blocks}.items():
        text = text.replace(mark, str(value))
    return text


def _passes(
    operations: Iterable[Operation],
    row_values: frozenset[str],
    read: dict[str, str],
    write: Sequence[tuple[str, str | float]],
    sums: Iterable[tuple[str, str | float]] = (),
    numbers: Iterable[str] = (),
    once: Mapping[str, str] | None = None,
) -> str:
    """Loops over the features of one row; the last of them writes the results.

    ``read`` says where values are read, ``write`` where they are written, ``sums`` where they are added. Of
    the values that are one number for the row, ``numbers`` are read before the first loop, and ``once`` says
    where some are written after the last.
    """
    operations = list(operations)
    level: dict[str, int] = {}
    for op in operations:
        before = [level.get(arg, 0) for arg in op.args if isinstance(arg, str)]
        # A reduction has its value only after the pass that computes it.
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
    lines += [f"    const V {name} = gw_splat(*({read[name]}));" for name in numbers]
    lines += [
        f"    V {op.name} = gw_splat({_REDUCTIONS[op.kind][0]});"
        for op in operations
        if op.kind in _REDUCTIONS
    ]
    for current in range(last + 1):
        in_pass = [op for op in operations if op.kind not in _REDUCTIONS and level[op.name] == current]
        for op in [op for op in in_pass if op.per_row]:
            lines.append(f"    const V {op.name} = {_expression(op, _constant)};")
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
            loaded = f"gw_load({read.get(value, f'{value}_row')} + j, n)"
            # The gradient of the outputs is part of that of the first state.
            if loaded == "gw_load(g_row0 + j, n)":
                loaded += " + gw_load(above + j, n)"
            body.append(f"const V {value} = {loaded};")
            return value

        for op in in_pass:
            if op.per_row:
                continue
            text = _expression(op, fetch)
            body.append(f"const V {op.name} = {text};")
            if op.name in stored:
                body.append(f"gw_store({op.name}_row + j, {op.name}, n);")
        for op in reductions:
            body.append(_REDUCTIONS[op.kind][1].format(op.name, fetch(op.args[0])))
        if current == last:
            values = [(place, fetch(value)) for place, value in write]
            for place, value in sums:
                values.append((place, f"gw_load({place} + j, n) + {fetch(value)}"))
            body += [f"gw_store({place} + j, {value}, n);" for place, value in values]
        if body:
            lines += _over_features(body)
        lines += [f"    {op.name} = {_REDUCTIONS[op.kind][2].format(op.name)};" for op in reductions]
    lines += [f"    gw_store({place}, {value}, 1);" for value, place in (once or {}).items()]
    return "\n".join(lines)


def _over_features(body: list[str]) -> list[str]:
    """A loop over pairs of vectors of n features from j on, then a single vector, then the rest.

    Two vectors at a time, because a step is a long chain of operations that wait for each other.
    """

    def at(n: str, j: str) -> list[str]:
        return ["    {", f"        enum {{ n = {n} }};", f"        const int j = {j};", *inner, "    }"]

    inner = [f"        {line}" for line in body]
    return [
        "    for (int pair = 0; pair + 2 * L <= H; pair += 2 * L) {",
        *at("L", "pair"),
        *at("L", "pair + L"),
        "    }",
        "    if (H % (2 * L) >= L)",
        *at("L", "H / (2 * L) * 2 * L"),
        "    if (H % L)",
        *at("H % L", "H - n"),
    ]


def _pass_of(op: Operation, level: dict[str, int]) -> int:
    return level[op.name] - (op.kind in _REDUCTIONS)


def _expression(op: Operation, fetch: Callable[[str | float], str]) -> str:
    arguments = [fetch(arg) for arg in op.args]
    if op.per_row and op.kind in _OF_ONE_LANE:
        return _OF_ONE_LANE[op.kind].format(*arguments)
    if op.kind in EXPRESSIONS:
        return EXPRESSIONS[op.kind].format(*arguments)
    return f"gw_{op.kind}({', '.join(arguments)})"


def _constant(value: str | float) -> str:
    if isinstance(value, str):
        return value
    if math.isnan(value):
        return "gw_splat(NAN)"
    if math.isinf(value):
        return "gw_splat(INFINITY)" if value > 0 else "gw_splat(-INFINITY)"
    return f"gw_splat({value!r})"
