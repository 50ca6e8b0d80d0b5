"""Tables on the screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gatewise.runs.summary import split_metrics

if TYPE_CHECKING:
    from gatewise.tasks.answer import Answer

MOST_ROWS = 40


def print_results(metrics: Mapping[str, Any], split: str, meanings: Mapping[str, str]) -> None:
    """Print a split's metrics beside the baselines', with what each metric means."""
    test, baselines = split_metrics(metrics)
    table = Table(title=f"{split} results", title_justify="left")
    table.add_column("metric")
    table.add_column("this run", justify="right", style="bold")
    for baseline in baselines:
        table.add_column(Text(baseline), justify="right")
    table.add_column("meaning", style="dim")
    for name, value in sorted(test.items(), key=lambda item: item[0] == "loss"):  # what is minimised last
        others = [f"{scores[name]:.4f}" if name in scores else "" for scores in baselines.values()]
        table.add_row(Text(name), f"{value:.4f}", *others, meanings.get(name, ""))
    Console().print(table)


def print_answer(answer: Answer) -> None:
    """Print a prediction, the first rows of a long one."""
    # As Text: what stands in brackets is the user's and no markup.
    table = Table(title=Text(answer.title), title_justify="left")
    shown = answer.table.drop(columns=list(answer.file_only))
    for name in shown.columns:
        table.add_column(Text(str(name)))
    for _, row in shown.head(MOST_ROWS).iterrows():
        table.add_row(*(Text(_cell(value, answer.formats.get(str(name)))) for name, value in row.items()))
    console = Console(highlight=False, emoji=False)
    console.print(table)
    if len(shown) > MOST_ROWS:
        console.print(f"… and {len(shown) - MOST_ROWS} more; output=FILE.csv writes them all")
    if answer.remark:
        console.print(answer.remark, markup=False)


def _cell(value: Any, style: str | None) -> str:
    """A value as the column's style writes it; text quoted where it is white space or cannot be printed."""
    if style is not None:
        return style.format(value)
    text = str(value)
    return text if not text or (text.isprintable() and not text.isspace()) else repr(text)
