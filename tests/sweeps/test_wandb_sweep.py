"""A sweep of W&B's from the same settings: what its agent would run is a command of ours."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from gatewise.cli.main import main
from gatewise.config.compose import compose


def written(folder: Path, *argv: str) -> tuple[dict[str, Any], str]:
    """The file, and what was printed."""
    before, out = Path.cwd(), io.StringIO()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out):
            assert main(["train", *argv, "sweep.wandb_file=mine.yaml"]) == 0
    finally:
        os.chdir(before)
    return yaml.safe_load((folder / "mine.yaml").read_text()), out.getvalue()


def as_the_agent_runs_it(sweep: dict[str, Any], **drawn: Any) -> list[str]:
    """Overrides of ``gatewise train`` in the command that W&B's agent makes for these parameters."""
    assert set(drawn) == set(sweep["parameters"])
    words = create_sweep_command_args({"args": {key: {"value": value} for key, value in drawn.items()}})
    words["env"] = ["/usr/bin/env"]
    macros = [w[2:-1] if w.startswith("${") else None for w in sweep["command"]]
    command = [
        text
        for word, macro in zip(sweep["command"], macros, strict=True)
        for text in ([word] if macro is None else words[macro])
    ]
    return command[command.index("train") + 1 :]


def test_a_search(tmp_path: Path) -> None:
    sweep, out = written(
        tmp_path, "sweep=tpe", "experiment=series/sunspots", "sweep.trials=12", "wandb.entity=me"
    )
    assert (sweep["method"], sweep["run_cap"]) == ("bayes", 12)
    assert sweep["metric"] == {"name": "val/mse", "goal": "minimize"}
    assert sweep["early_terminate"] == {"type": "hyperband", "min_iter": 3}
    assert sweep["parameters"] == {
        "optimizer.lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 3e-2},
        "model.hidden_size": {"values": [32, 64, 128]},
        "task.dropout": {"distribution": "uniform", "min": 0.0, "max": 0.5},
    }
    drawn = {"optimizer.lr": 0.00123, "model.hidden_size": 64, "task.dropout": 0.25}
    config = compose("train", as_the_agent_runs_it(sweep, **drawn))
    assert (config.name, config.wandb.mode, config.wandb.entity) == ("series/sunspots", "online", "me")
    assert (config.optimizer.lr, config.model.hidden_size, config.task.dropout) == (0.00123, 64, 0.25)
    assert "wandb sweep --project gatewise mine.yaml" in out
    assert "wandb agent me/gatewise/ID" in out
    assert {path.name for path in tmp_path.iterdir()} == {"mine.yaml"}


def test_a_grid_with_seeds(tmp_path: Path) -> None:
    sweep, _ = written(tmp_path, "-m", "model=lstm,gru", "seed=1,2")
    assert sweep["method"] == "grid"
    assert sweep["parameters"] == {"model": {"values": ["lstm", "gru"]}, "seed": {"values": [1, 2]}}
    assert not {"run_cap", "early_terminate"} & set(sweep)
    config = compose("train", as_the_agent_runs_it(sweep, model="gru", seed=2))
    assert (config.model.cell["_target_"], config.seed) == ("gatewise.cells.GRU", 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("written_as", "parameter"),
    [
        ("tag(log,int(interval(4,128)))", {"distribution": "q_log_uniform_values", "min": 4, "max": 128}),
        ("range(1,5)", {"distribution": "int_uniform", "min": 1, "max": 4}),
        ("range(8,65,8)", {"distribution": "q_uniform", "q": 8, "min": 8, "max": 64}),
    ],
)
def test_whole_numbers(tmp_path: Path, written_as: str, parameter: dict[str, Any]) -> None:
    sweep, _ = written(tmp_path, "sweep=random", "sweep.params=null", f"model.hidden_size={written_as}")
    assert (sweep["method"], sweep["parameters"]) == ("random", {"model.hidden_size": parameter})


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["sweep=multi_objective"], "sweep.wandb_file: W&B optimises one objective"),
        (["sweep=tpe", "sweep.seeds=[1,2]"], "sweep.wandb_file: W&B would draw the seed"),
        (
            ["sweep=tpe", "sweep.wandb_file=no/mine.yaml"],
            "sweep.wandb_file=no/mine.yaml: there is no folder no",
        ),
    ],
)
def test_what_wandb_cannot_do(
    tmp_path: Path,
    argv: list[str],
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "sweep.wandb_file=mine.yaml", *argv]) == 1
    assert capsys.readouterr().err.startswith(f"gatewise: error: {line}")
    assert list(tmp_path.iterdir()) == []
