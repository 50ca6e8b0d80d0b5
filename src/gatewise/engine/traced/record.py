"""A :class:`~gatewise.engine.traced.trace.Trace` as text that outlives its process and is not trusted.

A trace becomes C code that is run. Reading one therefore checks it: every name must be one of the trace's
own, every operation one that the engine has.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from gatewise.engine.traced.operations import ARGUMENTS
from gatewise.engine.traced.trace import Operation, Trace

FORMAT = "gatewise trace 3"


def to_json(trace: Trace) -> str:
    """The trace as JSON (with NaN and Infinity), and a digest of it."""
    body = {
        "forward": [list(_operation(op)) for op in trace.forward],
        "new_state": trace.new_state,
        "gate_names": trace.gate_names,
        "gates": trace.gates,
        "backward": [list(_operation(op)) for op in trace.backward],
        "grad": trace.grad,
        "saved": trace.saved,
        "row_values": sorted(trace.row_values),
    }
    return json.dumps({"format": FORMAT, "sha256": _digest(body), "trace": body})


def from_json(text: str) -> Trace:
    """The trace that :func:`to_json` wrote. Raises ValueError where the text is damaged or is no trace."""
    try:
        document = json.loads(text)
        if document["format"] != FORMAT or document["sha256"] != _digest(document["trace"]):
            raise ValueError("its digest does not match")
        return _Reading(document["trace"]).trace()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a trace that Gatewise wrote: {error}") from error


def _operation(op: Operation) -> tuple[Any, ...]:
    return op.name, op.kind, op.args, op.per_row


def _digest(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class _Reading:
    """A trace being read: the names that are defined so far."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.grad = {kind: tuple(body["grad"][kind]) for kind in "arsp"}
        self.new_state = tuple(body["new_state"])
        self.row_values = frozenset(body["row_values"])
        counts = {kind: len(values) for kind, values in self.grad.items()}
        if counts["s"] != len(self.new_state):
            raise ValueError("there must be as many gradients as states")
        self.inputs = {f"{kind}{i}" for kind, count in counts.items() for i in range(count)}
        used = {arg for part in ("forward", "backward") for _, _, args, _ in body[part] for arg in args}
        self.inputs |= {arg for arg in used if isinstance(arg, str) and re.fullmatch(r"z[0-9]{1,2}", arg)}
        self.gradients = {f"g{i}" for i in range(counts["s"])}
        self.gradients |= {f"u{i}" for i in range(len(body["gates"]))}

    def trace(self) -> Trace:
        """The trace. Raises ValueError where it uses a name that is not defined."""
        forward, defined = self._operations("forward", self.inputs)
        new_state = tuple(self._value(value, defined) for value in self.new_state)
        names = tuple(self.body["gate_names"])
        gates = tuple(self._value(value, defined) for value in self.body["gates"])
        if len(names) != len(gates) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{len(names)} names for {len(gates)} gates")
        of_kinds = self._of_kinds("spz")
        saved = tuple(self._name(value, defined - of_kinds) for value in self.body["saved"])
        backward, defined = self._operations("backward", set(saved) | of_kinds | self.gradients)
        grad = {
            kind: tuple(None if value is None else self._name(value, defined) for value in values)
            for kind, values in self.grad.items()
        }
        for op in (*forward, *backward):
            if op.per_row != (op.name in self.row_values):
                raise ValueError(f"{op.name} is one number for the row, or one per feature")
        return Trace(forward, new_state, names, gates, backward, grad, saved, self.row_values)

    def _operations(self, part: str, inputs: set[str]) -> tuple[tuple[Operation, ...], set[str]]:
        """The operations of a part, and every name that is defined after them."""
        defined = set(inputs)
        operations = []
        for name, kind, args, per_row in self.body[part]:
            if not re.fullmatch(r"v[0-9]+", name) or name in defined:
                raise ValueError(f"the operation {name!r}")
            if kind not in ARGUMENTS or len(args) != ARGUMENTS[kind]:
                raise ValueError(f"{kind!r} of {len(args)} arguments")
            operations.append(
                Operation(name, kind, tuple(self._value(arg, defined) for arg in args), per_row)
            )
            defined.add(name)
        return tuple(operations), defined

    def _of_kinds(self, kinds: str) -> set[str]:
        return {name for name in self.inputs if name[0] in kinds}

    def _value(self, value: Any, defined: set[str]) -> str | float:
        return value if type(value) is float else self._name(value, defined)

    def _name(self, value: Any, defined: set[str]) -> str:
        if not isinstance(value, str) or value not in defined:
            raise ValueError(f"the value {value!r}")
        return value
