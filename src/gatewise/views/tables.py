"""Tables on the screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.box import HEAVY_HEAD, SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gatewise.runs.summary import split_metrics
from gatewise.settings import lines
from gatewise.views.plain import cell, plain_console
from gatewise.views.screen import show

if TYPE_CHECKING:
    from gatewise.tasks import Task
    from gatewise.tasks.answer import Answer

MAX_ROWS = 40
MOST_BESIDE = 3
"""Baselines beside which a table has room for the meaning of each metric."""


def results(
    test: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]], meanings: Mapping[str, str]
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The columns of a table of test metrics beside those of the baselines, and its rows.

    A row has the metric, this run's value, one of each baseline (None where it has none), and the meaning.
    """
    rows: list[tuple[Any, ...]] = []
    for name, value in sorted(test.items(), key=lambda item: item[0] == "loss"):  # the loss comes last
        others = (scores.get(name) for scores in baselines.values())
        rows.append((name, value, *others, meanings.get(name, "")))
    return ["metric", "this run", *baselines, "meaning"], rows


def print_results(
    metrics: Mapping[str, Any], split: str, meanings: Mapping[str, str], weights: str = ""
) -> None:
    """Print a split's metrics next to those of the baselines, with the meaning of each metric.

    ``weights`` says whose they are, in the title. Beside many baselines the meanings stand below the table.
    """
    test, baselines = split_metrics(metrics)
    title = f"{split} results" + (f" of the {weights}" if weights else "")
    (first, own, *others, last), rows = results(test, baselines, meanings)
    wide = len(others) > MOST_BESIDE
    box, padding = (SIMPLE_HEAD, (0, 0)) if wide else (HEAVY_HEAD, (0, 1))
    table = Table(title=cell(title), title_justify="left", box=box, padding=padding)
    table.add_column(first, no_wrap=wide, overflow="fold")
    table.add_column(own, justify="right", style="bold")
    for baseline in others:
        table.add_column(cell(baseline), justify="right")
    if not wide:
        table.add_column(last, style="dim")
    for name, *values, meaning in rows:
        scores = ["" if v is None else f"{v:.4g}" if wide else _score(v) for v in values]
        table.add_row(cell(name), *scores, *([] if wide else [cell(meaning)]))
    show(table)
    if wide:
        below = Table.grid(padding=(0, 2))
        for name, meaning in _once({str(name): str(meaning) for name, *_, meaning in rows}).items():
            below.add_row(cell(name), Text(lines(meaning), style="dim"))
        show(below)


def _once(meanings: Mapping[str, str]) -> dict[str, str]:
    """Meanings by name, those that differ only in the first part of a name as one: ``*/mae``."""
    found: dict[str, str] = {}
    for name, meaning in meanings.items():
        of, slash, rest = name.rpartition("/")
        if slash:
            found.setdefault(f"*/{rest}", meaning.replace(of, "each of them"))
        else:
            found[name] = meaning
    return found


def print_answer(answer: Answer) -> None:
    """Print a prediction; of a long one, only the first rows."""
    console = plain_console()
    console.print(_table(answer))
    if len(answer.table) > MAX_ROWS:
        console.print(f"… and {len(answer.table) - MAX_ROWS} more; output=FILE.csv writes them all")
    if answer.shaded and console.is_terminal:
        console.print(Text.assemble(*((lines(text), _marked(strength)) for text, strength in answer.shaded)))
    if answer.remark:
        console.print(answer.remark)


def print_beside_results(task: Task) -> None:
    """Print what a task says of its last test beside its metrics: a few lines, and examples."""
    show(*map(cell, task.remarks()))
    examples = task.examples()
    if examples is not None:
        print_examples(examples)


def print_examples(answer: Answer) -> None:
    """Print examples of a test, to ``log.txt`` as well."""
    show(_table(answer))


def _table(answer: Answer) -> Table:
    table = Table(title=cell(answer.title), title_justify="left")
    frame = answer.table.drop(columns=list(answer.file_only))
    for name in frame.columns:
        table.add_column(cell(name))
    formats = [answer.formats.get(str(name)) for name in frame.columns]
    for row in frame.head(MAX_ROWS).itertuples(index=False, name=None):
        table.add_row(*(cell(_cell(value, form)) for value, form in zip(row, formats, strict=True)))
    return table


def _marked(strength: float) -> str:
    """The style of a text that is marked so strongly, in steps of a seventh; none for the weakest."""
    step = round(7 * strength)
    return f"white on rgb({60 + 25 * step},20,20)" if step else ""


def _score(value: float) -> str:
    """Four decimals; four digits of a value below a hundredth."""
    return f"{value:.4g}" if 0 < abs(value) < 0.01 else f"{value:.4f}"


def _cell(value: Any, style: str | None) -> str:
    """A value in the column's style; without one, text, quoted if it is white space or not printable."""
    if value is None or value != value:  # there is none, as for the surprise of a first token
        return ""
    if style is not None:
        return style.format(value)
    text = str(value)
    return text if not text or (text.isprintable() and not text.isspace()) else repr(text)
