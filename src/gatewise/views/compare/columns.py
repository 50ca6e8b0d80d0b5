"""Which settings a comparison shows: those that differ, each once and by its shortest name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gatewise.runs.record import Record

LEFT_OUT = {"name", "resume", "resume_from", "threads", "test", "data.folders", "logger", "launcher", "sweep"}
"""Settings and choices that say where and how a run was made, and not what it is."""
SECTIONS_LEFT_OUT = ("paths.", "logger.", "wandb.", "callbacks.progress.", "callbacks.model_table.", "local@")


class Absent:
    """The value of a setting that a run does not have, which is not null."""

    def __repr__(self) -> str:
        return ""


ABSENT = Absent()


@dataclass(frozen=True)
class Column:
    """A setting that differs between runs."""

    key: str
    """By which it is shown and filtered: a config group, or a dotted key."""
    values: tuple[Any, ...]
    """Of each run; ABSENT where it has none."""
    is_choice: bool
    """Whether it is the choice in a config group."""
    says_nothing_new: bool = False
    """Whether a choice decides it, as what other tasks do not have, or another column differs alike."""

    @property
    def is_number(self) -> bool:
        """Whether every run that has it has a number or null, and one at least a number."""
        given = [v for v in self.values if v is not ABSENT and v is not None]
        return bool(given) and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in given)


def differing(records: Sequence[Record]) -> list[Column]:
    """The settings in which runs differ: the choices of config groups, and the values below them.

    A setting says nothing new where another differs between the same runs (a seed that follows the seed, the
    data of an experiment), and where a choice decides it. A run whose config cannot be read differs in
    nothing.
    """
    of_runs = [{**_part_of_a_run(record.choices), **_part_of_a_run(record.settings)} for record in records]
    groups = {group for record in records for group in record.choices}
    readable = [index for index, record in enumerate(records) if record.settings]
    columns = {}
    for key, values in _by_key(of_runs):
        known = [values[index] for index in readable]
        if len({_text(value) for value in known}) > 1:
            columns[key] = known, Column(key, values, key in groups and "." not in key)
    choices = [known for known, column in columns.values() if column.is_choice]
    seen: set[tuple[int, ...]] = set()
    new: set[str] = set()
    for key, (known, column) in sorted(
        columns.items(), key=lambda item: (not item[1][1].is_choice, item[0].count("."))
    ):
        parts = _parts(known)
        decided = not column.is_choice and any(_decides(choice, known) for choice in choices)
        if parts not in seen and not decided:
            new.add(key)
        seen.add(parts)
    return [replace(column, says_nothing_new=key not in new) for key, (_, column) in columns.items()]


def shared(records: Sequence[Record]) -> dict[str, Any]:
    """The settings that all runs have alike."""
    if not records:
        return {}
    first, *others = [record.settings for record in records if record.settings] or [{}]
    missing = object()
    return {
        key: value
        for key, value in first.items()
        if all(_same(other.get(key, missing), value) for other in others)
    }


def _part_of_a_run(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in settings.items()
        if key not in LEFT_OUT and not key.startswith(SECTIONS_LEFT_OUT)
    }


def _by_key(settings: Sequence[Mapping[str, Any]]) -> list[tuple[str, tuple[Any, ...]]]:
    keys = dict.fromkeys(key for of_run in settings for key in of_run)
    return [(key, tuple(of_run.get(key, ABSENT) for of_run in settings)) for key in keys]


def _text(value: Any) -> str:
    return "" if value is ABSENT else json.dumps(value, default=str)


def _parts(values: Sequence[Any]) -> tuple[int, ...]:
    """Which runs have equal values: the number of the part that each belongs to."""
    numbers: dict[str, int] = {}
    return tuple(numbers.setdefault(_text(value), len(numbers)) for value in values)


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


def _decides(first: Sequence[Any], second: Sequence[Any]) -> bool:
    """Whether runs with equal values of the first have equal values of the second."""
    by_value: dict[str, str] = {}
    pairs = zip(map(_text, first), map(_text, second), strict=True)
    return all(by_value.setdefault(a, b) == b for a, b in pairs)
