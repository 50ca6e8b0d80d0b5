"""Checks of user settings, whose errors name the setting, the bad value and the fix in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from os import PathLike
from typing import Any

from gatewise.settings.nearest import did_you_mean


def whole_number(name: str, value: Any, least: int | None = 1) -> int:
    """``value`` as an int; ValueError if it is not a whole number of at least ``least``."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or (least is not None and int(value) < least):
        bound = "" if least is None else f" of at least {least}"
        raise ValueError(f"{name} must be a whole number{bound}, got {value!r}")
    return int(value)


def optional(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """The same check, except that None (no limit, none of them) is allowed."""

    def check_value(name: str, value: Any) -> Any:
        if value is None:
            return None
        try:
            return check(name, value)
        except ValueError as error:
            raise ValueError(str(error).replace(", got", " or null, got", 1)) from None

    return check_value


def number(name: str, value: Any) -> Any:
    """``value``; ValueError if it is not a number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return value


def text(name: str, value: Any) -> str:
    """``value``; ValueError if it is not text."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, got {value!r}")
    return value


def not_negative(name: str, value: Any) -> Any:
    """``value``; ValueError if it is not a number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, Real) or not float(value) >= 0:
        raise ValueError(f"{name} must be a number of 0 or more, got {value!r}")
    return value


def share_or_number(name: str, value: Any) -> Any:
    """``value``; ValueError if it is neither a share from 0 to 1 nor a whole number."""
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else -1.0
    if not (0 <= number <= 1 or (number > 1 and number.is_integer())):
        raise ValueError(f"{name} must be a share from 0.0 to 1.0 or a whole number, got {value!r}")
    return value


def fraction(name: str, value: Any) -> float:
    """``value`` as a float; ValueError if it does not lie between 0 and 1 (both excluded)."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < 1:
        raise ValueError(f"{name} must be a number between 0 and 1 (both excluded), got {value!r}")
    return float(value)


def split_fractions(left: str, **fractions: Any) -> tuple[float, ...]:
    """The fractions of two splits; ValueError if nothing remains for ``left`` ("to test on")."""
    values = tuple(fraction(name, value) for name, value in fractions.items())
    if sum(values) >= 1:
        sizes = " and ".join(f"{name}={value}" for name, value in fractions.items())
        raise ValueError(f"{sizes} leave nothing {left}: make their sum less than 1")
    return values


def below_one(name: str, value: Any, what: str = "probability") -> float:
    """``value`` as a float; ValueError if it is not a number of 0 or more and below 1."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < 1:
        raise ValueError(f"{name} must be a {what} of 0 or more and below 1, got {value!r}")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """``value``; ValueError if it is anything but true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value!r}")
    return value


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """``value`` if it is one of ``known``; otherwise ValueError with the nearest choice."""
    known = list(known)
    if value not in known:
        near = did_you_mean(value, known) if isinstance(value, str) else ""
        raise ValueError(f"{name}={value!r} is unknown{near}; choose one of: {', '.join(known)}")
    return str(value)


def file_name(name: str, value: Any) -> Any:
    """``value``; ValueError if it cannot be the name of a file."""
    if not isinstance(value, (str, PathLike)) or not str(value):
        raise ValueError(f"{name} must name a file, got {value!r}")
    return value


def names(name: str, value: Any) -> tuple[str, ...]:
    """A list of names (Hydra's lists too) as a tuple; a single string is a list of one.

    Raises ValueError if the list is empty, or an item is empty, not a string or listed twice.
    """
    items = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else ()
    if not items or not all(isinstance(item, str) and item for item in items):
        raise ValueError(f"{name} must be a list of one or more names such as [a, b], got {value!r}")
    if len(set(items)) < len(items):
        twice = next(item for item in items if items.count(item) > 1)
        raise ValueError(f"{name} names {twice!r} twice: name it once")
    return items


def word(name: str, value: Any) -> str:
    """``value`` as text, which may be given as a number or as true; ValueError if it is empty, or a list."""
    if isinstance(value, bool):
        value = str(value).lower()
    text = str(value) if isinstance(value, (str, Real)) else ""
    if not text.strip():
        raise ValueError(f"{name} must be a word, got {value!r}")
    return text


def words(name: str, value: Any, longest: int = 64) -> tuple[str, ...]:
    """A word, or a list of words that may be empty, as a tuple without repetitions.

    Raises ValueError if one of them is empty, no word or has more than ``longest`` characters.
    """
    single = isinstance(value, (str, Mapping)) or not isinstance(value, Iterable)
    items = [word(name, item) for item in ((value,) if single else value)]
    long = next((item for item in items if len(item) > longest), None)
    if long is not None:
        raise ValueError(f"{name}: {long[:20]}... has {len(long)} characters: at most {longest} are allowed")
    return tuple(dict.fromkeys(items))
