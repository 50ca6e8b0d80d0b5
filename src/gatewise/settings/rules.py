"""Rules over several settings, and a constructor that checks what it is given."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from gatewise.settings.syntax import Definition, Module, Unreadable, lookup
from gatewise.settings.values import Check, check_of

Function = TypeVar("Function", bound=Callable[..., Any])


class Rule:
    """A function that raises ValueError where several settings do not go together.

    Its parameters are named as the settings. It stands in the file of the class whose settings they are, and
    needs nothing but plain Python and ``gatewise.settings``, so that it can be applied without that file
    being imported.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        functools.update_wrapper(self, function)
        self.function, self.name = function, function.__name__
        self.needs = tuple(inspect.signature(function).parameters)

    def __call__(self, *arguments: Any, **settings: Any) -> None:
        self.function(*arguments, **settings)

    def apply(self, values: Mapping[str, Any]) -> None:
        """Raise ValueError where the settings are all among ``values`` and do not go together."""
        if all(name in values for name in self.needs):
            self.function(**{name: values[name] for name in self.needs})


rule = Rule
"""Marks a function as a rule."""


def checked(function: Function) -> Function:
    """A function, or a constructor, that checks its settings by their annotations and its file's rules.

    Raises ValueError, naming the setting, before anything is done.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*arguments: Any, **settings: Any) -> Any:
        try:
            bound = signature.bind(*arguments, **settings)
        except TypeError:
            return function(*arguments, **settings)  # which says it in its own name
        for name, check in _checks(function).items():
            if name in bound.arguments:
                bound.arguments[name] = check(name, bound.arguments[name])
        values = {**{p.name: p.default for p in signature.parameters.values()}, **bound.arguments}
        for item in _rules_beside(function):
            item.apply(values)
        return function(*bound.args, **bound.kwargs)

    return call  # type: ignore[return-value]


def check_constructor(cls: type) -> None:
    """Have a class check its settings, where it has a constructor of its own; for ``__init_subclass__``."""
    if "__init__" in cls.__dict__:
        cls.__init__ = checked(cls.__dict__["__init__"])  # type: ignore[misc]


@functools.cache
def _checks(function: Callable[..., Any]) -> dict[str, Check]:
    """By parameter; an annotation that cannot be evaluated allows everything."""
    checks = {}
    for parameter in inspect.signature(function).parameters.values():
        check = check_of(_evaluated(parameter.annotation, inspect.unwrap(function)))
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if check is not None and not variadic:
            checks[parameter.name] = check
    return checks


def _evaluated(annotation: Any, function: Any) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, function.__globals__)
    except Exception:  # a name that only the type checker knows
        return Any


def _rules_beside(function: Any) -> list[Rule]:
    """The rules in the file of a function."""
    module = sys.modules.get(function.__module__)
    return [value for value in vars(module).values() if isinstance(value, Rule)] if module else []


def rules_in(module: Module) -> list[Rule]:
    """The rules that a module defines, made from its source; one that needs more than that is left out."""
    made = []
    for statement in module.statements():
        if isinstance(statement, ast.FunctionDef) and any(map(_is_mark, statement.decorator_list)):
            try:
                made.append(Rule(_compiled(Definition(module, statement))))
            except Unreadable:
                continue
    return made


def _is_mark(decorator: ast.expr) -> bool:
    name = decorator.attr if isinstance(decorator, ast.Attribute) else getattr(decorator, "id", None)
    return name == rule.__name__.lower()


def _compiled(definition: Definition) -> Callable[..., object]:
    """A function made from its source, with the names that it uses."""
    node = ast.FunctionDef(**dict(ast.iter_fields(definition.node)))
    node.decorator_list = []
    node.returns = None
    for argument in (*node.args.args, *node.args.kwonlyargs):
        argument.annotation = None
    names = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    own = {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
    stored = {i.id for i in ast.walk(node) if isinstance(i, ast.Name) and isinstance(i.ctx, ast.Store)}
    namespace: dict[str, Any] = {}
    for name in names - own - stored - set(vars(builtins)):
        value = lookup(name, definition.module)
        namespace[name] = _compiled(value) if isinstance(value, Definition) else value
        if isinstance(value, Module):
            raise Unreadable(name)
    module = ast.Module([ast.copy_location(node, definition.node)], [])
    exec(compile(ast.fix_missing_locations(module), str(definition.module.path), "exec"), namespace)
    made: Callable[..., object] = namespace[definition.name]
    return made


def apply_rules(rules: Iterable[Rule], values: Mapping[str, Any]) -> None:
    """Apply each rule whose settings are all among ``values``; ValueError where they do not go together."""
    for item in rules:
        item.apply(values)
