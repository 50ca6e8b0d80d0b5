"""What a sweep says at its end: the best or the front, ties, failures, and the command to train again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from plans import ended, make_plan

from gatewise.sweeps import search
from gatewise.sweeps.folder import Plan, Sweep
from gatewise.sweeps.ranking import configurations
from gatewise.sweeps.report import finish, train_again


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    made = Sweep(tmp_path)
    made.make_folders()
    return made


def not_done(plan: Plan, number: int, params: dict[str, Any], state: TrialState, value: float) -> FrozenTrial:
    pruned = state == TrialState.PRUNED
    outcome = {
        "state": "pruned" if pruned else "failed",
        "reason": "val/loss is nan",
        "values": [value] if pruned else [],
        "epochs": 2,
        "monitor": "val/loss",
    }
    trial = create_trial(
        state=state,
        value=value if pruned else None,
        params=params,
        distributions=search.distributions(plan.space),
        user_attrs={"runs": [f"run{number}"], "outcomes": [outcome]},
    )
    trial.number = number
    return trial


@pytest.mark.parametrize(("direction", "best"), [("minimize", 0.25), ("maximize", 4.0)])
def test_the_best_is_one_that_was_trained_to_its_end(
    sweep: Sweep, capsys: pytest.CaptureFixture[str], direction: Any, best: float
) -> None:
    plan = make_plan({"x": list("abcdef")}, directions=[direction])
    # What was pruned or failed counts for nothing, however good it looked; two others are equal.
    values = [1.0, best, 2.0, best]
    trials = [ended(plan, i, {"x": "abcd"[i]}, (value,)) for i, value in enumerate(values)]
    trials.append(
        not_done(plan, 4, {"x": "e"}, TrialState.PRUNED, 99.0 if direction == "maximize" else -99.0)
    )
    trials.append(not_done(plan, 5, {"x": "f"}, TrialState.FAIL, float("nan")))
    assert finish(sweep, plan, trials, 1.0) == [best]
    out = capsys.readouterr().out
    assert "Trials 1, 3 have the same value. One seed each" in out
    assert "Best run       run1  (best in epoch 2 of 3)" in out
    assert "1 failed: val/loss is nan" in out
    summary = json.loads((sweep.folder / "summary.json").read_text())
    assert [(c["trial"], c["values"], c["best_epochs"]) for c in summary["best"]] == [
        (1, {"val/loss": best}, [2]),
        (3, {"val/loss": best}, [2]),
    ]
    assert (summary["trainings"], summary["trials_pruned"], summary["trials_failed"]) == (6, 1, 1)


def test_a_front_is_shown_whole_and_has_no_best(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan({"x": [str(i) for i in range(30)]}, directions=["minimize", "maximize"])
    # 25 of them trade one for the other, five are worse than the first.
    points = [(float(i), float(i)) if i < 25 else (50.0, -1.0) for i in range(30)]
    trials = [ended(plan, i, {"x": str(i)}, point) for i, point in enumerate(points)]
    assert finish(sweep, plan, trials, 1.0) == [0.0, 24.0]
    out = capsys.readouterr().out
    assert "Best run" not in out
    assert "25 configurations on the front: none is better in every objective" in out
    assert sum(line.split()[1:2] == ["yes"] for line in out.replace("│", " | ").splitlines()) == 25
    assert out.count("Train it again") == 5
    assert "20 more in " in out
    summary = json.loads((sweep.folder / "summary.json").read_text())
    assert [c["trial"] for c in summary["front"]] == list(range(25))
    assert summary["front"][7]["train_it_again"].endswith(" train x=7")
    assert not {"best", "tied_with_best"} & set(summary)


@pytest.mark.parametrize(
    ("given", "fixed", "command"),
    [
        (["model=lstm,gru"], [], "train x=a"),
        (
            ["launcher=slurm", "hydra.launcher.partition=gpu"],
            ["launcher=slurm"],
            "train hydra.launcher.partition=gpu launcher=slurm x=a",
        ),
        (["hydra/launcher=joblib", "hydra.mode=MULTIRUN"], [], "train -m hydra/launcher=joblib x=a"),
        (
            ["+hydra.launcher.ray.init.num_cpus=2"],
            ["launcher=ray", "sweep=tpe"],
            "train +hydra.launcher.ray.init.num_cpus=2 launcher=ray x=a",
        ),
        ([], ["name='a b'"], """train name=''"'"'a b'"'"'' x=a"""),
    ],
)
def test_the_command_to_train_again_keeps_the_launcher(
    given: list[str], fixed: list[str], command: str
) -> None:
    plan = make_plan({"x": ["a", "b"]}, overrides=given, fixed=fixed)
    (c,) = configurations([ended(plan, 0, {"x": "a"}, (1.0,))], plan)
    assert train_again(plan, c).endswith(f" {command}")


def test_a_sweep_of_an_earlier_version_has_no_best_epoch(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan({"x": ["a"]})
    trial = ended(plan, 0, {"x": "a"}, (1.0,))
    del trial.user_attrs["outcomes"][0]["best_epoch"]
    finish(sweep, plan, [trial], 1.0)
    assert "Best run       run0  (removed)" in capsys.readouterr().out
