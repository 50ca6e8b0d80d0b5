"""Text from outside puts no control character on the screen or into log.txt, and begins no line there."""

from __future__ import annotations

import io
import logging
import shlex
import subprocess
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from matplotlib.image import imread
from omegaconf import OmegaConf
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gatewise.cli.errors import report
from gatewise.runs.run import Run
from gatewise.settings import SettingError, lines, one_line
from gatewise.settings.shown import show_warnings_as_text
from gatewise.tasks.answer import Answer
from gatewise.views import screen, tables
from gatewise.views.pictures import confusion_matrix
from gatewise.views.places import command
from gatewise.views.plain import cell, plain_console

BAD = [
    "\x1b[31mred\x1b[2J\x1b[1;1H",
    "\x1b]0;title\x07\x1b\\",
    "\x9b31m",
    "a\r\nFORGED: gatewise: all is well",
    "a\nFORGED",
    "a\x0bFORGED",
    "a\u2028FORGED",
    "a\x85FORGED",
    "\u202egnp.exe",
    "zero\u200bwidth\ufeff",
    "\x00\x08\x08\x08",
    "\ud800",
    "\t\tx",
]
TEXTS = st.text(st.sampled_from([*"aF[]$ \n\r\t\x1b\x07\x9b\x85\u2028\u202e\u200b\ud800\x7f"]), max_size=9)


def is_harmless(text: str) -> bool:
    return text.replace("\n", "").isprintable() and not any(
        line.lstrip().startswith("FORGED") for line in text.split("\n")
    )


@settings(max_examples=50)
@given(st.text() | TEXTS)
def test_a_line_is_printable_and_tells_its_text(text: str) -> None:
    shown = one_line(text)
    assert shown.isprintable()
    assert (shown == text) == text.isprintable()
    if "\\" not in text:
        assert shown.encode("latin-1", "backslashreplace").decode("unicode_escape") == text
    assert lines(text).replace("\n", "").isprintable()
    assert lines(text).count("\n") == text.count("\n")


def print_everything(text: str, run: Run) -> None:
    """By every way that a name or a message has to the screen."""
    metrics = {f"test/{text}": 0.5, f"baseline/{text}/loss": 1.0, "test/loss": 2.0}
    tables.print_results(metrics, "test", {text: text}, weights=text)
    # Of objects: where pyarrow is installed, pandas takes no half of a surrogate pair into its strings.
    table = pd.DataFrame([[text]], columns=pd.Index([text], dtype=object), dtype=object)
    tables.print_examples(Answer(title=text, table=table, formats={}, remark=text))
    tables.print_answer(Answer(title=text, table=table, formats={}, remark="made"))
    config = OmegaConf.create({"name": text, "seed": 1})
    screen.print_head(run, config, {text: text}, [text])
    screen.show(cell(text), Text.assemble("x ", (one_line(text), "bold")), Group(cell(text)))
    log = logging.getLogger("gatewise.some.where")
    log.warning("%s is odd", text)
    log.warning(f"{text} is odd")
    warnings.warn(f"of {one_line(text)} {text.replace('FORGED', '')}", stacklevel=1)
    report(SettingError(f"data.file={text}: not there"))


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
@example(BAD[0])
@example("".join(text for text in BAD if text != "\ud800"))
def test_no_control_character_is_shown(run: Run, text: str) -> None:
    choices = dict.fromkeys(("task", "data", "model", "optimizer", "trainer"), text)
    run.choices = lambda: dict(choices)  # type: ignore[method-assign]
    run.log_file.unlink(missing_ok=True)
    out, err = io.StringIO(), io.StringIO()
    show_warnings_as_text()
    with (
        # Of what pytest captures nothing goes to another process, which takes no half of a character.
        patch.object(logging.getLogger(), "handlers", []),
        warnings.catch_warnings(),
        redirect_stdout(out),
        redirect_stderr(err),
        screen.logged_to(run.log_file),
    ):
        warnings.simplefilter("always")
        print_everything(text, run)
    log = run.log_file.read_text(encoding="utf-8")
    for written in (out.getvalue(), err.getvalue(), log):
        assert written
        assert is_harmless(written), written


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_cell_is_harmless_too(text: str) -> None:
    """Also what a task of the user's own puts into a table as it is."""
    file = io.StringIO()
    console = plain_console(file=file, width=80)
    table = Table(title=text)
    table.add_column(Text(text))
    table.add_row(text)
    table.add_row(Text(text))
    console.print(text, Text(text), table, Group(text, Text(text)))
    console.log(text)
    written = file.getvalue()
    assert written.replace("\n", "").isprintable()


@pytest.mark.parametrize("text", BAD)
def test_on_a_terminal_only_rich_colours(text: str) -> None:
    file = io.StringIO()
    console = plain_console(file=file, width=80, force_terminal=True, color_system="truecolor")
    console.print(Text(text, "bold"))
    assert file.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").replace("\n", "").isprintable()


def test_a_traceback_is_shown_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise RuntimeError("\x1b[31mred")
    except RuntimeError as error:
        report(error)
    shown = capsys.readouterr().err
    assert "\\x1b[31mred" in shown
    assert shown.replace("\n", "").isprintable()


@pytest.mark.parametrize("text", [text for text in BAD if "\x00" not in text])
def test_a_printed_command_is_that_of_the_name(text: str) -> None:
    line = command("train", f"resume={text}")
    assert line.isprintable()
    program = "python -m gatewise train "
    assert line.startswith(program) or shlex.split(line)[0].endswith("gatewise")
    word = line.partition(" train ")[2]
    told = subprocess.run(
        ["bash", "-c", f"printf %s {word}"], capture_output=True, env={"LC_ALL": "C.UTF-8"}, check=True
    ).stdout
    assert told == f"resume={text}".encode("utf-8", "surrogatepass")


def test_a_picture_of_such_names(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    names = [*BAD, r"$\frac{", "cost $"]
    counts = [[int(i == j) for j in range(len(names))] for i in range(len(names))]
    confusion_matrix.draw({"classes": names, "counts": counts}, tmp_path / "p.png", "\x1b[31mred $")
    assert imread(tmp_path / "p.png").size
    assert not [str(warning.message) for warning in recwarn]
