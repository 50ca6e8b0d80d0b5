"""Text from outside as it is shown: what could move a cursor, colour or hide something is written out.

Names of classes, columns, files and settings come from whoever made the data or the run. A terminal obeys the
escape codes in them, and a line break in one begins a line that Gatewise seems to say.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

_HIDDEN = re.compile(r"[^ -~]")
_HIDDEN_BUT_BREAKS = re.compile(r"[^ -~\n]")


def one_line(text: str) -> str:
    """The text with every character that is not printable written as in Python: ``\\x1b``, ``\\n``."""
    return text if text.isprintable() else _HIDDEN.sub(_written, text)


def lines(text: str) -> str:
    """As :func:`one_line` for a text of several lines, whose line breaks stay; tabs become spaces."""
    return text if text.isprintable() else _HIDDEN_BUT_BREAKS.sub(_written, text.expandtabs())


def listed(names: Sequence[str], most: int) -> str:
    """Names with commas between them, of which so many are shown, as in ``a, b and 3 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _written(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def show_warnings_as_text() -> None:
    """Have Python's own warnings, which may name anything, be shown like other lines from now on."""
    if not hasattr(warnings.formatwarning, "shown_as_text"):
        warnings.formatwarning = _AsText(warnings.formatwarning)


class _AsText:
    """What formats a warning, with its text made harmless."""

    shown_as_text = True

    def __init__(self, format_: object) -> None:
        self._format = format_

    def __call__(self, *args: object, **kwargs: object) -> str:
        return lines(self._format(*args, **kwargs))  # type: ignore[operator]
