"""What a run's config and checkpoints name to be written or removed lies in the run, or the user says so."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from strangers import FAST
from workplace import Place

from gatewise.runs.run import Run

RESUME = ("train", "resume=runs/r", "trainer.max_epochs=2", *FAST)


def set_in_config(run: Run, settings: dict[str, Any]) -> None:
    path = run.folder / "config.yaml"
    config = OmegaConf.load(path)
    for key, value in settings.items():
        OmegaConf.update(config, key, value, force_add=True)
    OmegaConf.save(config, path)


PL = "pytorch_lightning"
CONFIGS: dict[str, dict[str, Any]] = {
    "callbacks.best_checkpoint.dirpath=mine": {},
    "callbacks.best_checkpoint.dirpath=runs/r/../../mine": {},
    "callbacks.best_checkpoint.filename=../../../mine/best": {},
    "callbacks.best_checkpoint.filename='{epoch:/>9}'": {},
    # Lightning has str.format fill it in, which reaches into objects.
    "callbacks.best_checkpoint.filename='{epoch].real.__class__[0}'": {},
    "callbacks.best_checkpoint.filename='{epoch:>300000}'": {},
    "logger.csv.save_dir=mine": {"logger.csv._target_": f"{PL}.loggers.CSVLogger"},
    "logger.csv.name=../../mine": {
        "logger.csv": {"_target_": f"{PL}.loggers.CSVLogger", "save_dir": "runs/r"}
    },
    "logger.tb.version=../../mine": {"logger.tb._target_": f"{PL}.loggers.TensorBoardLogger"},
    "trainer.profiler.dirpath=mine": {
        "trainer.profiler": {"_target_": f"{PL}.profilers.SimpleProfiler", "filename": "x"}
    },
    "callbacks.saver.dirpath=mine": {"callbacks.saver._target_": f"{PL}.callbacks.OnExceptionCheckpoint"},
}
QUICK = ("callbacks.best_checkpoint.dirpath=mine",)


@pytest.mark.parametrize(
    "setting", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CONFIGS]
)
def test_a_config_that_writes_outside_is_refused(setting: str, attacked: Run, place: Place) -> None:
    key, _, value = setting.partition("=")
    set_in_config(attacked, {**CONFIGS[setting], key: value.strip("'")})
    result = place(*RESUME)
    assert result.code == 1
    assert f"{key}={value.strip(chr(39))}: writes outside of the run directory" in result.line()
    assert sorted(path.name for path in place.folder.iterdir()) == ["mine", "runs"]
    assert [path.read_text() for path in (place.folder / "mine").iterdir()] == ["mine\n"]


@pytest.mark.slow
def test_a_root_folder_of_lightnings_is_not_used(
    attacked: Run, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    set_in_config(attacked, {"trainer.default_root_dir": "mine"})
    place.ok(*RESUME)
    assert "trainer.default_root_dir: not used, now as before: Gatewise gives its own" in caplog.text
    assert sorted(path.name for path in place.folder.iterdir()) == ["mine", "runs"]
    assert [path.read_text() for path in (place.folder / "mine").iterdir()] == ["mine\n"]


def test_it_is_the_users_where_they_say_so_as_well(attacked: Run, place: Place) -> None:
    there = place.folder / "big" / "disk"
    setting = f"callbacks.best_checkpoint.dirpath={there}"
    set_in_config(attacked, dict([setting.split("=")]))
    there.mkdir(parents=True)
    (attacked.checkpoints / "best.ckpt").rename(there / "best.ckpt")
    attack_checkpoint(
        attacked, str(there / "best.ckpt"), dirpath=str(there), best_model_score=torch.tensor(7)
    )
    assert place(*RESUME).code == 1
    result = place.ok(*RESUME, setting)
    assert "forgotten" not in result.out
    state = state_of_best(torch.load(attacked.checkpoints / "last.ckpt", weights_only=True))
    assert list(state["best_k_models"]) == [state["best_model_path"]] == [str(there / "best.ckpt")]
    assert list(attacked.checkpoints.iterdir()) == [attacked.checkpoints / "last.ckpt"]


@pytest.mark.slow
def test_it_is_the_users_where_their_own_config_says_so(place: Place) -> None:
    """As in a job that a cluster puts back into the queue, with settings in files."""
    (place.folder / "conf" / "local").mkdir(parents=True)
    (place.folder / "conf" / "local" / "default.yaml").write_text(
        f"callbacks:\n  best_checkpoint:\n    dirpath: {place.folder}/big\n"
    )
    place.ok("train", "trainer.max_epochs=1", *FAST)
    place.ok("train", "resume=last", "trainer.max_epochs=2", *FAST)
    assert (place.folder / "big" / "best.ckpt").is_file()


def state_of_best(checkpoint: dict[str, Any]) -> dict[str, Any]:
    return next(state for state in checkpoint["callbacks"].values() if state.get("monitor"))


def attack_checkpoint(run: Run, path: str, **settings: Any) -> None:
    last = run.checkpoints / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    state = state_of_best(checkpoint)
    state.update(
        {
            "dirpath": str(run.checkpoints),
            "best_model_path": path,
            "kth_best_model_path": path,
            "last_model_path": path,
            "best_k_models": {path: torch.tensor(1e9)},
            "best_model_score": torch.tensor(1e9),
            **settings,
        }
    )
    torch.save(checkpoint, last)


@pytest.mark.parametrize(
    "path",
    [
        "{run}/checkpoints/../../../mine/best.ckpt",
        pytest.param("{work}/mine/best.ckpt", marks=pytest.mark.slow),
        pytest.param("runs/r/checkpoints/../../../mine/best.ckpt", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("dirpath", [None, pytest.param("{work}/mine", marks=pytest.mark.slow)])
def test_a_checkpoint_that_names_files_outside_has_none_removed(
    path: str, dirpath: str | None, attacked: Run, place: Place
) -> None:
    named = path.format(run=attacked.folder, work=place.folder)
    attack_checkpoint(attacked, named)
    if dirpath is not None:
        attack_checkpoint(attacked, named, dirpath=dirpath.format(work=place.folder))
    result = place.ok(*RESUME)
    assert "the checkpoint's best weights are forgotten: " in result.out
    assert (place.folder / "mine" / "best.ckpt").read_text() == "mine\n"
    state = state_of_best(torch.load(attacked.checkpoints / "last.ckpt", weights_only=True))
    assert state["best_model_path"] == str(attacked.checkpoints / "best.ckpt")


def test_a_report_that_names_files_outside_has_none_removed(attacked: Run, place: Place) -> None:
    from gatewise.training.display import forget_test

    picture = place.folder / "mine" / "picture.png"
    picture.touch()
    (attacked.folder / "test_report.json").write_text(json.dumps({"../../../mine/picture": 1, "there": 2}))
    (attacked.plots / "there.png").touch()
    forget_test(attacked)  # as a resume with test=false does
    assert picture.exists()
    assert not (attacked.plots / "there.png").exists()
