"""Text from outside is printed as it is: markup, emoji codes and formulas in it mean nothing."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread
from rich.table import Table

import gatewise
from gatewise.tasks.answer import Answer
from gatewise.views import tables
from gatewise.views.pictures.figure import panels, write_picture
from gatewise.views.plain import plain_console

NAMES = [
    "x[/y]",
    "[bold]b[/]",
    "[/]",
    "a\\",
    "[link=file:///etc]z[/link]",
    ":fire:",
    "[red",
    "$a$",
    "[@click=f]",
]


@settings(deadline=None, max_examples=60)
@given(st.text(st.sampled_from(list("[]/\\:=ab$@# ")), min_size=1, max_size=12).filter(str.strip))
def test_a_console_prints_what_it_is_given(text: str) -> None:
    file = io.StringIO()
    console = plain_console(file=file, soft_wrap=True, force_terminal=True, color_system="truecolor")
    console.print(text)
    assert file.getvalue() == f"{text}\n"
    table = Table(title=text)
    table.add_column(text)
    table.add_row(text)
    console.print(table)
    assert text.strip() in file.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_results_and_answers_of_such_names(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    metrics = {f"test/{name}": 0.5, f"baseline/{name}/loss": 1.0, "test/loss": 2.0}
    tables.print_results(metrics, "test", {name: name})
    tables.print_answer(Answer(title=name, table=pd.DataFrame({name: [name]}), remark=name))
    assert capsys.readouterr().out.count(name) >= 6


def test_pictures_of_such_names(tmp_path: Path) -> None:
    for name in (r"$\frac{$", "$a$", "cost $ and $", "a_b^c"):
        figure = panels(1, name)
        figure.axes[0].set(xlabel=name, ylabel=name, xticks=range(2), yscale="log", ylim=(1e-3, 1))
        figure.axes[0].set_xticks(range(2), [name, name])
        write_picture(tmp_path / "picture.png", figure)
        assert np.ptp(imread(tmp_path / "picture.png")) > 0
        labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
        assert labels == [name, name]


def test_no_other_console_is_made_that_would_read_markup() -> None:
    """Else it has to be said of each text that is printed whether it comes from outside."""
    package = Path(gatewise.__file__).parent
    makers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) == "Console"
    }
    assert makers <= {"views/plain.py", "views/screen.py"}


HARMLESS = {"one_line", "lines", "help_text", "_yaml"}
CONSTANTS = {"USAGE", "ENGINE_USAGE", "__version__", "header"}
OWN_TEXTS = {
    "cli/completion.py": "names that the shell asks for, quoted",
    "launch/streams.py": "what its callers have made harmless",
    "launch/alone.py": "the number and the name of a variable",
    "training/progress.py": "what Lightning has printed, by the stream of the bar",
}


def test_what_is_printed_past_the_console_is_made_harmless() -> None:
    """A literal, or passed through ``one_line`` or ``lines``."""
    package = Path(gatewise.__file__).parent
    for path in package.rglob("*.py"):
        name = path.relative_to(package).as_posix()
        if name in OWN_TEXTS or name.startswith("bench/"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"):
                continue
            for part in (part for argument in node.args for part in parts(argument)):
                called = getattr(part.func, "id", "") if isinstance(part, ast.Call) else ""
                constant = isinstance(part, ast.Constant) or getattr(part, "id", "") in CONSTANTS
                assert constant or called in HARMLESS, f"{name}:{node.lineno}: print(one_line(...))"


def parts(node: ast.expr) -> list[ast.expr]:
    """What an expression is put together of."""
    if isinstance(node, ast.JoinedStr):
        return [part for value in node.values for part in parts(value)]
    if isinstance(node, ast.FormattedValue):
        return parts(node.value)
    if isinstance(node, ast.IfExp):
        return [*parts(node.body), *parts(node.orelse)]
    return [node]
