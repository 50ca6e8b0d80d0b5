"""From a :class:`~gatewise.engine.traced.trace.Trace` to CUDA C: one step of a row, forward and backward.

A block computes the features of one row, each of its threads some of them. What uses a reduction along the
features (a layer norm) waits for the pass over them that computes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files

import torch

from gatewise.cells import Cell
from gatewise.engine.cuda.phases import Phases, bounded, constant, exchanges, expression, levels, phases
from gatewise.engine.cuda.variant import Shape, Variant
from gatewise.engine.traced.trace import Operation, Trace

KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.float64: 3}
"""How scalars.cu numbers the dtypes."""

# How a reduction starts, takes in a number and ends.
_REDUCTIONS = {
    "sum": ("0", "{0} += {1};", "over_block({0}, 0)"),
    "mean": ("0", "{0} += {1};", "over_block({0}, 0) / H"),
    "amax": ("-INFINITY", "{0} = gw_maximum({0}, {1});", "over_block({0}, 1)"),
    "amin": ("-INFINITY", "{0} = gw_maximum({0}, -({1}));", "-over_block({0}, 1)"),
}


def kept_values(trace: Trace) -> tuple[str, ...]:
    """The values per feature that the forward pass keeps for the backward pass."""
    used = {arg for op in trace.backward for arg in op.args if isinstance(arg, str)}
    used |= {value for values in trace.grad.values() for value in values if value is not None}
    states = [f"s{k}" for k in range(len(trace.new_state)) if f"s{k}" in used]
    new = [
        value for value in dict.fromkeys(trace.new_state) if isinstance(value, str) and value in trace.saved
    ]
    return (*trace.saved_wide, *(value for value in new if value not in states), *states)


def threads_of(hidden_size: int) -> int:
    """How many threads compute a row: a power of two, from one warp to eight."""
    return min(256, max(32, 1 << (hidden_size - 1).bit_length()))


GATE_FIELDS = """
    // Of [rows, H] each, or null: gradients of every step's states (the first stands in `above`) and gates.
    const T *states_above[K], *gates_above[GATES];"""


def steps_source(
    cell: Cell,
    trace: Trace,
    hidden_size: int,
    dtype: torch.dtype,
    fast: bool,
    carrying: Trace | None = None,
) -> str:
    """The source of ``step_forward`` and ``step_backward``, without what the device brings.

    ``fast`` is whether exponentials may be as exact as a product of 16-bit or TF32 numbers is, and no more.
    Where gates carry gradients, ``carrying`` is the trace to go back by: ``trace``, or that pruned.
    """
    back_trace = carrying or trace
    gates, states = range(len(cell.gates)), range(len(cell.states))
    projects = cell.projection_size is not None
    inputs = {f"p{i}": f"own[{i} * H + j]" for i in range(len(trace.grad["p"]))}
    inputs |= {f"z{i}": f"a[({len(gates)} + {i}) * H + j]" for i in range(len(cell.noise))}
    state_at = {k: f"q.state[({k} * q.batch + row) * H + j]" for k in states}
    read = inputs | {f"s{k}": place for k, place in state_at.items()}
    read |= {f"a{i}": f"a[{i} * H + j]" for i in gates}
    read |= {f"r{i}": f"r[{i} * H + j]" for i in range(len(cell.recurrent))}
    kept = kept_values(trace)
    write = [(f"{place} = {{}};", trace.new_state[k]) for k, place in state_at.items() if k or not projects]
    write.append(("q.out[row * H + j] = to_t({});", trace.new_state[0]))
    if not projects:
        masked = "{} * (q.mask ? from_t(q.mask[row * H + j]) : 1)"
        write.append((f"q.next[row * H + j] = to_t({masked});", trace.new_state[0]))
    write += [
        (f"if (q.kept) q.kept[row * KEPT + {i} * H + j] = {{}};", value) for i, value in enumerate(kept)
    ]
    write += [
        (f"if (q.gates) q.gates[(row * GATES + {i}) * H + j] = to_t({{}});", value)
        for i, value in enumerate(trace.gates)
    ]
    write += [
        (f"if (q.states) q.states[(row * K + {k}) * H + j] = to_t({{}});", value)
        for k, value in enumerate(trace.new_state)
    ]
    of_row = [
        (f"if (q.kept && threadIdx.x == 0) q.kept[row * KEPT + SLOTS * H + {i}] = {{}};", value)
        for i, value in enumerate(trace.saved_of_row)
    ]
    read_back = inputs | {value: f"kept[{i} * H + j]" for i, value in enumerate(kept)}
    grad_at = {k: f"q.grad[({k} * q.batch + row) * H + j]" for k in states}
    read_back |= {f"g{k}": place for k, place in grad_at.items()}
    read_back["g0"] += " + (q.above ? from_t(q.above[row * H + j]) : 0)"
    if carrying is not None:
        for k in states[1:]:
            read_back[f"g{k}"] += f" + (q.states_above[{k}] ? from_t(q.states_above[{k}][row * H + j]) : 0)"
        for i in carrying.carrying:
            read_back[f"u{i}"] = f"from_t(q.gates_above[{i}][row * H + j])"
    back: list[tuple[str, str | float]] = []
    for i, value in enumerate(back_trace.grad["a"]):
        back.append((f"q.da[(row * G + {i}) * H + j] = to_t({{}});", _or_zero(value)))
    for i, value in enumerate(back_trace.grad["r"]):
        back.append((f"if (q.dr) q.dr[(row * R + {i}) * H + j] = to_t({{}});", _or_zero(value)))
    for k, value in enumerate(back_trace.grad["s"]):
        back.append((f"{grad_at[k]} = {{}};", _or_zero(value)))
    for i, value in enumerate(back_trace.grad["p"]):
        if value is not None:
            back.append((f"q.grad_own[(row * OWN + {i}) * H + j] += {{}};", value))
    known = {value: f"kept[SLOTS * H + {i}]" for i, value in enumerate(trace.saved_of_row)}
    blocks = {
        "@KIND@": KINDS[dtype],
        "@FAST@": int(fast),
        "@H@": hidden_size,
        "@HIDDEN@": cell.projection_size or hidden_size,
        "@A@": len(gates) + len(cell.noise),
        "@G@": len(gates),
        "@R@": len(cell.recurrent),
        "@K@": len(states),
        "@OWN@": len(trace.grad["p"]),
        "@SLOTS@": len(kept),
        "@ROW_SLOTS@": len(trace.saved_of_row),
        "@GATES@": len(trace.gates),
        "@THREADS@": threads_of(hidden_size),
        "@STEP@": _passes(trace.forward, trace.row_values, read, write, of_row),
        "@STEP_BACK@": _passes(back_trace.backward, trace.row_values, read_back, back, [], known),
        "@GATE_FIELDS@": "" if carrying is None else GATE_FIELDS,
    }
    return filled(("scalars.cu", "steps.cu"), blocks)


def kept_of_a_sequence(cell: Cell, trace: Trace) -> tuple[str, ...]:
    """The values per feature that the whole-sequence kernels keep: the noise as well, which is read once."""
    used = {arg for op in trace.backward for arg in op.args}
    noise = (f"z{i}" for i in range(len(cell.noise)))
    return (*kept_values(trace), *(name for name in noise if name in used))


def exchanged(trace: Trace, way: str) -> tuple[tuple[int, int], ...]:
    """How many values each exchange reduces along the features, and in how many words of a sequence."""
    operations = trace.forward if way == "forward" else trace.backward
    return tuple((len(exchange.values), exchange.words) for exchange in exchanges(operations))


def sequence_phases(cell: Cell, trace: Trace, way: str, carrying: Trace | None = None) -> Phases:
    """The phases of a step, or of its derivative; ``carrying`` as in :func:`sequence_source`."""
    gates = range(len(cell.gates))
    kept = kept_of_a_sequence(cell, trace)
    own = {f"p{i}": f"p[{i}]" for i in range(len(trace.grad["p"]))}
    if way == "forward":
        read = own | {f"s{k}": f"s[{k}]" for k in range(len(cell.states))}
        read |= {f"a{i}": f"a[{i}]" for i in gates}
        read |= {f"r{i}": f"r[{i}]" for i in range(len(cell.recurrent))}
        read |= {f"z{i}": f"a[{len(gates) + i}]" for i in range(len(cell.noise))}
        write = [(f"n[{k}]", value) for k, value in enumerate(trace.new_state)]
        early: dict[str, Sequence[str | float]] = {"k": kept, "gate": trace.gates}
        arguments = "const S *a, const S *r, const S *s, const S *p"
        return phases(trace.forward, trace.row_values, read, write, early, {}, trace.saved_of_row, arguments)
    of_back = carrying or trace
    read = own | {value: f"k[{i}]" for i, value in enumerate(kept)}
    read |= {f"g{k}": f"g[{k}]" for k in range(len(cell.states))}
    read |= {f"u{i}": f"u[{n}]" for n, i in enumerate(of_back.carrying)}
    back = [
        (f"{place}[{i}]", _or_zero(value))
        for kind, place in (("a", "da"), ("r", "dr"), ("s", "ds"))
        for i, value in enumerate(of_back.grad[kind])
    ]
    early = {"dp": [_or_zero(value) for value in of_back.grad["p"]]}
    known = {value: f"k[{i}]" for i, value in enumerate(trace.saved_of_row)}
    arguments = "const S *g, const S *k, const S *p"
    return phases(of_back.backward, trace.row_values, read, back, early, known, (), arguments)


def sequence_source(
    cell: Cell,
    trace: Trace,
    shape: Shape,
    variant: Variant,
    of_models: bool = False,
    carrying: Trace | None = None,
) -> str:
    """The source of ``sequence_forward`` or ``sequence_backward``, without what the device brings.

    ``of_models`` says whether one launch is to run several models; ``carrying`` is as in ``steps_source``.
    """
    step = sequence_phases(cell, trace, shape.way, carrying)
    kept, in_half = kept_of_a_sequence(cell, trace), bounded(trace.forward)
    kept_of_row = (f"    k[{i}] = row.{value};" for i, value in enumerate(trace.saved_of_row))
    blocks = {
        "@KIND@": KINDS[shape.dtype],
        "@FAST@": int(not shape.exact),
        "@EXACT@": int(shape.exact),
        "@H@": shape.hidden,
        "@A@": shape.inputs,
        "@G@": len(cell.gates),
        "@R@": shape.recurrent,
        "@K@": shape.states,
        "@OWN@": len(trace.grad["p"]),
        "@SLOTS@": len(kept),
        "@IN_HALF@": sum(1 << i for i, value in enumerate(kept[:64]) if value in in_half),
        "@ROW_SLOTS@": shape.kept_of_row,
        "@LEVELS@": len(shape.exchanged),
        "@ROW_VALUES@": max((values for values, _ in shape.exchanged), default=0),
        "@ROW_WORDS@": max((words for _, words in shape.exchanged), default=0),
        "@ALL_WORDS@": shape.exchanged_words,
        "@GATES@": len(trace.gates),
        "@CARRIED@": shape.carried,
        "@PROJECTS@": int(cell.projection_size is not None),
        "@MODELS@": int(of_models),
        "@ONE_GRADIENT@": int((carrying or trace).one_gradient),
        "@BLOCKS@": variant.blocks,
        "@OF_BLOCK@": variant.of_block(shape),
        "@SPLIT@": variant.split,
        "@WSPLIT@": variant.wsplit,
        "@GROUPS@": variant.groups,
        "@TILES@": variant.tiles,
        "@PASS@": variant.passes,
        "@DEPTH@": variant.depth,
        "@EXCHANGE@": variant.exchange,
        "@STAGED@": int(variant.staged),
        "@EIGHTS@": variant.eights,
        "@FULL@": int(shape.calls.full),
        "@KEEPS@": _known(shape.calls.keeps, "(q.kept != nullptr)"),
        "@RETURNS@": _known(shape.calls.returns, "true"),
        "@MASKED@": _known(shape.calls.masked, "(q.mask != nullptr)"),
        "@WARPS@": variant.warps(shape),
        "@OF_ROW@": step.of_row,
        "@LIVE@": step.live,
        "@KNOWN@": step.known,
        "@KEPT_OF_ROW@": "\n".join(kept_of_row),
        "@EXCHANGES@": step.exchanges,
        "@LAST@": step.last,
        "@REDUCE@": " ".join(f"exchange(Exchange{i}());" for i in range(1, len(shape.exchanged) + 1)),
    }
    rows = ("sequence_rows.cu",) if shape.exchanged else ()
    return filled(("scalars.cu", "sequence.cu", *rows, f"sequence_{shape.way}.cu"), blocks)


def _known(value: bool | None, asked: str) -> str:
    """In C, what is known of every call, or what a call is asked."""
    return asked if value is None else str(int(value))


def filled(names: Iterable[str], blocks: Mapping[str, object]) -> str:
    """The files of this room, one after the other, with every mark replaced by its block."""
    folder = files("gatewise.engine.cuda")
    text = "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)
    for mark, value in blocks.items():
        text = text.replace(mark, str(value))
    return text


def _or_zero(value: str | None) -> str | float:
    return 0.0 if value is None else value


def _passes(
    operations: Sequence[Operation],
    row_values: frozenset[str],
    read: Mapping[str, str],
    write: Sequence[tuple[str, str | float]],
    of_row: Sequence[tuple[str, str]] = (),
    known: Mapping[str, str] | None = None,
) -> str:
    """Loops over a thread's features of one row; the last of them does what ``write`` says.

    ``read`` says where values stand; ``known`` where those stand that are one number for the row, and
    ``of_row`` what is done with such a number in the end.
    """
    level = levels(operations)
    last = max(level.values(), default=0)

    def pass_of(op: Operation) -> int:
        return level[op.name] - (op.kind in _REDUCTIONS)

    uses = [(arg, pass_of(op)) for op in operations for arg in op.args if isinstance(arg, str)]
    uses += [(value, last) for _, value in write if isinstance(value, str)]
    later = {
        value for value, used in uses if value in level and value not in row_values and used > level[value]
    }
    lines = [f"    const S {name} = {place};" for name, place in (known or {}).items()]
    lines += [f"    S {op.name} = {_REDUCTIONS[op.kind][0]};" for op in operations if op.kind in _REDUCTIONS]
    lines += [f"    S {name}_of[PER];" for name in sorted(later)]
    for current in range(last + 1):
        here = [op for op in operations if op.kind not in _REDUCTIONS and level[op.name] == current]
        reductions = [op for op in operations if op.kind in _REDUCTIONS and pass_of(op) == current]
        body: list[str] = []
        fetched: set[str] = set()

        def fetch(
            value: str | float, current: int = current, body: list[str] = body, fetched: set[str] = fetched
        ) -> str:
            if not isinstance(value, str):
                return constant(value)
            if value in row_values or value in fetched or level.get(value) == current:
                return value
            fetched.add(value)
            place = f"{value}_of[i]" if value in later else read[value]
            body.append(f"const S {value} = {place};")
            return value

        for op in here:
            text = expression(op, [fetch(arg) for arg in op.args])
            if op.per_row:
                lines.append(f"    const S {op.name} = {text};")
                continue
            body.append(f"const S {op.name} = {text};")
            if op.name in later:
                body.append(f"{op.name}_of[i] = {op.name};")
        body += [_REDUCTIONS[op.kind][1].format(op.name, fetch(op.args[0])) for op in reductions]
        if current == last:
            done = [(statement, fetch(value)) for statement, value in write]
            body += [statement.format(value) for statement, value in done]
        lines += _over_features(body)
        lines += [f"    {op.name} = {_REDUCTIONS[op.kind][2].format(op.name)};" for op in reductions]
    lines += [f"    {statement.format(value)}" for statement, value in of_row]
    return "\n".join(lines)


def _over_features(body: Sequence[str]) -> list[str]:
    if not body:
        return []
    return [
        "#pragma unroll",
        "    for (int i = 0; i < PER; i++) {",
        "        const int j = threadIdx.x + i * THREADS;",
        "        if (H % THREADS && j >= H) continue;",
        *(f"        {line}" for line in body),
        "    }",
    ]
