"""What a cell may not hold or declare, found before any of its steps runs."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

from gatewise.cells.cell import Cell

_CONTAINERS = (list, tuple, set, frozenset, deque)
_WITHOUT_ATTRIBUTES = (type, FunctionType, ModuleType)


def check_declarations(cell: Cell, hidden_size: int) -> None:
    """Raise ValueError, naming class and attribute, for what a layer could not train or would ignore.

    That is a tensor or module that the cell holds, an own parameter that is none, a bias of a gate that the
    cell does not have.
    """
    check_holds_nothing(cell)
    name = type(cell.innermost).__name__
    own = asked(cell, "own_parameters", hidden_size)
    if not isinstance(own, Mapping):
        raise ValueError(f"{name}.own_parameters must return a dict of tensors, got {type(own).__name__}")
    for key, value in own.items():
        if not isinstance(key, str) or not key.isidentifier():
            raise ValueError(f"{name}.own_parameters: {key!r} is no name that step can read as p.name")
        if not isinstance(value, Tensor) or not value.is_floating_point():
            given = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"{name}.own_parameters: {key} must be a tensor of floating-point numbers, got {given}"
            )
    biases = asked(cell, "initial_bias")
    if not isinstance(biases, Mapping):
        raise ValueError(f"{name}.initial_bias must return a dict of numbers, got {type(biases).__name__}")
    for gate in biases:
        if gate not in cell.gates:
            raise ValueError(
                f"{name}.initial_bias: there is no gate {gate!r}; the gates are {', '.join(cell.gates)}"
            )


def asked(cell: Cell, method: str, *arguments: Any) -> Any:
    """What the method returns. Raises ValueError, one line, where one of the user's fails."""
    try:
        return getattr(cell, method)(*arguments)
    except Exception as error:
        kind = type(cell.innermost)
        if kind.__module__.startswith("gatewise.cells."):
            raise
        hint = ""
        if isinstance(error, AttributeError) and error.obj is cell.innermost and "__init__" in vars(kind):
            hint = "; does its __init__ call super().__init__()?"
        message = " ".join(str(error).split())
        raise ValueError(
            f"{kind.__name__}.{method} failed: {type(error).__name__}: {message}{hint}"
        ) from error


def check_holds_nothing(cell: Cell) -> None:
    """Raise ValueError for a tensor, Parameter or module among the cell's attributes, or inside of one.

    A layer trains what ``own_parameters`` returns. What a cell holds would stay as it was, and on its device;
    so would a Parameter or module of the file around it that ``step`` uses.
    """
    cell = cell.innermost
    kind = type(cell)
    inherited = (item for base in kind.__mro__ if issubclass(base, Cell) for item in vars(base).items())
    for owner, attributes in (("self", vars(cell).items()), (kind.__name__, inherited)):
        for attribute, value in attributes:
            for place, what in _held(value, f"{owner}.{attribute}", 4):
                raise ValueError(
                    f"{kind.__name__} holds {what} in {place}, which no layer trains, saves or moves to its "
                    f"device: use own_parameters (starting values by name, which step reads as p.name)"
                    + (", and functions such as torch.tanh" if what.endswith("(a module)") else "")
                )
    for name, what in _used_from_outside(kind.step, 3):
        raise ValueError(
            f"{kind.__name__}.step uses {name}, {what}, which no layer trains, saves or moves to its device: "
            f"use own_parameters (starting values by name, which step reads as p.name)"
        )


def _used_from_outside(function: Any, depth: int) -> Iterator[tuple[str, str]]:
    """Name and kind of what a function, and those of its file that it calls, use of what could be trained."""
    if not isinstance(function, FunctionType) or not depth:
        return
    used = inspect.getclosurevars(function)
    for name, value in {**used.globals, **used.nonlocals}.items():
        if isinstance(value, FunctionType) and value.__module__ == function.__module__:
            yield from _used_from_outside(value, depth - 1)
        elif isinstance(value, nn.Module) or (isinstance(value, Tensor) and value.requires_grad):
            yield next((name, what) for _, what in _held(value, name, 1))


def _held(value: Any, place: str, depth: int) -> Iterator[tuple[str, str]]:
    """Place and kind of every tensor and module in a value and in what it is made of."""
    if isinstance(value, (Tensor, nn.Module)):
        name = type(value).__name__
        article = "an" if name[0] in "AEIOU" else "a"
        yield place, f"{article} {name}" + (" (a module)" if isinstance(value, nn.Module) else "")
        return
    if not depth:
        return
    inside: Iterable[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        inside = ((f"{place}[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, _CONTAINERS):
        inside = ((f"{place}[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, MethodType):
        inside = ((place, value.__self__),) if not isinstance(value.__self__, Cell) else ()
    elif isinstance(value, partial):
        inside = ((place, item) for item in (value.func, *value.args, *value.keywords.values()))
    elif not isinstance(value, _WITHOUT_ATTRIBUTES) and hasattr(value, "__dict__"):
        inside = ((f"{place}.{name}", item) for name, item in vars(value).items())
    for where, item in inside:
        yield from _held(item, where, depth - 1)
