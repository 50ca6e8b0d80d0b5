"""How a CSV file is written, and what the reader of an error message can do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Verb = Literal["train", "evaluate", "predict"]
"""What a file is read for: only a training chooses columns, and a prediction has no ``data`` settings."""
CHARACTERS = {
    "comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "point": ".", "space": " ", "apostrophe": "'",
}  # fmt: skip


@dataclass(frozen=True)
class CsvStyle:
    """Separators by name, and how times are written: a format, or whether the day comes first."""

    separator: str = "comma"
    decimal: str = "point"
    thousands: str | None = None
    time_format: str | None = None
    day_first: bool | None = None
    time_zone: str | None = None
    """``utc``, or the name of the place whose clocks the times are of."""

    def with_times(self, time_format: str | None) -> CsvStyle:
        """The same style with the format in which the times were read."""
        return replace(self, time_format=time_format, day_first=None)


@dataclass(frozen=True)
class Reading:
    """A style, and what the file is read for."""

    style: CsvStyle = CsvStyle()
    verb: Verb = "train"
    fixed_format: bool = False
    """Whether the user gave the format of the times, which no other may replace."""

    def advice(self, otherwise: str, *settings: str) -> str:
        """What to do: correct the file, or give one of ``settings`` where the verb has them."""
        if self.verb == "predict" or not settings:
            return otherwise
        return f"{otherwise}, or set {' or '.join(settings)}" if otherwise else f"set {' or '.join(settings)}"

    def columns_advice(self, columns: Iterable[str]) -> str:
        """``, or leave the column out with 'data.columns=[a,b]'``, where the verb chooses columns."""
        if self.verb != "train":
            return ""
        names = ",".join(n if re.fullmatch(r"[A-Za-z_]\w*", n) else f'"{n}"' for n in columns)
        return f", or leave the column out with 'data.columns=[{names}]'" if names else ""
