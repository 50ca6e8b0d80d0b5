"""Text for the screen as it is: what comes from outside is never markup."""

from __future__ import annotations

from typing import Any

from rich.console import Console


def plain_console(**settings: Any) -> Console:
    """A Console that prints strings as they are: no markup, emoji codes or highlighting.

    Names, messages and cells of tables come from users, who may write ``[/]`` or ``:bar:``. What is to stand
    out is a ``Text`` with a style.
    """
    return Console(markup=False, emoji=False, highlight=False, **settings)
