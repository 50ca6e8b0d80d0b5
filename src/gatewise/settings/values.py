"""Annotations that say which values a setting may have.

``hidden_size: Positive`` declares it once, for the constructor and for the command line. A plain ``bool``,
``int``, ``float`` or ``str``, a ``Literal`` of choices and ``... | None`` of any of these are checked as
well; any other annotation allows any value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from gatewise.settings.checks import (
    any_of,
    below_one,
    choice,
    file_name,
    file_names,
    flag,
    folders,
    fraction,
    levels,
    names,
    not_negative,
    number,
    optional,
    seed,
    several,
    sizes,
    some_of,
    text,
    whole_number,
    word,
    words,
)

Check = Callable[[str, Any], Any]
"""Takes the name and the value of a setting; returns the value or raises ValueError."""


class Checked:
    """Metadata of an ``Annotated`` setting: its check, and whether it names files of the user."""

    def __init__(self, check: Check, names_files: bool = False) -> None:
        self.check, self.names_files = check, names_files


class AtLeast(Checked):
    """A whole number of at least ``least``, and at most ``most`` where there is such a limit."""

    def __init__(self, least: int, most: int | None = None) -> None:
        check = partial(whole_number, least=least)
        super().__init__(check if most is None else partial(check, most=most))


class SomeOf(Checked):
    """A list of one or more words, each of them one of ``known`` and none twice."""

    def __init__(self, *known: str) -> None:
        super().__init__(partial(some_of, known=known))


class Several(Checked):
    """A list of ``count`` whole numbers from 1 on or, where ``of`` is ``times``, of dates or numbers."""

    def __init__(self, count: int, example: str, of: str = "numbers") -> None:
        check = whole_number if of == "numbers" else word
        super().__init__(partial(several, count=count, check=check, example=example))


def _below_one_each(name: str, value: Any) -> Any:
    """A probability below 1, or a mapping from names to such probabilities."""
    if not isinstance(value, Mapping):
        return below_one(name, value)
    return {key: below_one(f"{name}.{key}", p) for key, p in value.items()}


Positive = Annotated[int, AtLeast(1)]
Count = Annotated[int, AtLeast(0)]
Seed = Annotated[int, Checked(seed)]
Sizes = Annotated[int | Sequence[int], Checked(sizes)]
Probability = Annotated[float, Checked(below_one)]
Share = Annotated[float, Checked(partial(below_one, what="share"))]
Fraction = Annotated[float, Checked(fraction)]
NotNegative = Annotated[float, Checked(not_negative)]
ProbabilityOfEach = Annotated[float | Mapping[str, float], Checked(_below_one_each)]
Levels = Annotated[Sequence[float], Checked(levels)]
Names = Annotated[Sequence[str], Checked(names)]
Word = Annotated[str, Checked(word)]
Words = Annotated[Sequence[str], Checked(words)]
Folders = Annotated[Sequence[str | Path], Checked(folders)]
Folder = Annotated[str, Checked(file_name)]
DataFile = Annotated[str, Checked(file_name, names_files=True)]
DataFiles = Annotated[Sequence[str], Checked(file_names, names_files=True)]

_PLAIN: dict[Any, Check] = {bool: flag, int: partial(whole_number, least=None), float: number, str: text}


def check_of(annotation: Any) -> Check | None:
    """The check of a setting with this annotation; None if any value is allowed."""
    inner, is_optional = _without_none(annotation)
    metadata = _metadata(inner)
    check: Check | None = None
    if metadata is not None:
        check = metadata.check
    elif get_origin(inner) is Literal:
        check = partial(choice, known=get_args(inner))
    elif isinstance(inner, type):
        check = _PLAIN.get(inner)
    return optional(check) if is_optional and check is not None else check


def check_of_plain(annotation: Any) -> Check | None:
    """As :func:`check_of`, for what is written in a config: of several types, those that a config can hold.

    An annotation of a library may allow a Tensor or an object of its own as well, which no plain value is.
    """
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    if any(isinstance(member, type) and member not in (*_PLAIN, type(None)) for member in members):
        return None  # a list or a mapping
    checks = [check for member in members if (check := check_of(member)) is not None]
    if not checks:
        return None
    if len({getattr(check, "func", check) for check in checks} & {number, whole_number}) == 2:
        checks = [check for check in checks if getattr(check, "func", check) is not whole_number]
    check = checks[0] if len(checks) == 1 else partial(any_of, checks=checks)
    return optional(check) if type(None) in members else check


def names_files(annotation: Any) -> bool:
    """Whether a setting with this annotation names a file or a list of files."""
    metadata = _metadata(_without_none(annotation)[0])
    return metadata is not None and metadata.names_files


def _metadata(annotation: Any) -> Checked | None:
    if get_origin(annotation) is not Annotated:
        return None
    return next((item for item in get_args(annotation)[1:] if isinstance(item, Checked)), None)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """(X, True) for ``X | None``, else (the annotation, False)."""
    if get_origin(annotation) not in (Union, UnionType):
        return annotation, False
    others = [item for item in get_args(annotation) if item is not type(None)]
    return (others[0], True) if len(others) == 1 < len(get_args(annotation)) else (annotation, False)
