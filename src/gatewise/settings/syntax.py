"""Find classes and functions by dotted name and read them from their source, without importing them.

Importing torch takes seconds, and a ``_target_`` declares its settings in its syntax tree.
"""

from __future__ import annotations

import ast
import builtins
import functools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

OWN = __name__.rpartition(".")[0]
LIGHT_MODULES = (OWN, "typing", "functools")
"""Modules that are quick to import: a name from one of them is looked up in the imported module."""

_BUILTINS = {"bool": bool, "int": int, "float": float, "str": str, "None": None, "object": object}


class Unreadable(Exception):  # noqa: N818 - not an error: the source says too little
    """The source alone does not tell the value of an expression."""


@dataclass(frozen=True, eq=False)
class Module:
    """A module's source."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    def statements(self) -> Iterator[ast.stmt]:
        """Its top-level statements, including those inside ``if`` and ``try``."""
        pending: list[ast.stmt] = list(self.tree.body)
        while pending:
            statement = pending.pop(0)
            yield statement
            if isinstance(statement, (ast.If, ast.Try)):
                pending[:0] = [*statement.body, *statement.orelse]


@dataclass(frozen=True, eq=False)
class Definition:
    """A class or function as its module's source defines it."""

    module: Module
    node: ast.ClassDef | ast.FunctionDef

    @property
    def name(self) -> str:
        """The name it is defined under."""
        return self.node.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Definition) and (self.module.path, self.name) == (
            other.module.path,
            other.name,
        )

    def __hash__(self) -> int:
        return hash((self.module.path, self.name))

    def bases(self) -> list[Definition]:
        """The base classes whose source can be read; others are left out."""
        bases = [_definition_of(base, self.module) for base in getattr(self.node, "bases", ())]
        return [base for base in bases if base is not None]

    def ancestry(self, depth: int = 0) -> Iterator[Definition]:
        """The class itself, then its base classes, nearest first."""
        yield self
        if depth < 50:  # else a name that stands for itself
            for base in self.bases():
                yield from base.ancestry(depth + 1)

    def has_unreadable_base(self) -> bool:
        """Whether the source of a base class, of its own or of one of them, does not tell what it is."""
        written = (
            (base, owner.module) for owner in self.ancestry() for base in getattr(owner.node, "bases", ())
        )
        return any(
            _definition_of(base, module) is None
            and not (isinstance(base, ast.Name) and hasattr(builtins, base.id))
            for base, module in written
        )

    def is_subclass_of(self, other: Definition) -> bool:
        """Whether it is ``other`` or a subclass of it."""
        return other in self.ancestry()

    def method(self, name: str) -> Definition | None:
        """A method that the class itself defines; None if it does not."""
        for statement in self.node.body:
            if isinstance(statement, ast.FunctionDef) and statement.name == name:
                return Definition(self.module, statement)
        return None

    def attribute(self, name: str) -> Any:
        """The value of ``name = ...`` in the class or its nearest base: a Definition or a plain value.

        Raises Unreadable if there is none or it is not plain.
        """
        for owner in self.ancestry():
            value = owner.own_attribute(name)
            if value is not None:
                return value
        raise Unreadable(name)

    def own_attribute(self, name: str) -> Any:
        """The value of ``name = ...`` in the class itself; None if there is none."""
        for statement in self.node.body:
            value = _assigned(statement, name)
            if value is not None:
                return _definition_of(value, self.module) or evaluate(value, self.module)
        return None


def find(target: str) -> Definition | None:
    """The class or function with a dotted name; None if its source cannot be found."""
    parts = target.split(".")
    for count in range(len(parts) - 1, 0, -1):
        module = find_module(".".join(parts[:count]))
        if module is None:
            continue
        if len(parts) > count + 1:
            return None
        try:
            value = lookup(parts[count], module)
        except Unreadable:
            return None
        return value if isinstance(value, Definition) else None
    return None


@functools.lru_cache(maxsize=512)
def find_module(name: str) -> Module | None:
    """The source of a module, found without importing its packages; None if it cannot be read."""
    path = module_path(name)
    if path is None or path.suffix != ".py":
        return None
    try:
        return Module(name, path, ast.parse(path.read_bytes()))
    except (
        OSError,
        SyntaxError,
        ValueError,
        RecursionError,
        MemoryError,
    ):  # the last two for what is too deep
        return None


def module_path(name: str) -> Path | None:
    """The file of a module, found without importing its packages; None where there is none."""
    top, *rest = name.split(".")
    try:
        spec = find_spec(top) if top else None
        if spec is not None and spec.origin == "frozen":  # a module of Python's own that has a file as well
            spec = PathFinder.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if not rest:
        return Path(spec.origin) if spec.origin else None
    for folder in (folder.joinpath(*rest) for folder in folders):
        for path in (folder / "__init__.py", folder.with_suffix(".py")):
            if path.is_file():
                return path
    return None


def lookup(name: str, module: Module, depth: int = 0) -> Any:
    """What a name stands for in a module: a Definition, a Module, or the value of an expression.

    Imports are followed. Raises Unreadable if the source alone does not tell.
    """
    if depth > 20:  # two modules that import a name from each other
        raise Unreadable(name)
    for statement in module.statements():
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef)) and statement.name == name:
            return Definition(module, statement)
        value = _assigned(statement, name)
        if value is not None:
            return _definition_of(value, module) or evaluate(value, module)
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    return _imported(statement, alias.name, module, depth)
                if alias.name == "*" and isinstance(statement, ast.ImportFrom):
                    with suppress(Unreadable):
                        return _imported(statement, name, module, depth)
    raise Unreadable(name)


def _is_light(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in LIGHT_MODULES)


def _imported(statement: ast.Import | ast.ImportFrom, name: str, module: Module, depth: int) -> Any:
    if isinstance(statement, ast.Import):
        return _module(name)
    source = statement.module or ""
    if statement.level:
        parents = module.package.split(".")
        kept = parents[: len(parents) - statement.level + 1]
        source = ".".join([*kept, source] if source else kept)
    if _is_light(source):
        try:
            return getattr(import_module(source), name)
        except (ImportError, AttributeError):
            raise Unreadable(name) from None
    origin = find_module(source)
    if origin is not None:
        try:
            return lookup(name, origin, depth + 1)
        except Unreadable:
            pass
    return _module(f"{source}.{name}")


def _module(name: str) -> Any:
    if name in LIGHT_MODULES:
        return import_module(name)
    module = find_module(name)
    if module is None:
        raise Unreadable(name)
    return module


def _assigned(statement: ast.stmt, name: str) -> ast.expr | None:
    """The value if the statement is ``name = value``, else None."""
    if isinstance(statement, ast.AnnAssign):
        targets: list[ast.expr] = [statement.target]
    elif isinstance(statement, ast.Assign):
        targets = statement.targets
    else:
        return None
    is_name = any(isinstance(target, ast.Name) and target.id == name for target in targets)
    return statement.value if is_name else None


def _definition_of(expression: ast.expr, module: Module) -> Definition | None:
    """The class that a plain or dotted name stands for, or None."""
    try:
        if isinstance(expression, ast.Name):
            value = lookup(expression.id, module)
        elif isinstance(expression, ast.Attribute):
            value = _member(_value_or_module(expression.value, module), expression.attr)
        else:
            return None
    except Unreadable:
        return None
    return value if isinstance(value, Definition) else None


def _value_or_module(expression: ast.expr, module: Module) -> Any:
    if isinstance(expression, ast.Name):
        return lookup(expression.id, module)
    if isinstance(expression, ast.Attribute):
        return _member(_value_or_module(expression.value, module), expression.attr)
    raise Unreadable(ast.dump(expression))


def _member(owner: Any, name: str) -> Any:
    if isinstance(owner, Module):
        try:
            return lookup(name, owner)
        except Unreadable:
            return _module(f"{owner.name}.{name}")
    if _is_light(getattr(owner, "__name__", "")):
        return getattr(owner, name)
    raise Unreadable(name)


def evaluate(expression: ast.expr, module: Module) -> Any:
    """The value of a constant or an annotation; ``Any`` for a part that the source alone does not tell.

    Raises Unreadable if that is all of it. The only functions it calls are those of ``gatewise.settings``.
    """
    if isinstance(expression, ast.Constant):
        return expression.value
    if isinstance(expression, (ast.Tuple, ast.List)):
        items = [evaluate(item, module) for item in expression.elts]
        return tuple(items) if isinstance(expression, ast.Tuple) else items
    if isinstance(expression, ast.Dict):
        keys = [evaluate(key, module) for key in expression.keys if key is not None]
        return dict(zip(keys, (evaluate(value, module) for value in expression.values), strict=True))
    if isinstance(expression, ast.UnaryOp) and isinstance(expression.op, ast.USub):
        return -evaluate(expression.operand, module)
    if isinstance(expression, ast.Name):
        if expression.id in _BUILTINS:
            return _BUILTINS[expression.id]
        value = lookup(expression.id, module)
        return Any if isinstance(value, (Definition, Module)) else value
    if isinstance(expression, ast.Attribute):
        value = _value_or_module(expression, module)
        return Any if isinstance(value, (Definition, Module)) else value
    if isinstance(expression, ast.BinOp) and isinstance(expression.op, ast.BitOr):
        return Union[_annotation(expression.left, module), _annotation(expression.right, module)]  # noqa: UP007
    if isinstance(expression, ast.Call):
        called = evaluate(expression.func, module)
        if not f"{getattr(called, '__module__', '')}.".startswith(f"{OWN}."):
            raise Unreadable(ast.dump(expression.func))
        arguments = [evaluate(argument, module) for argument in expression.args]
        return called(*arguments, **{str(k.arg): evaluate(k.value, module) for k in expression.keywords})
    if isinstance(expression, ast.Subscript):
        return _subscripted(expression, module)
    raise Unreadable(ast.dump(expression))


def _annotation(expression: ast.expr, module: Module) -> Any:
    try:
        return evaluate(expression, module)
    except Unreadable:
        return Any


def _subscripted(expression: ast.Subscript, module: Module) -> Any:
    origin = _annotation(expression.value, module)
    inside = expression.slice
    items = inside.elts if isinstance(inside, ast.Tuple) else [inside]
    if origin is Literal:
        return Literal[tuple(evaluate(item, module) for item in items)]
    if origin is Annotated:
        first, *metadata = items
        return Annotated[(_annotation(first, module), *(evaluate(item, module) for item in metadata))]
    if origin in (Optional, Union):
        members = tuple(_annotation(item, module) for item in items)
        return Union[(*members, None) if origin is Optional else members]  # noqa: UP007
    return Any
