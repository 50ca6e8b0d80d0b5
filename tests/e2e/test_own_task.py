"""A kind of data and a task of the user's own, as the README writes them, with an installed wheel.

Every line of code and YAML is taken from the README, and every command is one of its own.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pytest
from installed import REPOSITORY, build_wheel, install, run

from gatewise.runs.run import Run

FILES = (
    "make_strings.py",
    "letters.py",
    "regression.py",
    "scatter.py",
    "conf/data/letters.yaml",
    "conf/task/regression.yaml",
    "conf/experiment/letters.yaml",
)


def section() -> str:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return re.split(r"^## ", text.split("## Your own data and task\n")[1], flags=re.M)[0]


def blocks() -> list[str]:
    found = re.findall(r"^```(\w+)\n(.*?)^```$", section(), re.M | re.S)
    return [text for kind, text in found if kind != "bash"] + [found[-1][1]]


def commands() -> list[list[str]]:
    return [shlex.split(line, comments=True)[1:] for line in blocks()[-1].splitlines()]


class Own:
    """The user's folder, and the program that is installed there."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.programs = folder, programs

    def __call__(self, *argv: str, code: int = 0) -> tuple[str, str]:
        done = run(self.folder, str(self.programs / "gatewise"), *argv, code=code)
        return done.stdout, done.stderr

    def last(self) -> Run:
        return Run.open("last", self.folder / "runs")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Own:
    top = tmp_path_factory.mktemp("own")
    programs = install(build_wheel(tmp_path_factory.mktemp("dist")), top / "venv")
    folder = top / "work"
    for name, text in zip(FILES, blocks(), strict=False):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    run(folder, str(programs / "python"), "make_strings.py")
    return Own(folder, programs)


def test_the_readme_names_every_file() -> None:
    assert len(blocks()) == len(FILES) + 1
    for name in FILES:
        assert f"`{name}`" in section()


def test_train_predict_and_a_wrong_setting(own: Own) -> None:
    train, predict, _, _, wrong = commands()
    assert train == ["train", "experiment=letters"]
    out, _ = own(*train, "wandb.mode=disabled", "trainer.max_epochs=8")
    summary = own.last().summary()
    # It learns to count: the training mean cannot.
    assert summary["test"]["mse"] < 0.5 * summary["baselines"]["training mean"]["mse"]
    assert "squared error, in variances of the training" in " ".join(out.split())
    assert (own.last().plots / "scatter.png").is_file()
    assert json.loads((own.last().folder / "facts.json").read_text())["kind"] == "letters"

    out, _ = own(*predict, "output=answer.csv")
    assert re.search(r"abab +│ +-?\d\.\d{3} ", out)  # as many digits as asked for
    with (own.folder / "answer.csv").open(newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == ["abab", "cab"]

    said = blocks()[-1].splitlines()[-1].partition("# ")[2]
    assert own(*wrong, code=1)[1] == f"gatewise: error: {said}\n"


@pytest.mark.slow
def test_evaluate_resume_sweep(own: Own) -> None:
    train, _, evaluate, sweep, _ = commands()
    own(*train, "wandb.mode=disabled", "trainer.max_epochs=8")
    assert "validation results" in own(*evaluate)[0]

    trained = own.last()
    own("train", "resume=last", "trainer.max_epochs=9")
    assert own.last().folder == trained.folder
    assert len(trained.metrics_file.read_text().splitlines()) == 1 + 9

    small = [*sweep[:-2], "wandb.mode=disabled", "trainer.max_epochs=1", "model=gru,rnn", "seed=1"]
    own(*small, "sweep.jobs=2")
    (table,) = (own.folder / "sweeps").glob("letters/*/trials.csv")
    assert [line.split(",")[2] for line in table.read_text().splitlines()[1:]] == ["done", "done"]


MISTAKES = {
    "range of a task": (
        "task.dropout=2", "task.dropout must be a probability of 0 or more and below 1, got 2"
    ),
    "range of data": (
        "data.test_fraction=1", "data.test_fraction must be a number between 0 and 1 (both excluded), got 1"
    ),
    "file": ("data.file=string.csv", "did you mean 'strings.csv'?"),
    "misspelt": ("task.drpout=0.1", "task.drpout: no such setting; did you mean task.dropout?"),
    "added": ("+task.drpout=0.1", "task.drpout: no such setting of Regression; did you mean dropout?"),
    "kind": (
        "task=classification",
        "task=classification takes labelled feature sequences, but data=letters gives strings of letters",
    ),
}  # fmt: skip

BROKEN = {
    "class of a task": ("task._target_=regression.Regresion", "did you mean regression.Regression?"),
    "module of a task": (
        "task._target_=regresion.Regression",
        "task._target_=regresion.Regression: No module",
    ),
    "class of data": ("data._target_=letters.LetterString", "did you mean letters.LetterStrings?"),
    "section": ("+trainr.max_epochs=3", "trainr: no such section; did you mean trainer?"),
    "file without a column": ("data.file=half.csv", "half.csv:2: needs a text and a number as value"),
}


@pytest.mark.parametrize(
    ("override", "message"),
    [pytest.param(*case, id=name, marks=pytest.mark.slow) for name, case in BROKEN.items()],
)
def test_what_only_importing_or_reading_shows_is_one_line_too(own: Own, override: str, message: str) -> None:
    (own.folder / "half.csv").write_text("text\nabc\n")
    _, said = own("train", "experiment=letters", override, code=1)
    assert message in said
    assert said.count("\n") == 1


QUICK = """
import sys, time
from gatewise.cli.main import main
code = main(sys.argv[1:])
print(code, sorted({"torch", "letters", "regression"} & set(sys.modules)), time.process_time(), sep=";")
"""


@pytest.mark.parametrize(("override", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_at_once(own: Own, override: str, message: str) -> None:
    python = str(own.programs / "python")
    done = run(own.folder, python, "-c", QUICK, "train", "experiment=letters", override)
    code, imported, seconds = done.stdout.strip().split(";")
    assert (code, imported) == ("1", "[]")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    # Of the CPU: 0.6 to 0.9 on an idle machine; one whose cores are shared may take twice as long.
    assert float(seconds) < 2
