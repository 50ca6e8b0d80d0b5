"""The base of every kind of data: what a DataModule knows about its data after ``setup()`` and a Task needs.

A kind is one file in this folder (or a user's own file) with its Facts, its batch and the decoding of
predictions. Facts are plain values, stored as ``facts.json`` in the run directory, so that a run can predict
on new input without its training data. No file here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

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

    def agrees_with(self, earlier: Facts) -> bool:
        """Whether an earlier version, which may have computed with fewer digits, called the same data so."""
        return self == earlier


@dataclass(frozen=True)
class Input:
    """A user's input to predict from."""

    batch: Any
    """The batch that the task takes."""
    name: str
    """Its name in a title; for a file, the file name."""
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Columns to put beside the answer, one value per row, such as the times of a forecast."""


def check_finite(facts: Facts) -> None:
    """Raise ValueError, naming the field, for a NaN or an infinity, which the JSON file cannot store."""
    for entry in fields(facts):
        value = getattr(facts, entry.name)
        for index, item in enumerate(value if isinstance(value, tuple) else (value,)):
            if isinstance(item, float) and not math.isfinite(item):
                place = f"{entry.name}[{index}]" if isinstance(value, tuple) else entry.name
                raise ValueError(
                    f"{facts.kind} facts: {place} is {item}; the training data has values that are not "
                    f"finite or too large: correct or rescale them"
                )
