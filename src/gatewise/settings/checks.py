"""Checks of user settings, whose errors name the setting, the bad value and the fix in one line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from numbers import Integral, Real
from os import PathLike, fsencode
from typing import Any

from gatewise.settings.nearest import did_you_mean

LARGEST_WHOLE = 2**63 - 1
"""Libraries keep whole numbers in 64 bits."""
LARGEST = 3.4e38
"""Models keep numbers in 32 bits, where a larger one is infinite."""
LARGEST_SEED = 2**32 - 1
"""numpy's generators take no larger one."""
_LONGEST_NAME, _LONGEST_PATH = 255, 4095
"""Bytes that file systems take of one name and of a path."""


def shown(value: Any) -> str:
    """``value`` as it is written in a message, cut where it is long."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**60:
        return f"a number of {math.floor(math.log10(abs(value))) + 1} digits"
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:80]}... ({len(text)} characters)"


def whole_number(name: str, value: Any, least: int | None = 1, most: int = LARGEST_WHOLE) -> int:
    """``value`` as an int; ValueError if it is not a whole number from ``least`` to ``most``."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or (least is not None and int(value) < least):
        bound = "" if least is None else f" of at least {least}"
        raise ValueError(f"{name} must be a whole number{bound}, got {shown(value)}")
    if not -LARGEST_WHOLE <= int(value) <= most:
        raise ValueError(f"{name} must be a whole number of at most {most}, got {shown(value)}")
    return int(value)


def sizes(name: str, value: Any) -> Any:
    """A whole number of at least 1, or a list of one or more of them as a tuple; ValueError otherwise."""
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        return whole_number(name, value)
    items = tuple(whole_number(f"{name}[{index}]", item) for index, item in enumerate(value))
    if not items:
        raise ValueError(f"{name} must be a whole number or a list of them such as [1150, 400], got []")
    return items


def seed(name: str, value: Any) -> int:
    """``value`` as an int; ValueError if it cannot seed every generator."""
    return whole_number(name, value, least=0, most=LARGEST_SEED)


def _is_number(value: Any) -> bool:
    """Whether it is a number that a model can hold: finite, and no ``true``."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return -LARGEST <= value <= LARGEST  # type: ignore[operator]  # false for nan too


def _number_of(kind: str, value: Any) -> str:
    """What a value is not, for a message: a number too large for a model is one all the same."""
    too_large = isinstance(value, Real) and not isinstance(value, bool) and not _is_number(value)
    return f"finite {kind} (of at most {LARGEST:g})" if too_large and value == value else kind


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
    """``value``; ValueError if it is not a finite number that a model can hold."""
    if not _is_number(value):
        raise ValueError(f"{name} must be a {_number_of('number', value)}, got {shown(value)}")
    return value


def text(name: str, value: Any) -> str:
    """``value``; ValueError if it is not text."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, got {shown(value)}")
    return value


def not_negative(name: str, value: Any) -> Any:
    """``value``; ValueError if it is not a finite number of 0 or more."""
    if not _is_number(value) or value < 0:
        kind = _number_of("number", value)
        raise ValueError(f"{name} must be a {kind} of 0 or more, got {shown(value)}")
    return value


def share_or_number(name: str, value: Any) -> Any:
    """``value``; ValueError if it is neither a share from 0 to 1 nor a whole number."""
    is_count = (
        isinstance(value, Integral) and not isinstance(value, bool) and 0 <= int(value) <= LARGEST_WHOLE
    )
    is_share = isinstance(value, Real) and not isinstance(value, Integral) and 0 <= float(value) <= 1
    if not (is_count or is_share):
        raise ValueError(f"{name} must be a share from 0.0 to 1.0 or a whole number, got {shown(value)}")
    return value


def pair(name: str, value: Any) -> Any:
    """``value``; ValueError if it is not a list of two numbers."""
    items = list(value) if isinstance(value, Iterable) and not isinstance(value, (str, Mapping)) else []
    if len(items) != 2:
        raise ValueError(f"{name} must be two numbers such as [0.9, 0.999], got {shown(value)}")
    for index, item in enumerate(items):
        number(f"{name}[{index}]", item)
    return value


def any_of(name: str, value: Any, checks: Iterable[Callable[[str, Any], Any]]) -> Any:
    """``value`` if one of the checks lets it pass; otherwise their ValueErrors as one."""
    wanted = []
    for check in checks:
        try:
            return check(name, value)
        except ValueError as error:
            wanted.append(str(error))
    first, *others = wanted
    stated = [text.removeprefix(f"{name} must be ").rpartition(", got ")[0] for text in others]
    whole, got, value_text = first.rpartition(", got ")
    raise ValueError(f"{' or '.join([whole, *filter(None, stated)])}{got}{value_text}")


def fraction(name: str, value: Any) -> float:
    """``value`` as a float; ValueError if it does not lie between 0 and 1 (both excluded)."""
    if not _is_number(value) or not 0 < value < 1:
        raise ValueError(f"{name} must be a number between 0 and 1 (both excluded), got {shown(value)}")
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
    if not _is_number(value) or not 0 <= value < 1:
        raise ValueError(f"{name} must be a {what} of 0 or more and below 1, got {shown(value)}")
    return float(value)


def levels(name: str, value: Any) -> tuple[float, ...]:
    """``value`` as a tuple; ValueError unless it is a list of rising probabilities between 0 and 1."""
    items = value if isinstance(value, Iterable) and not isinstance(value, (str, Mapping)) else [value]
    found = tuple(items)
    inside = all(_is_number(item) and 0 < item < 1 for item in found)
    if not found or not inside or any(a >= b for a, b in pairwise(found)):
        raise ValueError(
            f"{name} must be rising probabilities between 0 and 1 such as [0.1, 0.5, 0.9], got {shown(value)}"
        )
    return tuple(float(item) for item in found)


def flag(name: str, value: Any) -> bool:
    """``value``; ValueError if it is anything but true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {shown(value)}")
    return value


def choice(name: str, value: Any, known: Iterable[Any]) -> Any:
    """``value`` if it is one of ``known``; otherwise ValueError with the nearest choice."""
    known = list(known)
    if not any(type(value) is type(item) and value == item for item in known):  # False is equal to 0
        words = [item for item in known if isinstance(item, str)]
        near = did_you_mean(value, words) if isinstance(value, str) and len(value) < 100 else ""
        listed = ", ".join(dict.fromkeys(str(v).lower() if isinstance(v, bool) else str(v) for v in known))
        raise ValueError(f"{name}={shown(value)} is unknown{near}; choose one of: {listed}")
    return value


def file_name(name: str, value: Any) -> Any:
    """``value``; ValueError if it cannot be the name of a file."""
    if not isinstance(value, (str, PathLike)) or not str(value):
        raise ValueError(f"{name} must name a file, got {shown(value)}")
    problem = no_path(str(value))
    if problem is not None:
        raise ValueError(f"{name}={short(str(value))}: {problem}")
    return value


def folders(name: str, value: Any) -> Any:
    """``value``; ValueError if it is not a list of paths of folders, which may be empty."""
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        raise ValueError(f"{name} must be a list of folders such as [data], got {shown(value)}")
    for item in value:
        file_name(name, item)
    return value


def no_path(text: str) -> str | None:
    """Why no file system has a path of this text, as the end of a message; None where it may be one."""
    if "\0" in text:
        return "no path holds a NUL"
    try:
        longest = max(len(fsencode(part)) for part in text.split("/"))
        whole = len(fsencode(text))
    except UnicodeEncodeError:
        return "this is no text that can name a file"
    if longest > _LONGEST_NAME:
        return f"a file's name may have {_LONGEST_NAME} bytes, and one of it has {longest}"
    return None if whole <= _LONGEST_PATH else f"a path may have {_LONGEST_PATH} bytes, this one has {whole}"


def short(text: str) -> str:
    """A text for a message, cut where it is long."""
    return text if len(text) <= 120 else f"{text[:40]}... ({len(text)} characters)"


def names(name: str, value: Any) -> tuple[str, ...]:
    """A list of names (Hydra's lists too) as a tuple; a single string is a list of one.

    Raises ValueError if the list is empty, or an item is empty, not a string or listed twice.
    """
    items = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else ()
    if not items or not all(isinstance(item, str) and item for item in items):
        raise ValueError(f"{name} must be a list of one or more names such as [a, b], got {shown(value)}")
    if len(set(items)) < len(items):
        twice = next(item for item in items if items.count(item) > 1)
        raise ValueError(f"{name} names {twice!r} twice: name it once")
    return items


def some_of(name: str, value: Any, known: Iterable[str]) -> tuple[str, ...]:
    """As :func:`names`, where each has to be one of ``known``."""
    items = names(name, value)
    return tuple(choice(name, item, known) for item in items)


def several(name: str, value: Any, count: int, check: Callable[[str, Any], Any], example: str) -> Any:
    """A list of ``count`` items as a tuple, each of which a check lets pass; ValueError for any other."""
    items = list(value) if isinstance(value, Iterable) and not isinstance(value, (str, Mapping)) else []
    if len(items) != count:
        raise ValueError(f"{name} must be a list of {count} such as {example}, got {shown(value)}")
    return tuple(check(f"{name}[{index}]", item) for index, item in enumerate(items))


def file_names(name: str, value: Any) -> tuple[str, ...]:
    """As :func:`names`, for names of files."""
    items = names(name, value)
    for item in items:
        file_name(name, item)
    return items


def word(name: str, value: Any) -> str:
    """``value`` as text, which may be given as a number or as true; ValueError if it is empty, or a list."""
    if isinstance(value, bool):
        value = str(value).lower()
    text = str(value) if isinstance(value, (str, Real)) else ""
    if not text.strip():
        raise ValueError(f"{name} must be a word, got {shown(value)}")
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
