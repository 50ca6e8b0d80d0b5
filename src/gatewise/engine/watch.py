"""What a ``step`` does besides computing: what it draws, reads from tensors, and keeps for the next call."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cached_property, partial
from types import CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gatewise.cells import Cell
from gatewise.engine.torch_internals import watching, writes

_READS = {"item", "tolist", "numpy", "data_ptr", "untyped_storage", "storage", "register_hook"}
_READS |= {"__bool__", "__float__", "__int__", "__index__", "__complex__", "__contains__", "__array__"}
_READS |= {"__dlpack__", "__format__", "__repr__"}
_PLAIN = (type(None), bool, int, float, complex, str, bytes, range, torch.dtype, torch.device, Enum)
_LIBRARIES = {"torch", "numpy", "gatewise", *sys.stdlib_module_names}


class Watch:
    """A context that notes what a step draws and which values it reads."""

    def __init__(self) -> None:
        self.draws = False
        self.reads: str | None = None
        """The first function that took a value out of a tensor, or hung a hook on one."""

    def __enter__(self) -> Watch:
        self._before = _global_generators()
        self._modes = (_Functions(self), watching(self._operation))
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)
        self.draws = self.draws or _global_generators() != self._before

    def _operation(self, operation: Any) -> None:
        """Note what one operation does; those inside of torch's functions come here too."""
        if torch.Tag.nondeterministic_seeded in operation.tags:
            self.draws = True
        if {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}.intersection(operation.tags):
            name = str(operation).removeprefix("aten.").partition(".")[0]
            self.reads = self.reads or ("item" if name == "_local_scalar_dense" else name)


def _global_generators() -> tuple[Any, ...]:
    """The states of Python's and NumPy's own generators."""
    numpy = sys.modules.get("numpy")
    state = numpy.random.get_state() if numpy is not None else ()
    return (random.getstate(), *(part.tobytes() if hasattr(part, "tobytes") else part for part in state))


class _Functions(TorchFunctionMode):
    """Sees the methods that read a tensor's memory, which are no operations."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in _READS:
            self.watch.reads = self.watch.reads or name
        return func(*args, **(kwargs or {}))


class Snapshot:
    """What a cell's methods can keep from one call to the next: attributes, globals, names of closures."""

    def __init__(self, cell: Cell) -> None:
        # Holds what it has seen, so that nothing new gets the identity of something that is gone.
        self._kept: list[Any] = []
        self.content = {name: self._content(value, 5) for name, value in _places(cell)}

    def changed(self, later: Snapshot) -> str | None:
        """The name of something that is not as it was, or None."""
        names = (*self.content, *later.content)
        return next((n for n in names if self.content.get(n) != later.content.get(n)), None)

    def _content(self, value: Any, depth: int) -> Any:
        """A value to compare: equal as long as nothing in it has changed."""
        kind = type(value)
        if isinstance(value, _PLAIN):
            return kind, repr(value)
        self._kept.append(value)
        if isinstance(value, Tensor):
            return id(value), writes(value)
        if isinstance(value, torch.Generator):
            return id(value), value.get_state().numpy().tobytes()
        if isinstance(value, random.Random):
            return id(value), value.getstate()
        if kind.__module__.partition(".")[0] == "numpy" and hasattr(value, "tobytes"):
            return id(value), value.tobytes() if value.nbytes < 1 << 20 else None
        if isinstance(value, (FunctionType, ModuleType, type, torch.nn.Module)) or not depth:
            return id(value)
        if hasattr(value, "__len__") and len(value) > 1000:
            return id(value), len(value)
        if isinstance(value, Mapping):
            return kind, [
                (self._content(k, depth - 1), self._content(v, depth - 1)) for k, v in value.items()
            ]
        if isinstance(value, (list, tuple, deque)):
            return kind, [self._content(item, depth - 1) for item in value]
        if isinstance(value, (set, frozenset)):
            return kind, sorted(map(repr, value))
        if hasattr(value, "bit_generator"):
            return id(value), repr(value.bit_generator.state)
        if hasattr(value, "__dict__") and (kind is SimpleNamespace or not _is_library(kind.__module__)):
            return id(value), self._content(vars(value), depth - 1)
        # count(3) says where it is.
        return id(value), repr(value) if kind.__module__ == "itertools" else None


def _places(cell: Cell) -> Iterator[tuple[str, Any]]:
    """Name and value of everything that the cell's methods name and that could hold state."""
    kind = type(cell)
    own = [base for base in kind.__mro__ if not base.__module__.startswith(("gatewise.", "abc", "builtins"))]
    attributes = {name: value for base in reversed(own) for name, value in vars(base).items()}
    for name, value in vars(cell).items():
        # A property that is computed once is always the same.
        if not isinstance(attributes.get(name), cached_property):
            yield f"self.{name}", value
    for name, value in attributes.items():
        if not (name.startswith("_abc") or name.startswith("__")):
            yield f"{kind.__name__}.{name}", value
    pending: list[Any] = [*attributes.values()]
    seen: set[int] = set()
    while pending:
        function = _function(pending.pop())
        if function is None or id(function) in seen:
            continue
        seen.add(id(function))
        outside = {
            name: function.__globals__[name]
            for code in _codes(function.__code__)
            for name in code.co_names
            if name in function.__globals__
        }
        for name, cell_of in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                outside[name] = cell_of.cell_contents
            except ValueError:  # no value yet
                continue
        for index, value in enumerate(function.__defaults__ or ()):
            outside[f"{function.__name__}'s default {index + 1}"] = value
        for name, value in outside.items():
            if isinstance(value, ModuleType):
                if not _is_library(value.__name__):
                    yield from (
                        (f"{name}.{inner}", item) for inner, item in vars(value).items() if inner[:2] != "__"
                    )
            elif isinstance(value, type):
                if not _is_library(value.__module__):
                    yield from ((f"{name}.{n}", item) for n, item in vars(value).items() if n[:2] != "__")
            else:
                yield name, value
                pending.append(value)


def _function(value: Any) -> FunctionType | None:
    """The user's Python function behind a value that can be called, or None."""
    while True:
        if isinstance(value, (staticmethod, classmethod, MethodType)):
            value = value.__func__
        elif isinstance(value, property):
            value = value.fget
        elif isinstance(value, (partial, cached_property)):
            value = value.func
        elif hasattr(value, "__wrapped__"):
            value = value.__wrapped__
        else:
            break
    is_own = isinstance(value, FunctionType) and not _is_library(value.__module__)
    return value if is_own else None


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code and that of the functions and comprehensions inside of it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _is_library(module: str | None) -> bool:
    return (module or "").partition(".")[0] in _LIBRARIES
