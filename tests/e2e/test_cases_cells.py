"""A user's own cell from the command line, and settings of a model that do nothing."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from workplace import Place

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.split("## Write your own cell\n")[1].split("\n## ")[0]
QUICK = (
    *("train", "experiment=speech/features", "logger=none", "model.hidden_size=4", "data.train_file=two.ts"),
    *("trainer.max_epochs=1", "test=false", "model.engine=function"),
)
CELL = """
import torch
from torch import nn, tanh
from torch.nn import functional as F
from gatewise.cells import Cell


class Mine(Cell):
    gates = ("n", "o")
    states = ("h", "c")

    def step(self, a, r, s, p):
        h = tanh(a.n + r.n)
        RETURN
"""


@pytest.fixture
def own(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A folder with a small data set, whose modules are imported as with PYTHONPATH=. and forgotten again."""
    rows = [
        ":".join(",".join(str(k % 2 + (k * t * c % 5) / 10) for t in range(1, 7)) for c in (1, 2))
        + f":{'ab'[k % 2]}"
        for k in range(8)
    ]
    head = ["@problemName two", "@univariate false", "@dimensions 2", "@classLabel true a b", "@data"]
    (place.folder / "two.ts").write_text("\n".join([*head, *rows]) + "\n")
    monkeypatch.syspath_prepend(str(place.folder))
    for name in ("minimal", "mine"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return place


def with_cell(place: Place, line: str, name: str = "mine") -> None:
    (place.folder / f"{name}.py").write_text(CELL.replace("RETURN", line))
    preset = place.folder / "conf" / "model" / "mine.yaml"
    preset.parent.mkdir(parents=True, exist_ok=True)
    preset.write_text("defaults:\n  - base\n\ncell:\n  _target_: mine.Mine\n")


def forget(name: str) -> None:
    from gatewise.settings.syntax import find_module

    sys.modules.pop(name, None)
    find_module.cache_clear()


def log_of(place: Place) -> str:
    return (place.last().folder / "log.txt").read_text()


@pytest.mark.slow
def test_dropout_one_layer(own: Place, caplog: pytest.LogCaptureFixture) -> None:
    line = "dropout=0.5 does nothing: it acts between layers, and num_layers is 1"
    own.ok(*QUICK, "model.dropout=0.5")
    assert [record.getMessage() for record in caplog.records].count(line) == 1
    caplog.clear()
    own.ok(*QUICK, "model.dropout=0.5", "model.num_layers=2")
    assert "does nothing" not in caplog.text


@pytest.mark.slow
def test_the_readmes_cell_as_a_new_user_types_it(own: Place) -> None:
    forget("minimal")
    code, preset = (re.search(rf"```{kind}\n(.*?)```", SECTION, re.S)[1] for kind in ("python", "yaml"))
    (own.folder / "minimal.py").write_text(code)
    own.ok(*QUICK, "model=gru", "model.cell._target_=minimal.MinimalGatedUnit")
    (own.folder / "conf" / "model").mkdir(parents=True)
    (own.folder / "conf" / "model" / "mine.yaml").write_text(preset)
    own.ok(*QUICK, "model=mine")
    # A preset that sets what the cell does not have.
    for choice in (("model=lstm", "model.cell._target_=minimal.MinimalGatedUnit"), ("model=inherits",)):
        (own.folder / "conf" / "model" / "inherits.yaml").write_text(preset.replace("- base", "- lstm"))
        wrong = own(*QUICK, *choice)
        assert wrong.code == 1
        assert wrong.line() == (
            "gatewise: error: model.cell.forget_bias: no such setting of MinimalGatedUnit; "
            "where a preset sets it, leave it out with ~model.cell.forget_bias"
        )
        own.ok(*QUICK, *choice, "~model.cell.forget_bias")
    assert json.loads((own.last().folder / "status.json").read_text())["state"] == "done"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "return h",
            "Mine.step (mine.py:12) must return two things, a tuple of new states and a dict of gates: ",
        ),
        ("return h,", "Mine.step (mine.py:12) must return two things, "),
        ("return (h, h)", "Mine.step (mine.py:12) must return two things, "),
        (
            "return (h,), {}",
            "Mine.step (mine.py:12) must return 2 new states, `return (h, c), {'n': n, 'o': o}`",
        ),
        ("return (h, tahn(h)), {}", "Mine.step (mine.py:14) failed: NameError: name 'tahn' is not defined"),
        ("return (h, h @ h), {}", "Mine.step (mine.py:14) failed: RuntimeError: mat1 and mat2 shapes"),
        ("return (h, F.dropout(h)), {}", "engine=function: Mine.step (mine.py:12) draws random numbers"),
    ],
)
def test_a_wrong_step_is_one_line(own: Place, line: str, said: str) -> None:
    with_cell(own, line)
    forget("mine")
    wrong = own(*QUICK, "model=mine")
    assert wrong.code == 1
    assert wrong.line().startswith(f"gatewise: error: model: {said}")


def test_a_cell_that_draws_trains_in_the_loop_and_says_so(own: Place) -> None:
    with_cell(own, "return (h, F.dropout(h)), {}")
    forget("mine")
    own.ok(*QUICK[:-1], "model=mine")
    said = [line for line in log_of(own).splitlines() if "draws random numbers" in line]
    assert len(said) == 1
    assert "Mine.step (mine.py:12) draws random numbers" in said[0]
    assert "Cell.noise" in said[0]


def test_a_cell_that_holds_a_module_is_refused(own: Place) -> None:
    with_cell(
        own,
        "return (h, self.linear(h)), {}\n\n    def __init__(self):\n        self.linear = nn.Linear(4, 4)",
    )
    forget("mine")
    wrong = own(*QUICK, "model=mine")
    assert (wrong.code, wrong.out.count("Traceback")) == (1, 0)
    assert "Mine holds a Linear (a module) in self.linear" in wrong.line()
    assert "use own_parameters" in wrong.line()
