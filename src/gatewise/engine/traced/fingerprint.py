"""A digest of what a cell's ``step`` computes: cells with the same digest can share a trace on disk.

It covers everything that ``step`` can reach: the code of the cell's methods, the globals, closures and
defaults that this code names, the functions that those lead to, and the cell's settings. A cell has no digest
where something leads neither to plain values nor to functions of torch or the standard library.
"""

from __future__ import annotations

import builtins
import dis
import functools
import hashlib
import sys
from abc import ABC, ABCMeta
from collections import namedtuple
from collections.abc import Callable, Iterable
from importlib.resources import files
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, Generic

import torch

from gatewise.cells import Cell

# What belongs to these is identified by its name; the versions are part of the digest.
_TRUSTED = {"torch", "math", "operator", "functools", "itertools", "collections", "typing", "abc", "numbers"}
# With these a step can read or change what its code does not name.
_OPAQUE_BUILTINS = {"__build_class__", "__import__", "breakpoint", "compile", "delattr", "eval", "exec"}
_OPAQUE_BUILTINS |= {"globals", "hash", "id", "input", "locals", "open", "setattr"}
_OPAQUE_STEPS = {"STORE_ATTR", "DELETE_ATTR", "STORE_GLOBAL", "DELETE_GLOBAL", "IMPORT_NAME"}
_GLOBALS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}
_BETWEEN = {"EXTENDED_ARG", "PUSH_NULL", "CACHE"}
# Methods that make, copy or print a cell. They do not run in a step; the attributes they set are covered.
_MAKING = {"__init__", "__post_init__", "__init_subclass__", "__setattr__", "__delattr__", "__replace__"}
_MAKING |= {"__annotate__", "__annotate_func__", "__repr__", "__eq__", "__hash__"}
_MAKING |= {"__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__copy__", "__deepcopy__"}
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range, torch.dtype, torch.device)
# Of torch.ops.aten.add and of torch.ops.aten.add.Tensor.
_OPERATORS = (type(torch.ops.aten.add), type(torch.ops.aten.add.Tensor))
_SOURCES = (
    ("gatewise.cells", "cell.py"),
    ("gatewise.engine.traced", "trace.py"),
    ("gatewise.engine.traced", "operations.py"),
    ("gatewise.engine", "replaced.py"),
)
# Of our own modules, with all that they import, that one whose source is among these; its functions hold no
# settings.
_OWN = "gatewise.engine.replaced"
# What every class from collections.namedtuple has besides its fields, and what pickle adds to it.
_NAMED_TUPLE = frozenset((*vars(namedtuple("_NAMED_TUPLE", ())), "__slotnames__"))


class _Unsure(Exception):  # noqa: N818 - not an error: the cell is traced again
    """Something that a digest could not tell from something else."""


def fingerprint(cell: Cell) -> str | None:
    """A digest (SHA-256, in hexadecimal) of all that determines what ``cell.step`` computes.

    It is the same in every process with the same Python, torch and Gatewise. None where the step reaches
    something that could change unnoticed, such as an object of a user's class.
    """
    walk = _Walk()
    try:
        walk.add("versions", *_versions(), str(torch.get_default_dtype()))
        walk.value(cell)
    except (_Unsure, RecursionError):
        return None
    return walk.digest()


@functools.cache
def _versions() -> tuple[str, ...]:
    """What gives bytecode and names their meaning, and the sources of the code that traces a step."""
    try:
        sources = [files(package).joinpath(name).read_bytes() for package, name in _SOURCES]
    except OSError as error:
        raise _Unsure("no source of Gatewise") from error
    digests = [hashlib.sha256(source).hexdigest() for source in sources]
    return (sys.version, str(sys.flags.optimize), torch.__version__, str(torch.version.git_version), *digests)


class _Walk:
    """Hashes what a value is made of, each part once."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        # Holds the objects, so that no second object gets the address of one.
        self.seen: dict[int, tuple[int, Any]] = {}

    def digest(self) -> str:
        return self.hash.hexdigest()

    def add(self, *words: str) -> None:
        for word in words:
            data = word.encode("utf-8", "surrogatepass")
            self.hash.update(b"%d:" % len(data) + data)

    def value(self, value: Any) -> None:
        """Add any value. Raises _Unsure."""
        kind = type(value)
        if kind in _PLAIN:
            self.add(kind.__name__, repr(value))
            return
        # Types that can contain themselves; whether two equal tuples are one object is up to the compiler.
        if isinstance(value, (FunctionType, type, Cell, dict, list)):
            if id(value) in self.seen:
                self.add("again", str(self.seen[id(value)][0]))
                return
            self.seen[id(value)] = (len(self.seen), value)
        add = _READERS.get(kind)
        if add is not None:
            add(self, value)
        elif isinstance(value, Cell):
            self.add("cell")
            self.value(type(value))
            self.value(vars(value))
        elif isinstance(value, ModuleType):
            # It cannot be said which of its names the step will look up.
            self._trust(value, value.__name__, "")
        elif isinstance(value, type):
            self._class(value)
        elif kind in _OPERATORS and str(value).partition(".")[0] in ("aten", "prims"):
            self.add("operator", str(value))
        else:
            raise _Unsure(f"a {kind.__qualname__}")

    def items(self, values: Iterable[Any]) -> None:
        for value in values:
            self.value(value)

    def _sequence(self, values: Any) -> None:
        self.add(type(values).__name__, str(len(values)))
        self.items(values)

    def _mapping(self, values: dict[Any, Any]) -> None:
        self.add("dict", str(len(values)))
        for key, value in values.items():
            self.value(key)
            self.value(value)

    def _set(self, values: Any) -> None:
        # Sorted by their text: the order of a set differs between processes.
        if not all(type(value) in _PLAIN for value in values):
            raise _Unsure("a set of more than plain values")
        self.add(type(values).__name__, *sorted(f"{type(value).__name__} {value!r}" for value in values))

    def _function(self, function: FunctionType) -> None:
        module, name = function.__module__, function.__qualname__
        if _look_up(module, name) is function and (module == _OWN or _root(module) in _TRUSTED):
            self.add("named", module, name)
            return
        self.add("function")
        self._code(function.__code__, function.__globals__)
        for cell in function.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:
                raise _Unsure("a name that has no value yet") from None
            self.value(content)
        self.value(function.__defaults__)
        self.value(function.__kwdefaults__)
        self.value(vars(function))

    def _code(self, code: CodeType, names: dict[str, Any]) -> None:
        self.add("code", code.co_code.hex(), getattr(code, "co_exceptiontable", b"").hex())
        self.add(
            *map(str, (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags))
        )
        for listed in (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars):
            self.add(str(len(listed)), *listed)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._code(constant, names)
            else:
                self.value(constant)
        self._reached(code, names)

    def _reached(self, code: CodeType, names: dict[str, Any]) -> None:
        """Add the globals that the code names; of modules the attributes, so that ``math.pi`` is a number."""
        value: Any = None
        for instruction in dis.get_instructions(code):
            name = instruction.opname
            if isinstance(value, ModuleType) and name in _ATTRIBUTES and hasattr(value, instruction.argval):
                value = getattr(value, instruction.argval)
                continue
            if isinstance(value, ModuleType) and name in _BETWEEN:
                continue
            if value is not None:
                self.value(value)
                value = None
            if name in _OPAQUE_STEPS or instruction.argval in ("__init__", "__globals__"):
                raise _Unsure(f"{name} {instruction.argval}")
            if name in _GLOBALS:
                value = self._global(instruction.argval, names)

    def _global(self, name: str, names: dict[str, Any]) -> Any:
        """The value of a global; None where its name says it all (a builtin, or the value None)."""
        if name in names:
            self.add("global", name)
            if names[name] is None:
                self.value(None)
            return names[name]
        if name in _OPAQUE_BUILTINS or not hasattr(builtins, name):
            raise _Unsure(f"the global {name}")
        self.add("builtin", name)
        return None

    def _builtin(self, function: Any) -> None:
        """Add a function written in C, by the name under which it can be looked up."""
        module, name = function.__module__ or "", function.__name__
        if module == "builtins" and name not in _OPAQUE_BUILTINS:
            self.add("builtin", name)
            return
        self._trust(function, module, name)

    def _descriptor(self, function: Any) -> None:
        self._trust(function, function.__objclass__.__module__, function.__qualname__)

    def _trust(self, value: Any, module: str, name: str) -> None:
        if _root(module) not in _TRUSTED or (name and _look_up(module, name) is not value):
            raise _Unsure(f"{module}.{name}")
        self.add("named", module, name)

    def _method(self, method: MethodType) -> None:
        self.add("method")
        self.items((method.__func__, method.__self__))

    def _property(self, value: property) -> None:
        self.add("property")
        self.items((value.fget, value.fset, value.fdel))

    def _wrapped(self, value: Any) -> None:
        self.add(type(value).__name__)
        self.value(value.__func__)

    def _cached_property(self, value: Any) -> None:
        self.add("cached property")
        self.value(value.func)

    def _partial(self, value: Any) -> None:
        self.add("partial")
        self.items((value.func, value.args, value.keywords))

    def _class(self, kind: type) -> None:
        if kind.__module__ == "builtins" and getattr(builtins, kind.__name__, None) is kind:
            self.add("builtin", kind.__name__)
            return
        if _root(kind.__module__) in _TRUSTED and _look_up(kind.__module__, kind.__qualname__) is kind:
            self.add("named", kind.__module__, kind.__qualname__)
            return
        fields = vars(kind).get("_fields", ())
        if kind.__bases__ == (tuple,) and vars(kind).keys() <= _NAMED_TUPLE.union(fields):
            self.add("named tuple", *fields)
            self.value(kind._field_defaults)  # type: ignore[attr-defined]
            return
        if not issubclass(kind, Cell) or type(kind) is not ABCMeta:
            raise _Unsure(f"the class {kind.__qualname__}")
        self.add("class", kind.__qualname__)
        for base in kind.__mro__[1:]:
            if base not in (ABC, object, Generic):
                self.value(base)
        if kind is Cell:  # _versions has its source
            return
        for name, value in vars(kind).items():
            if name in _MAKING or name == "_abc_impl" or (name.startswith("__") and not callable(value)):
                continue
            self.add("attribute", name)
            self.value(value)


_READERS: dict[type, Callable[[_Walk, Any], None]] = {
    tuple: _Walk._sequence,
    list: _Walk._sequence,
    torch.Size: _Walk._sequence,
    dict: _Walk._mapping,
    set: _Walk._set,
    frozenset: _Walk._set,
    FunctionType: _Walk._function,
    BuiltinFunctionType: _Walk._builtin,
    MethodDescriptorType: _Walk._descriptor,
    WrapperDescriptorType: _Walk._descriptor,
    MethodType: _Walk._method,
    property: _Walk._property,
    staticmethod: _Walk._wrapped,
    classmethod: _Walk._wrapped,
    functools.cached_property: _Walk._cached_property,
    functools.partial: _Walk._partial,
}


def _root(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _look_up(module: str, qualified_name: str) -> Any:
    """The object with a qualified name, or None."""
    value: Any = sys.modules.get(module)
    for name in qualified_name.split("."):
        value = getattr(value, name, None)
    return value
