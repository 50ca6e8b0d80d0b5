"""Rules over several settings, and constructors that check their arguments."""

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
    """A function that raises ValueError if several settings do not go together.

    Its parameters have the names of the settings. It is in the same file as the class that takes them, or as
    one of its bases, and uses only plain Python and ``gatewise.settings``, so that it can be applied without
    importing that file. Of several with one name, that of the class itself counts.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        functools.update_wrapper(self, function)
        self.function, self.name = function, function.__name__
        self.needs = tuple(inspect.signature(function).parameters)

    def __call__(self, *arguments: Any, **settings: Any) -> None:
        self.function(*arguments, **settings)

    def apply(self, values: Mapping[str, Any]) -> None:
        """Raise ValueError if ``values`` has all the settings and they do not go together."""
        if all(name in values for name in self.needs):
            self.function(**{name: values[name] for name in self.needs})


rule = Rule
"""Decorator that makes a function a rule."""


def checked(function: Function) -> Function:
    """Make a function or constructor check its arguments by their annotations and by the rules in its file.

    The result raises ValueError, naming the setting, before the function itself runs.
    """
    return _checked(function, (function.__module__,))


def _checked(function: Function, files: Iterable[str]) -> Function:
    """The same by the rules in modules of these names."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*arguments: Any, **settings: Any) -> Any:
        try:
            bound = signature.bind(*arguments, **settings)
        except TypeError:
            return function(*arguments, **settings)  # raises the TypeError under its own name
        for name, check in _checks(function).items():
            if name in bound.arguments:
                bound.arguments[name] = check(name, bound.arguments[name])
        values = {**{p.name: p.default for p in signature.parameters.values()}, **bound.arguments}
        apply_rules(_rules_of(files), values)
        return function(*bound.args, **bound.kwargs)

    return call  # type: ignore[return-value]


def check_constructor(cls: type) -> None:
    """Make the class's own constructor, if it has one, check its settings; for ``__init_subclass__``."""
    if "__init__" in cls.__dict__:
        files = dict.fromkeys(owner.__module__ for owner in cls.__mro__)
        own: Any = _checked(cls.__dict__["__init__"], tuple(files))
        base = next(vars(other)["__init__"] for other in cls.__mro__[1:] if "__init__" in vars(other))
        own.__signature__ = _with_those_passed_on(inspect.signature(own), base, cls.__dict__.get("passes_on"))
        cls.__init__ = own  # type: ignore[misc]


def _with_those_passed_on(
    own: inspect.Signature, base: Callable[..., Any], part: type | None
) -> inspect.Signature:
    """The signature of a constructor that names what it passes on as ``**settings``.

    That are the settings of its base, and those that another class takes by name alone.
    """
    *named, last = own.parameters.values()
    if last.kind is not last.VAR_KEYWORD:
        return own
    of_base = inspect.signature(base).parameters
    theirs = [each for name, each in of_base.items() if name not in own.parameters]
    theirs += [each for each in _by_name(part) if each.name not in {*own.parameters, *of_base}]
    open_kinds = (last.VAR_POSITIONAL, last.VAR_KEYWORD)
    passed = [each.replace(kind=last.KEYWORD_ONLY) for each in theirs if each.kind not in open_kinds]
    rest = [last] if any(each.kind is last.VAR_KEYWORD for each in theirs) else []
    return own.replace(parameters=[*named, *passed, *rest])


def _by_name(part: type | None) -> list[inspect.Parameter]:
    """What the constructor of a class takes by name alone, and what that passes on."""
    found: dict[str, inspect.Parameter] = {}
    for owner in part.__mro__ if part else ():
        if "__init__" not in vars(owner):
            continue
        parameters = list(inspect.signature(vars(owner)["__init__"]).parameters.values())
        for each in [*parameters, *_by_name(vars(owner).get("passes_on"))]:
            if each.kind is each.KEYWORD_ONLY:
                found.setdefault(each.name, each)
        if all(each.kind is not each.VAR_KEYWORD for each in parameters):
            break
    return list(found.values())


@functools.cache
def _checks(function: Callable[..., Any]) -> dict[str, Check]:
    """The check of each parameter; an annotation that cannot be evaluated allows any value."""
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
    except Exception:  # a name that is imported for the type checker only
        return Any


def _rules_of(files: Iterable[str]) -> list[Rule]:
    """The rules in modules of these names; of several with one name the first."""
    rules: dict[str, Rule] = {}
    for file in files:
        for value in vars(sys.modules[file]).values() if file in sys.modules else ():
            if isinstance(value, Rule):
                rules.setdefault(value.name, value)
    return list(rules.values())


def rules_in(module: Module) -> list[Rule]:
    """The rules that a module defines, compiled from its source; one that needs imported code is left out."""
    rules = []
    for statement in module.statements():
        if isinstance(statement, ast.FunctionDef) and any(map(_is_rule_decorator, statement.decorator_list)):
            try:
                rules.append(Rule(_compiled(Definition(module, statement))))
            except Unreadable:
                continue
    return rules


def _is_rule_decorator(decorator: ast.expr) -> bool:
    name = decorator.attr if isinstance(decorator, ast.Attribute) else getattr(decorator, "id", None)
    return name == rule.__name__.lower()


def _compiled(definition: Definition) -> Callable[..., object]:
    """Compile a function from its source, together with the names it uses."""
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
    function: Callable[..., object] = namespace[definition.name]
    return function


def apply_rules(rules: Iterable[Rule], values: Mapping[str, Any]) -> None:
    """Apply every rule whose settings are all in ``values``; ValueError if they do not go together."""
    for item in rules:
        item.apply(values)
