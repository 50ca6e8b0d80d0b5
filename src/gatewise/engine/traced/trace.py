"""From a cell's ``step`` to two short lists of scalar operations: the step and its derivative.

``make_fx`` records what ``step`` and its vector-Jacobian product do to tensors of one row per sequence. Every
operation is element-wise or a reduction along the features, so one row is enough to describe it. The result
is a list of :class:`Operation` on values that are one number per feature or one number for the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.engine.request import Unsupported
from gatewise.engine.torch_internals import make_fx
from gatewise.engine.traced.operations import CONSTANT, OPERATIONS, REDUCTIONS, SAME, decompositions


@dataclass(frozen=True)
class Operation:
    """``name = kind(*args)``; an argument is the name of a value, or a number."""

    name: str
    kind: str
    args: tuple[str | float, ...]
    per_row: bool
    """Whether the value is one number for the row, and not one per feature."""


@dataclass(frozen=True)
class Trace:
    """One step of a cell and its derivative.

    Inputs are named by kind and position: a0 … gates, r0 … recurrent products, s0 … states, p0 … own
    parameters, z0 … noise, g0 … gradients of the new states; u0 … gradients of the returned gates, in a trace
    that was made for them.
    """

    forward: tuple[Operation, ...]
    new_state: tuple[str | float, ...]
    """Value of each new state."""
    gate_names: tuple[str, ...]
    gates: tuple[str | float, ...]
    """Name and value of each gate that ``step`` returns; none at all where one is not [B, H]."""
    backward: tuple[Operation, ...]
    grad: dict[str, tuple[str | None, ...]]
    """For ``a``, ``r``, ``s`` and ``p``: the value of each one's gradient, or None where there is none."""
    saved: tuple[str, ...]
    """Values of the step, other than states and parameters, that the derivative reads."""
    row_values: frozenset[str]
    """Values that are one number for the row."""

    @property
    def saved_wide(self) -> tuple[str, ...]:
        """Of ``saved``, the values per feature, without new states: those are kept anyway."""
        return tuple(v for v in self.saved if v not in self.row_values and v not in self.new_state)

    @property
    def saved_of_row(self) -> tuple[str, ...]:
        """Of ``saved``, the values that are one number for the row."""
        return tuple(value for value in self.saved if value in self.row_values)

    def saved_size(self, hidden_size: int) -> int:
        """How many numbers are saved of each row; those for the row itself are padded to whole vectors."""
        return len(self.saved_wide) * hidden_size + -len(self.saved_of_row) // 16 * -16

    @cached_property
    def one_gradient(self) -> bool:
        """Whether a and r have the same gradient, as in a step that only adds the two."""
        return self.grad["a"] == self.grad["r"]

    def reaches(self, kind: str) -> bool:
        """Whether any input of this kind (``a``, ``r``, ``s`` or ``p``) has a gradient."""
        return any(value is not None for value in self.grad[kind])

    @property
    def carrying(self) -> tuple[int, ...]:
        """Places of the returned gates whose gradient the derivative reads."""
        used = {arg for op in self.backward for arg in op.args}
        used |= {value for values in self.grad.values() for value in values if value is not None}
        return tuple(i for i in range(len(self.gates)) if f"u{i}" in used)

    @cached_property
    def uses_hidden(self) -> bool:
        """Whether the step uses W h at all."""
        used = {arg for op in self.forward for arg in op.args} | set(self.new_state)
        return any(isinstance(arg, str) and arg[0] == "r" and arg[1:].isdigit() for arg in used)


def trace(
    cell: Cell, hidden_size: int, dtype: torch.dtype = torch.float32, gate_names: Sequence[str] = ()
) -> Trace:
    """Record ``cell.step`` and its derivative for rows of ``hidden_size`` features.

    Constants that depend on the dtype (the epsilon that a norm adds) are those of ``dtype``. With the
    ``gate_names`` of an earlier trace, the derivative is that of the new states and of these gates. Raises
    Unsupported, naming the operation, where the step does something that is neither element-wise nor a
    reduction along the features.
    """
    if hidden_size < 2:
        raise Unsupported("a hidden size of 1")
    own = cell.own_parameters(hidden_size)
    for name, value in own.items():
        if tuple(value.shape) != (hidden_size,):
            raise Unsupported(f"the parameter {name} of shape {tuple(value.shape)}")
    rows = 3 if hidden_size != 3 else 5  # a number that differs from every other size

    gates: dict[str, Tensor] = {}

    def step_and_derivative(a: Any, r: Any, s: Any, p: Any, z: Any, g: Any, u: Any) -> Any:
        def step(a: Any, r: Any, s: Any, p: Any) -> Any:
            own_values = SimpleNamespace(**dict(zip(own, p, strict=True)))
            after, of_step = cell.step(cell.Gates(*a, *z), cell.Recurrent(*r), cell.State(*s), own_values)
            # Only the loop returns gates of other shapes.
            if all(gate.shape == (rows, hidden_size) for gate in of_step.values()):
                gates.update(of_step)
            values = tuple(gates.values())
            return (tuple(after), values if gate_names else ()), values

        (after, _), derivative, values = torch.func.vjp(  # type: ignore[misc]
            step, a, r, s, p, has_aux=True
        )
        return after, *derivative((tuple(g), tuple(u))), values

    def tensors(count: int) -> list[Tensor]:
        return [torch.zeros(rows, hidden_size, dtype=dtype) for _ in range(count)]

    parameters = [torch.zeros(hidden_size, dtype=dtype) for _ in own]
    counts = (len(cell.gates), len(cell.recurrent), len(cell.states))
    groups = (*map(tensors, counts), parameters, tensors(len(cell.noise)), tensors(len(cell.states)))
    groups = (*groups, tensors(len(gate_names)))
    try:
        with _plain_autograd():
            function = torch.func.functionalize(step_and_derivative)
            graph = make_fx()(function, decomposition_table=decompositions())(*groups).graph
    except Unsupported:
        raise
    except Exception as error:
        raise Unsupported(f"a step that cannot be traced ({type(error).__name__})") from error
    names = [f"{kind}{i}" for kind, group in zip("arspzgu", groups, strict=True) for i in range(len(group))]
    reader = _Reader(rows, hidden_size, dtype)
    outputs = reader.read(graph, names)
    reads = ("s0" in op.args for op in reader.operations.values())
    if cell.projection_size is not None and ("s0" in outputs or any(reads)):
        raise Unsupported("a projected hidden state that its step reads")
    sizes = dict(zip(("new", "a", "r", "s", "p"), (counts[2], *counts, len(own)), strict=True))
    return _split(reader, outputs, sizes, tuple(gates))


@contextmanager
def _plain_autograd() -> Iterator[None]:
    """The mode in which a cell is traced, whatever mode its first sequence runs in."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
        torch.autograd.set_detect_anomaly(False),
    ):
        yield


class _Reader:
    """Turns a graph of tensor operations into operations on rows."""

    def __init__(self, rows: int, hidden_size: int, dtype: torch.dtype) -> None:
        self.rows, self.hidden_size, self.dtype = rows, hidden_size, dtype
        # One number per feature (of each row, or of all rows), one per row, or one in all.
        self.shapes = (
            (rows, hidden_size),
            (1, hidden_size),
            (hidden_size,),
            (rows, 1),
            (rows,),
            (1, 1),
            (1,),
            (),
        )
        self.operations: dict[str, Operation] = {}
        self.names: dict[str, str] = {}
        self.row_values: set[str] = set()
        self.summed: set[Any] = set()
        """Sums over the rows: the gradients of parameters. The code that runs the rows adds them up."""

    def read(self, graph: Any, names: list[str]) -> list[str | float]:
        """Fill ``operations``; returns the value of each output of the graph, a number if it is constant."""
        values: dict[Any, str | float] = {}
        inputs = iter(names)
        for node in graph.nodes:
            if node.op == "placeholder":
                values[node] = next(inputs)
            elif node.op == "output":
                outputs: list[Any] = []
                torch.fx.node.map_arg(node.args[0], outputs.append)
                return [values[item] for item in outputs]
            elif node.op == "call_function":
                values[node] = self._value(node, values)
            else:
                raise Unsupported(f"a constant tensor made outside of its step ({node.name})")
        raise AssertionError("a graph without outputs")

    def _value(self, node: Any, values: dict[Any, str | float]) -> str | float:
        name = str(node.target).removeprefix("aten.")
        args = [values[arg] if isinstance(arg, torch.fx.Node) else arg for arg in node.args]
        result = node.meta.get("val")
        if not isinstance(result, Tensor):
            raise Unsupported(f"the operation {name}")
        shape = tuple(result.shape)
        if name not in SAME and self.summed.intersection(node.all_input_nodes):
            raise Unsupported("a sum over the rows that it goes on with")
        if name == "sum.dim_IntList" and list(node.args[1]) == [0] and isinstance(args[0], str):
            self.summed.add(node)
            return args[0]
        if shape not in self.shapes:
            raise Unsupported(f"the operation {name} to shape {shape[1:]}")
        if name in SAME:
            if node.args[0] in self.summed:
                self.summed.add(node)
            return self._converted(args[0], node, result.dtype) if name == "_to_copy.default" else args[0]
        if name in ("clamp.default", "clamp.Tensor"):
            return self._clamp(args)
        if name == "pow.Tensor_Scalar" and isinstance(args[0], str):
            return self._power(args[0], float(args[1]))
        if name == "var.correction":
            return self._variance(node, args[0])
        if name in CONSTANT:
            return float(CONSTANT[name](args))
        reduction = REDUCTIONS.get(name)
        if reduction is not None:
            if not self._along_features(node):
                raise Unsupported(f"the operation {name} over the rows")
            if isinstance(args[0], float):
                raise Unsupported(f"the operation {name} of a constant")
            return self._add(reduction, args[0])
        if name not in OPERATIONS:
            raise Unsupported(f"the operation {name}")
        if node.kwargs.get("alpha", 1) != 1:
            args[1] = self._add("mul", args[1], float(node.kwargs["alpha"]))
        operands: list[str | float] = []
        for arg in args:
            if isinstance(arg, (bool, int, float)):
                operands.append(float(arg))
            elif isinstance(arg, str):
                operands.append(arg)
            else:
                raise Unsupported(f"the operation {name} with {arg!r}")
        return self._add(OPERATIONS[name], *operands)

    def _converted(self, value: str | float, node: Any, dtype: torch.dtype) -> str | float:
        """A value in another dtype. All are computed in one, which must hold the other's numbers as well."""
        before = node.args[0].meta["val"].dtype
        if dtype == torch.bool and before != torch.bool:
            return self._add("ne", value, 0.0)
        if before.is_floating_point and not dtype.is_floating_point:
            return self._add("trunc", value)
        if dtype.is_floating_point and before.is_floating_point and dtype.itemsize < self.dtype.itemsize:
            raise Unsupported(f"numbers of {dtype}")
        return value

    def _clamp(self, args: list[Any]) -> str | float:
        value: str | float = args[0]
        for limit, kind in zip(args[1:], ("maximum", "minimum"), strict=False):
            if limit is not None:
                value = self._add(kind, value, limit if isinstance(limit, str) else float(limit))
        return value

    def _power(self, base: str, exponent: float) -> str:
        """As torch computes it: by a root or by products, where these are enough."""
        if exponent == 1:
            return base
        if exponent in (0.5, -0.5, -1):
            return self._add({0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}[exponent], base)
        if exponent not in (2, 3, -2):
            return self._add("pow", base, exponent)
        square = self._add("mul", base, base)
        if exponent == 3:
            return self._add("mul", square, base)
        return square if exponent == 2 else self._add("reciprocal", square)

    def _variance(self, node: Any, value: str | float) -> str:
        correction = node.kwargs.get("correction")
        if not self._along_features(node) or isinstance(value, float):
            raise Unsupported(f"the operation {node.target} over the rows")
        centred = self._add("sub", value, self._add("mean", value))
        squares = self._add("sum", self._add("mul", centred, centred))
        return self._add("div", squares, float(self.hidden_size - (1 if correction is None else correction)))

    def _along_features(self, node: Any) -> bool:
        dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        rank = node.args[0].meta["val"].dim()
        return isinstance(dims, (list, tuple)) and rank == 2 and [d % rank for d in dims] == [1]

    def _add(self, kind: str, *args: str | float) -> str:
        # Two gates often start with the same operation: compute it once. (By text, as 0 == -0.)
        content = repr((kind, args))
        if content in self.names:
            return self.names[content]
        name = self.names[content] = f"v{len(self.operations)}"
        named = [arg for arg in args if isinstance(arg, str)]
        per_row = kind in REDUCTIONS.values() or all(arg in self.row_values for arg in named)
        self.operations[name] = Operation(name, kind, args, per_row)
        if per_row:
            self.row_values.add(name)
        return name


def _split(
    reader: _Reader, outputs: list[str | float], sizes: dict[str, int], gate_names: tuple[str, ...]
) -> Trace:
    """Split the operations into those of the step and those of its derivative."""
    named, start = {}, 0
    for key, count in sizes.items():
        named[key] = tuple(outputs[start : start + count])
        start += count
    named["gates"] = tuple(outputs[start:])
    forward = needed_operations(reader.operations, named["new"] + named["gates"])
    grad: dict[str, tuple[str | None, ...]] = {}
    for key in "arsp":
        if any(isinstance(value, float) and value != 0 for value in named[key]):
            raise Unsupported("a constant derivative")
        grad[key] = tuple(None if isinstance(value, float) else value for value in named[key])
    wanted = [value for values in grad.values() for value in values if value is not None]
    inside = {op.name for op in forward}
    backward = [op for op in needed_operations(reader.operations, wanted) if op.name not in inside]
    used = [arg for op in backward for arg in op.args if isinstance(arg, str)] + wanted
    saved = [value for value in dict.fromkeys(used) if value in inside or value[0] in "ar"]
    recomputed = [op for op in forward if op.name in saved and _cheap(op, saved)]
    recomputed_names = {op.name for op in recomputed}
    return Trace(
        forward=tuple(forward),
        new_state=named["new"],
        gate_names=gate_names,
        gates=named["gates"],
        backward=(*recomputed, *backward),
        grad=grad,
        saved=tuple(value for value in saved if value not in recomputed_names),
        row_values=frozenset(reader.row_values),
    )


def _cheap(operation: Operation, saved: Iterable[str]) -> bool:
    """Whether computing a value again is faster than reading it: a sum or product of what is read anyway."""
    others = set(saved) - {operation.name}
    return operation.kind in ("add", "sub", "mul", "neg") and all(
        isinstance(arg, float) or arg in others or arg[0] in "spz" for arg in operation.args
    )


def needed_operations(
    operations: dict[str, Operation], wanted: Iterable[str | float | None]
) -> list[Operation]:
    """Those of ``operations``, by name, that ``wanted`` depends on, in order."""
    needed: set[str] = set()
    for name, operation in reversed(operations.items()):
        if name in wanted or name in needed:
            needed.add(name)
            needed.update(arg for arg in operation.args if isinstance(arg, str))
    return [operation for name, operation in operations.items() if name in needed]
