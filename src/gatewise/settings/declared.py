"""The settings that a ``_target_`` declares, read from its source without importing it."""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gatewise.settings.libraries import is_whole, library_checks
from gatewise.settings.nearest import closest, suggestion
from gatewise.settings.rules import Rule, apply_rules, rules_in
from gatewise.settings.syntax import Definition, Unreadable, evaluate, find
from gatewise.settings.values import Check, check_of, check_of_plain, names_files


@dataclass(frozen=True)
class Declared:
    """The settings of one class or function."""

    definition: Definition
    checks: Mapping[str, Check]
    """The check of each setting; a setting without one may have any value."""
    parameters: tuple[str, ...]
    is_open: bool
    """Whether it also takes settings of other names (``**kwargs``)."""
    files: tuple[str, ...]
    """Settings that name a file or a list of files."""
    rules: tuple[Rule, ...]

    def attribute(self, name: str) -> Any:
        """A class attribute, as a Definition or a plain value; None if the source alone does not tell."""
        try:
            return self.definition.attribute(name)
        except Unreadable:
            return None


@functools.lru_cache(maxsize=256)
def declared(target: str) -> Declared | None:
    """What the class or function of a ``_target_`` declares; None if its source cannot be found."""
    definition = find(target)
    if definition is None:
        return None
    annotations, is_open = _parameters(definition)
    forms = {name: _form(annotation, owner) for name, (annotation, owner) in annotations.items()}
    read = check_of if library_checks(target) is None else check_of_plain
    checks = {name: check for name, form in forms.items() if (check := read(form)) is not None}
    rules: dict[str, Rule] = {}
    for owner in definition.ancestry():
        for item in rules_in(owner.module):
            rules.setdefault(item.name, item)
    return Declared(
        definition,
        checks,
        tuple(annotations),
        is_open,
        tuple(name for name, form in forms.items() if names_files(form)),
        tuple(rules.values()),
    )


def _form(annotation: ast.expr | None, owner: Definition) -> Any:
    if annotation is None:
        return Any
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    try:
        return evaluate(annotation, owner.module)
    except Unreadable:
        return Any


def _parameters(
    definition: Definition, by_name: bool = False
) -> tuple[dict[str, tuple[ast.expr | None, Definition]], bool]:
    """({name: (annotation, the definition that has it)}, whether other names are accepted too).

    With ``by_name`` those that are taken by name alone.

    A constructor with ``**settings`` is assumed to pass them on, so it takes those of its base class as well,
    and the settings that a class which ``passes_on`` names takes by name alone.
    """
    if isinstance(definition.node, ast.FunctionDef):
        return _own_parameters(definition, skip=0)
    parameters: dict[str, tuple[ast.expr | None, Definition]] = {}
    is_open = False
    for owner in definition.ancestry():
        assert isinstance(owner.node, ast.ClassDef)
        constructor = owner.method("__init__")
        if constructor is not None:
            own, is_open = _own_parameters(constructor, skip=1, by_name=by_name)
            parameters = {**own, **parameters}
            part = _passes_on(owner) if is_open else None
            if part is not None:
                parameters = {**_parameters(part, by_name=True)[0], **parameters}
            if not is_open:
                return parameters, False
        elif owner.node.decorator_list or len(owner.bases()) < len(owner.node.bases):
            return parameters, True  # a decorator or an unreadable base class makes its constructor
    return parameters, is_open


def _passes_on(owner: Definition) -> Definition | None:
    try:
        part = owner.own_attribute("passes_on")
    except Unreadable:
        return None
    return part if isinstance(part, Definition) else None


def _own_parameters(
    function: Definition, skip: int, by_name: bool = False
) -> tuple[dict[str, tuple[ast.expr | None, Definition]], bool]:
    arguments = function.node.args  # type: ignore[union-attr]
    placed = [] if by_name else [*arguments.posonlyargs, *arguments.args][skip:]
    listed = placed + arguments.kwonlyargs
    named = {item.arg: (item.annotation, function) for item in listed}
    return named, arguments.kwarg is not None


def check_settings(target: str, values: Mapping[str, Any], key: str) -> None:
    """Raise ValueError, naming the setting, for a value that the class of a ``_target_`` does not accept.

    ``key`` is the place of its settings in the config.
    """
    listed = library_checks(target) or {}
    is_library = library_checks(target) is not None
    # A part inside of another one is checked by itself.
    plain = {name: value for name, value in values.items() if not (is_library and is_part(value))}
    _apply(listed, plain, key)
    if listed and is_whole(target, {name for name in values if not name.startswith("_")}):
        return
    declaration = declared(target)
    if declaration is None:
        return
    unknown = [n for n in values if not (n.startswith("_") or n in declaration.parameters)]
    if unknown and not declaration.is_open:
        place = f"{key}.{unknown[0]}"
        hint = suggestion(closest(unknown[0], declaration.parameters))
        hint = hint or f"; where a preset sets it, leave it out with ~{place}"
        raise ValueError(f"{place}: no such setting of {declaration.definition.name}{hint}")
    if is_library:
        # Whether null is allowed is for the library to say.
        plain = {name: value for name, value in plain.items() if value is not None and name not in listed}
    _apply(declaration.checks, plain, key)
    try:
        apply_rules(declaration.rules, values)
    except ValueError as error:
        raise ValueError(located(str(error), key)) from None


def is_part(value: Any) -> bool:
    """Whether a value is a node from which an object is built."""
    return isinstance(value, Mapping) and "_target_" in value


def _apply(checks: Mapping[str, Check], values: Mapping[str, Any], key: str) -> None:
    for name, check in checks.items():
        if name in values:
            try:
                check(f"{key}.{name}", values[name])
            except ValueError as error:
                raise ValueError(located(str(error), key)) from None


def located(message: str, key: str) -> str:
    """A message about the settings at ``key``, with the key in front unless it is there already."""
    return message if message.startswith((f"{key}.", f"{key}:", f"{key}=")) else f"{key}: {message}"
