"""A trace's derivative where only some of the returned gates have a gradient."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from gatewise.engine.traced.trace import Operation, Trace, needed_operations

_LINEAR = ("mul", "div", "neg", "sum", "mean")
"""Nothing comes of these where their first argument is the gradient of nothing."""


def pruned(trace: Trace, carrying: Collection[int]) -> Trace:
    """The trace with the gradients of the returned gates at the places ``carrying``, and of no others.

    What would be multiplied with the others' is left out, as autograd does: an infinite factor of a gradient
    of 0 would be NaN. What the forward pass saves stays as it is.
    """
    values = _Values({f"u{i}" for i in trace.carrying if i not in carrying})
    operations = {op.name: new for op in trace.backward if (new := values.after(op)) is not None}
    grad = {
        kind: tuple(None if value is None else values.gradient(value) for value in of_kind)
        for kind, of_kind in trace.grad.items()
    }
    wanted = [value for of_kind in grad.values() for value in of_kind]
    return replace(trace, backward=tuple(needed_operations(operations, wanted)), grad=grad)


class _Values:
    """Which values are left where some are gradients of nothing, and which are the same as another."""

    def __init__(self, nothing: set[str]) -> None:
        self.nothing = nothing
        self.same: dict[str, str] = {}

    def gradient(self, value: str) -> str | None:
        """A gradient's value, or None where it is one of nothing."""
        return None if value in self.nothing else self.same.get(value, value)

    def after(self, op: Operation) -> Operation | None:
        """The operation on what is left of its arguments, or None where its value is nothing or another's."""
        empty = [arg in self.nothing for arg in op.args]
        args = tuple(
            0.0 if gone else self.same.get(arg, arg) if isinstance(arg, str) else arg
            for arg, gone in zip(op.args, empty, strict=True)
        )
        if not any(empty):
            return replace(op, args=args)
        products = op.kind in _LINEAR and (empty[0] or op.kind == "mul")
        branches = op.kind == "where" and not empty[0] and args[1:] == (0.0, 0.0)
        if products or branches or (op.kind in ("add", "sub") and all(empty)):
            self.nothing.add(op.name)
            return None
        left = args[1] if empty[0] else args[0]
        if op.kind in ("add", "sub") and isinstance(left, str):
            if op.kind == "sub" and empty[0]:
                return replace(op, kind="neg", args=(left,))
            self.same[op.name] = left
            return None
        return replace(op, args=args)
