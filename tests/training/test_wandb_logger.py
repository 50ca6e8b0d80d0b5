"""The W&B side of a run, offline."""

import os

import pytest
import wandb
from omegaconf import OmegaConf

from gatewise.training.wandb import describe, finish, make_logger


def test_disabled_means_none(run):
    assert make_logger(run, mode="disabled") is None


@pytest.mark.parametrize("mode", ["of", "dryrun", ""])
def test_a_mode_that_does_not_exist(mode, run):
    with pytest.raises(
        ValueError, match=f"mode={mode!r} is unknown; choose one of: offline, online, disabled"
    ):
        make_logger(run, mode=mode)


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("WANDB_BASE_URL", "nowhere", "Input should be a valid URL"),
        ("WANDB_SILENT", "perhaps", "Input should be a valid boolean"),
        ("WANDB_INIT_TIMEOUT", "abc", "Input should be a valid number"),
        ("WANDB_CONSOLE", "foo", "Input should be 'auto'"),
    ],
)
def test_a_variable_that_wandb_does_not_take(variable, value, why, run, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=f"^{variable}={value}: W&B does not take it .{why}.*unset it$"):
        make_logger(run)
    assert make_logger(run, mode="disabled") is None


def test_finish_without_a_wandb_logger_does_nothing(monkeypatch):
    monkeypatch.setattr(wandb, "finish", lambda **_: pytest.fail("nothing to finish"))
    finish([object()], 1)
    finish([], 0)


def test_an_offline_run(run, tmp_path, monkeypatch, capfd):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name.lower()))
    monkeypatch.chdir(tmp_path)
    config = OmegaConf.create(
        {
            "name": "text/mine",
            "resume": None,
            "model": {"_partial_": True, "hidden_size": 8, "cell": {"_target_": "gatewise.cells.GRU"}},
            "title": "${name} here",
            "callbacks": {
                "timer": {"_target_": "x.Timer"},
                "own": {"_target_": "x.Own", "every": 2},
                "no": None,
            },
            "wandb": {"project": "mine"},
            "logger": {"wandb": {"project": "mine"}},
            "paths": {"runs_dir": "runs"},
        }
    )
    logger = make_logger(run, project="mine", tags=["a", "b"], group="text/mine", name="GRU")
    choices = {"model": "gru", "debug": None, "logger": "wandb", "local@_global_": "default"}
    modes = {"val/accuracy": "max", "val/loss": "min"}
    describe(logger, config, choices, modes, parameters=12)
    experiment = logger.experiment
    try:
        assert wandb.run is experiment
        assert (experiment.id, experiment.name, experiment.project) == (run.id, "GRU", "mine")
        assert (experiment.tags, experiment.group) == (("a", "b"), "text/mine")
        assert experiment.offline
        # Nested, each setting once: not what W&B has fields for, nor what only says how it was started.
        assert experiment.config.as_dict() == {
            "name": "text/mine",
            "title": "text/mine here",
            "model": {"hidden_size": 8, "cell": {"_target_": "gatewise.cells.GRU"}},
            "callbacks": {"own": {"_target_": "x.Own", "every": 2}},
            "choices": {"model": "gru"},
        }
        for epoch, value in enumerate((0.2, 0.9, 0.5)):
            values = {"val/accuracy": value, "val/loss": value, "train/loss": value, "epoch": epoch}
            logger.log_metrics(values, step=epoch)
        # A metric whose better side is known sums up to its best value, others to their last.
        assert dict(experiment.summary["val/accuracy"]) == {"max": 0.9}
        assert dict(experiment.summary["val/loss"]) == {"min": 0.2}
        assert experiment.summary["train/loss"] == 0.5
        assert experiment.summary["parameters"] == 12
    finally:
        finish([object(), logger], exit_code=1)
    assert wandb.run is None  # the next job of a sweep starts its own
    assert experiment._exit_code == 1
    (written,) = (run.folder / "wandb").glob("offline-run-*/*.wandb")
    assert written.name == f"run-{run.id}.wandb"
    assert written.stat().st_size > 0
    assert not (tmp_path / "wandb").exists()  # nothing in the working folder
    assert capfd.readouterr() == ("", "")  # W&B's advice stays off the screen
