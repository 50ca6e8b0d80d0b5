"""A :class:`~gatewise.engine.native.trace.Trace` as text that outlives its process and is read without trust.

From a trace C code is made and run. What is read is therefore held against what a trace can be: every name is
one of the trace's own, every operation one that the engine has.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from gatewise.engine.native.operations import ARGUMENTS
from gatewise.engine.native.trace import Operation, Trace

FORMAT = "gatewise trace 2"


def to_json(trace: Trace) -> str:
    """The trace as JSON (with NaN and Infinity), with a digest of it beside it."""
    body = {
        "forward": [list(_operation(op)) for op in trace.forward],
        "new_state": trace.new_state,
        "shown_names": trace.shown_names,
        "shown": trace.shown,
        "backward": [list(_operation(op)) for op in trace.backward],
        "grad": trace.grad,
        "saved": trace.saved,
        "row_values": sorted(trace.row_values),
    }
    return json.dumps({"format": FORMAT, "sha256": _digest(body), "trace": body})


def from_json(text: str) -> Trace:
    """The trace that :func:`to_json` wrote. Raises ValueError where the text is not whole, or not a trace."""
    try:
        document = json.loads(text)
        if document["format"] != FORMAT or document["sha256"] != _digest(document["trace"]):
            raise ValueError("its digest is that of another text")
        return _Reading(document["trace"]).trace()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no trace that Gatewise wrote: {error}") from error


def _operation(op: Operation) -> tuple[Any, ...]:
    return op.name, op.kind, op.args, op.per_row


def _digest(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class _Reading:
    """One trace being read: what is known by name so far."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.grad = {kind: tuple(body["grad"][kind]) for kind in "arsp"}
        self.new_state = tuple(body["new_state"])
        self.row_values = frozenset(body["row_values"])
        counts = {kind: len(values) for kind, values in self.grad.items()}
        if counts["s"] != len(self.new_state):
            raise ValueError("as many gradients as states")
        self.inputs = {f"{kind}{i}" for kind, count in counts.items() for i in range(count)}
        used = {arg for part in ("forward", "backward") for _, _, args, _ in body[part] for arg in args}
        self.inputs |= {arg for arg in used if isinstance(arg, str) and re.fullmatch(r"z[0-9]{1,2}", arg)}
        self.gradients = {f"g{i}" for i in range(counts["s"])}

    def trace(self) -> Trace:
        """The trace; raises ValueError where it names what is not there."""
        forward, known = self._operations("forward", self.inputs)
        new_state = tuple(self._value(value, known) for value in self.new_state)
        names = tuple(self.body["shown_names"])
        shown = tuple(self._value(value, known) for value in self.body["shown"])
        if len(names) != len(shown) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{len(names)} names for {len(shown)} gates")
        kept = known - self._like("spz")
        saved = tuple(self._name(value, kept) for value in self.body["saved"])
        start = set(saved) | self._like("spz") | self.gradients
        backward, ends = self._operations("backward", start)
        grad = {
            kind: tuple(None if value is None else self._name(value, ends) for value in values)
            for kind, values in self.grad.items()
        }
        for op in (*forward, *backward):
            if op.per_row != (op.name in self.row_values):
                raise ValueError(f"{op.name} is of a row, or of a feature")
        return Trace(forward, new_state, names, shown, backward, grad, saved, self.row_values)

    def _operations(self, part: str, known: set[str]) -> tuple[tuple[Operation, ...], set[str]]:
        known = set(known)
        read = []
        for name, kind, args, per_row in self.body[part]:
            if not re.fullmatch(r"v[0-9]+", name) or name in known:
                raise ValueError(f"the operation {name!r}")
            if kind not in ARGUMENTS or len(args) != ARGUMENTS[kind]:
                raise ValueError(f"{kind!r} of {len(args)}")
            read.append(Operation(name, kind, tuple(self._value(arg, known) for arg in args), per_row))
            known.add(name)
        return tuple(read), known

    def _like(self, kinds: str) -> set[str]:
        return {name for name in self.inputs if name[0] in kinds}

    def _value(self, value: Any, known: set[str]) -> str | float:
        return value if type(value) is float else self._name(value, known)

    def _name(self, value: Any, known: set[str]) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"the value {value!r}")
        return value
