"""Text for the screen as it is: what comes from outside is never markup."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from gatewise.settings import lines, one_line


def plain_console(**settings: Any) -> Console:
    """A Console that prints strings as they are: no markup, emoji codes, highlighting or escape codes.

    Names, messages and cells of tables come from users, who may write ``[/]`` or ``:bar:``. What is to stand
    out is a ``Text`` with a style. What is not printable is shown as it is written in Python.
    """
    return _PlainConsole(markup=False, emoji=False, highlight=False, **settings)


def cell(value: object, style: str | Style = "") -> Text:
    """Text from outside for a table or a line: line breaks in it are shown too."""
    return Text(one_line(str(value)), style)


class _PlainConsole(Console):
    """Lets no control character through but line breaks, whoever renders it, and rich's own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        if isinstance(renderable, str):
            renderable = lines(renderable)
        for segment in super().render(renderable, options):
            text, style, control = segment
            harmless = control or text.isprintable() or text == "\n"
            yield segment if harmless else Segment(lines(text), style)

    def render_str(self, text: str, **settings: Any) -> Text:
        return super().render_str(lines(text), **settings)
