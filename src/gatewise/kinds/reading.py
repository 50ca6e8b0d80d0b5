"""Read facts from a file."""

from __future__ import annotations

import functools
import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields
from importlib import import_module
from typing import Any, get_args, get_type_hints

import gatewise.kinds
from gatewise.kinds.kind import Facts


@functools.cache
def _import_own() -> None:
    """Import every kind in this folder; a user's own kind is imported with its DataModule."""
    for module in pkgutil.iter_modules(gatewise.kinds.__path__):
        import_module(f"{gatewise.kinds.__name__}.{module.name}")


def facts_from_dict(values: Mapping[str, Any]) -> Facts:
    """Inverse of :meth:`Facts.to_dict`.

    Raises ValueError if the kind is unknown, a value is missing or of the wrong type, or values contradict
    each other.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"facts must be {{...}}, got a {type(values).__name__}")
    _import_own()
    kind = Facts.registered.get(str(values.get("kind")))
    if kind is None:
        raise ValueError(
            f"facts of unknown kind {values.get('kind')!r}; known: {', '.join(sorted(Facts.registered))}"
        )
    # A field with a default is newer than some run directories.
    names = [f.name for f in fields(kind) if f.name in values or f.default is MISSING]
    missing = [name for name in names if name not in values]
    if missing:
        raise ValueError(f"{kind.kind} facts lack {', '.join(missing)}")
    hints = get_type_hints(kind)
    converted = {name: _tuples(values[name]) for name in names}
    for name, value in converted.items():
        if not _fits(value, hints[name]):
            wanted = hints[name] if get_args(hints[name]) else hints[name].__name__
            got = repr(values[name])[:60]
            raise ValueError(f"{kind.kind} facts: {name} must be {wanted}, got {got}")
    facts = kind(**converted)
    facts.check()
    return facts


def _tuples(value: Any) -> Any:
    """Lists, and lists in them, as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value read from JSON has a type: a plain one, ``X | None`` or ``tuple[X, ...]``."""
    if hint is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # An int may be too large for a float.
        return number and abs(value) <= sys.float_info.max
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    if isinstance(hint, type) and not get_args(hint):
        return isinstance(value, hint)
    inner = get_args(hint)
    if inner[-1] is Ellipsis:
        return isinstance(value, tuple) and all(_fits(item, inner[0]) for item in value)
    return any(_fits(value, kind) for kind in inner)
