"""Comparisons of a step's derivative, done in the step, where its values have not been rounded yet."""

from __future__ import annotations

from dataclasses import replace

from gatewise.engine.traced.trace import Operation, Trace

_COMPARISONS = ("eq", "ne", "gt", "ge", "lt", "le")


def compared_forward(trace: Trace) -> Trace:
    """The trace, but what its derivative compares of the step's values is compared in the step.

    Which of them is the largest cannot be seen of values that were rounded to be kept.
    """
    inside = {op.name for op in trace.forward}

    def is_of_step(value: str | float) -> bool:
        return isinstance(value, str) and (value in inside or value[0] in "arspz")

    moved = [
        op
        for op in trace.backward
        if op.kind in _COMPARISONS and op.name not in inside and all(map(is_of_step, op.args))
    ]
    if not moved:
        return trace
    asked = {value for values in trace.grad.values() for value in values}
    backward: list[Operation] = []
    for op in reversed(trace.backward):
        if op.name in asked and op not in moved:
            backward.append(op)
            asked.update(arg for arg in op.args if isinstance(arg, str))
    saved = tuple(value for value in trace.saved if value in asked) + tuple(op.name for op in moved)
    return replace(trace, forward=(*trace.forward, *moved), backward=tuple(reversed(backward)), saved=saved)
