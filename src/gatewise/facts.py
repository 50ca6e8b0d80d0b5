"""Facts: what a DataModule knows of its data after ``setup()``, and a Task needs to be built.

They are plain values, stored as ``facts.json`` in the run directory, so that a run can predict on new input
without its training data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, get_args, get_type_hints


@dataclass(frozen=True)
class Facts:
    """Base of all facts; ``kind`` names the sort of data in files and messages."""

    kind: ClassVar[str]
    summary: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-ready values, with the kind."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class FeatureFacts(Facts):
    """Labelled sequences of feature vectors (speech frames, sensor readings)."""

    kind: ClassVar[str] = "features"
    summary: ClassVar[str] = "labelled feature sequences"

    feature_size: int
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    """Training examples of each class: the majority baseline."""
    mean: tuple[float, ...]
    """Per feature, over the training frames; inputs are (x - mean) / std."""
    std: tuple[float, ...]


@dataclass(frozen=True)
class TextFacts(Facts):
    """Running text as token ids."""

    kind: ClassVar[str] = "text"
    summary: ClassVar[str] = "running text with a vocabulary"

    vocabulary: tuple[str, ...]
    """Token of each id; holds ``<unk>`` and, for words, ``<eos>``."""
    counts: tuple[int, ...]
    """Training tokens of each id: the unigram baseline."""
    tokenizer: str
    """``word``, ``char`` or ``whitespace``."""
    lowercase: bool


@dataclass(frozen=True)
class SeriesFacts(Facts):
    """Windows of a multivariate time series."""

    kind: ClassVar[str] = "series"
    summary: ClassVar[str] = "time-series windows with lookback and horizon"

    time_column: str
    columns: tuple[str, ...]
    """Input columns."""
    targets: tuple[str, ...]
    """Columns to forecast, each one of ``columns``."""
    frequency: str | None
    """pandas offset alias of the time step, or None when it is irregular."""
    lookback: int
    """Steps seen."""
    horizon: int
    """Steps forecast."""
    season: int
    """Steps of one season, for the seasonal-naive baseline."""
    mean: tuple[float, ...]
    """Per input column, over the training rows; values are (x - mean) / std."""
    std: tuple[float, ...]


_KINDS: dict[str, type[Facts]] = {kind.kind: kind for kind in (FeatureFacts, TextFacts, SeriesFacts)}


def facts_from_dict(values: Mapping[str, Any]) -> Facts:
    """Inverse of :meth:`Facts.to_dict`.

    Raises ValueError where the kind is unknown, or a value is missing or of the wrong type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"facts must be {{...}}, got a {type(values).__name__}")
    kind = _KINDS.get(str(values.get("kind")))
    if kind is None:
        raise ValueError(f"facts of unknown kind {values.get('kind')!r}; known: {', '.join(_KINDS)}")
    names = [f.name for f in fields(kind)]
    missing = [name for name in names if name not in values]
    if missing:
        raise ValueError(f"{kind.kind} facts lack {', '.join(missing)}")
    hints = get_type_hints(kind)
    read = {n: tuple(values[n]) if isinstance(values[n], list) else values[n] for n in names}
    for name, value in read.items():
        if not _fits(value, hints[name]):
            wanted = hints[name] if get_args(hints[name]) else hints[name].__name__
            got = repr(values[name])[:60]
            raise ValueError(f"{kind.kind} facts: {name} must be {wanted}, got {got}")
    return kind(**read)


def check_finite(facts: Facts) -> None:
    """Raise ValueError naming the field that holds NaN or an infinity, which a file cannot keep."""
    for field in fields(facts):
        value = getattr(facts, field.name)
        for index, item in enumerate(value if isinstance(value, tuple) else (value,)):
            if isinstance(item, float) and not math.isfinite(item):
                place = f"{field.name}[{index}]" if isinstance(value, tuple) else field.name
                raise ValueError(
                    f"{facts.kind} facts: {place} is {item}; the training data has values that are not "
                    f"finite or too large: correct or rescale them"
                )


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value read from JSON is of a type: a plain one, ``X | None`` or ``tuple[X, ...]``."""
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(hint, type) and not get_args(hint):
        return isinstance(value, hint)
    inner = get_args(hint)
    if inner[-1] is Ellipsis:
        return isinstance(value, tuple) and all(_fits(item, inner[0]) for item in value)
    return any(_fits(value, kind) for kind in inner)
