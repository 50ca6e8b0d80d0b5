"""The base of every kind of data: what a DataModule knows of its data after ``setup()``, and a Task needs.

A kind is one file of this folder (or of a user's own): its Facts, its batch, and what decodes a prediction.
Facts are plain values, stored as ``facts.json`` in the run directory, so that a run can predict on new input
without its training data. No file here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

IGNORED = -100
"""Target that no loss and no metric counts (the value torch's cross-entropy skips)."""


@dataclass(frozen=True)
class Facts:
    """Base of all facts; ``kind`` names the sort of data in files and messages."""

    kind: ClassVar[str]
    summary: ClassVar[str]
    known: ClassVar[dict[str, type[Facts]]] = {}
    """Every kind whose class has been imported, by name."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" in cls.__dict__:
            Facts.known[cls.kind] = cls

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-ready values, with the kind."""
        assert "__dataclass_fields__" in type(self).__dict__, "write @dataclass(frozen=True) above the class"
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class Input:
    """What a person gave to predict from."""

    batch: Any
    """As the task takes it."""
    name: str
    """What a title calls it: a file by its name."""
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """What is known of each row of the answer, such as the times of a forecast."""


def check_finite(facts: Facts) -> None:
    """Raise ValueError naming the field that holds NaN or an infinity, which a file cannot keep."""
    for entry in fields(facts):
        value = getattr(facts, entry.name)
        for index, item in enumerate(value if isinstance(value, tuple) else (value,)):
            if isinstance(item, float) and not math.isfinite(item):
                place = f"{entry.name}[{index}]" if isinstance(value, tuple) else entry.name
                raise ValueError(
                    f"{facts.kind} facts: {place} is {item}; the training data has values that are not "
                    f"finite or too large: correct or rescale them"
                )
