"""The base of every kind of data: what a DataModule knows about its data after ``setup()`` and a Task needs.

A kind is one file in this folder (or a user's own file) with its Facts, its batch and the decoding of
predictions. Facts are plain values, stored as ``facts.json`` in the run directory, so that a run can predict
on new input without its training data. No file here imports torch.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

_LONGEST_SHOWN = 60
"""Characters of a value in a message."""

IGNORED = -100
"""Target that no loss and no metric counts (the value that torch's cross-entropy skips)."""


@dataclass(frozen=True)
class Facts:
    """Base of all facts; ``kind`` and ``summary`` name the kind of data in files and messages."""

    kind: ClassVar[str]
    summary: ClassVar[str]
    registered: ClassVar[dict[str, type[Facts]]] = {}
    """Every kind whose class has been imported, by name."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" in cls.__dict__:
            Facts.registered[cls.kind] = cls

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON, including the kind."""
        assert "__dataclass_fields__" in type(self).__dict__, "write @dataclass(frozen=True) above the class"
        return {"kind": self.kind, **asdict(self)}

    def check(self) -> None:
        """Raise ValueError, naming field and value, where the values contradict each other.

        Called when facts are written and when they are read, as the file may have been edited. That each
        value is of its annotated type, finite and within 64 bits has then been checked.
        """

    def agrees_with(self, earlier: Facts) -> bool:
        """Whether an earlier version, which may have computed with fewer digits, called the same data so."""
        return self == earlier

    def digests(self) -> dict[str, str]:
        """What each field of names is known by: they say what a row of the weights is about."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            name: hashlib.sha256("\0".join(value).encode("utf-8", "surrogatepass")).hexdigest()[:16]
            for name, value in values.items()
            if isinstance(value, tuple) and value and all(isinstance(each, str) for each in value)
        }

    def wrong(self, name: str, rule: str) -> ValueError:
        """A ValueError for the value of a field that breaks a rule (``must be ...``)."""
        value = repr(getattr(self, name))
        shown = value if len(value) <= _LONGEST_SHOWN else f"{value[:_LONGEST_SHOWN]}..."
        return ValueError(f"{self.kind} facts: {name} {rule}, got {shown}")

    def check_scaler(self, size: int, of: str) -> None:
        """Raise ValueError unless ``mean`` and ``std`` have one number for each ``of`` ``size`` things."""
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            if len(numbers) != size:
                raise self.wrong(name, f"must have a number for each of the {size} {of}")
            if name == "std" and min(numbers, default=1.0) <= 0:
                raise self.wrong(name, "must be above 0")

    def check_counts(self, name: str, size: int, of: str) -> None:
        """Raise ValueError unless a field has a count for each ``of`` ``size`` things, some above 0."""
        counts = getattr(self, name)
        if len(counts) != size:
            raise self.wrong(name, f"must have a count for each of the {size} {of}")
        if min(counts, default=0) < 0 or not 0 < sum(counts) < 2**63:
            raise self.wrong(name, "must be counts of 0 or more, and some above 0")

    def check_distinct(self, name: str) -> None:
        """Raise ValueError unless a field has at least one name, and none twice."""
        names = getattr(self, name)
        if not names:
            raise self.wrong(name, "must have at least one name")
        if len(set(names)) < len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            raise ValueError(f"{self.kind} facts: {name} has {twice!r} twice")


@dataclass(frozen=True)
class Input:
    """A user's input to predict from."""

    batch: Any
    """The batch that the task takes."""
    name: str
    """Its name in a title; for a file, the file name."""
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Columns to put beside the answer, one value per row, such as the times of a forecast."""
    steps: Sequence[str] = ()
    """What the file or the user calls each step of the only sequence, such as the words that were typed."""
    picture: tuple[str, Mapping[str, Any]] | None = None
    """The name of a picture of what was read, and what it is drawn from beside the ``answers``; or None."""

    def with_answers(self, answers: Sequence[str]) -> tuple[str, Mapping[str, Any]] | None:
        """The picture with the answer to each thing in it; None where there is none."""
        return self.picture and (self.picture[0], {**self.picture[1], "answers": list(answers)})


def check_finite(facts: Facts) -> None:
    """Raise ValueError, naming the field, for a NaN or an infinity, which the JSON file cannot store."""
    for entry in fields(facts):
        value = getattr(facts, entry.name)
        for index, item in enumerate(value if isinstance(value, tuple) else (value,)):
            numbers = item if isinstance(item, tuple) else (item,)
            if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
                place = f"{entry.name}[{index}]" if isinstance(value, tuple) else entry.name
                raise ValueError(
                    f"{facts.kind} facts: {place} is {item}; the training data has values that are not "
                    f"finite or too large: correct or rescale them"
                )
