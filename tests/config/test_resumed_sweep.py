"""Where a sweep from anywhere writes, what it sends and has a cluster run, is the user's to say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from gatewise.config.resumed_sweep import ResumedSweep

SLURM = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher", "nodes": 1}
RAY = {
    "_target_": "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher",
    "ray": {"init": {"address": None}},
}


def config_of(top: Path, settings: dict[str, Any]) -> Any:
    config = OmegaConf.create(
        {
            "paths": {"runs_dir": str(top / "runs"), "sweeps_dir": str(top / "sweeps")},
            "resume": None,
            "callbacks": {},
            "logger": None,
            "trainer": {"_target_": "pytorch_lightning.Trainer"},
            "sweep": {"job": {"run": str(top / "runs" / "s" / "1")}},
            "hydra": {"job": {"env_set": {}}, "launcher": None},
        }
    )
    for key, value in settings.items():
        OmegaConf.update(config, key, value, force_add=True)
    return config


def check(top: Path, settings: dict[str, Any], *given: str, own: dict[str, Any] | None = None) -> None:
    settings = {key: _placed(value, top) for key, value in settings.items()}
    sweep = ResumedSweep(top / "sweeps" / "s", given, config_of(top, own or {}))
    sweep.check_training(config_of(top, settings))


def _placed(value: Any, top: Path) -> Any:
    if isinstance(value, dict):
        return {name: _placed(child, top) for name, child in value.items()}
    return value.replace("TOP", str(top)) if isinstance(value, str) else value


REFUSED = {
    "runs elsewhere": {"paths.runs_dir": "TOP/home"},
    "runs elsewhere, by a reference": {"x": "TOP/home", "paths.runs_dir": "${x}"},
    "another run": {"resume": "last"},
    "checkpoints elsewhere": {"callbacks.x": {"dirpath": "TOP/home"}},
    "checkpoints in another run": {"callbacks.x": {"dirpath": "TOP/runs/mine/checkpoints"}},
    "checkpoints elsewhere, by a reference": {"callbacks.x": {"dirpath": "${paths.sweeps_dir}"}},
    "a logger that sends": {"logger": {"x": {"_target_": "pytorch_lightning.loggers.CometLogger"}}},
    "a logger's folder": {
        "logger": {"x": {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": "TOP/home"}}
    },
    "a registry of models": {"trainer.model_registry": "of/a/stranger"},
    "a part that a resolver makes": {"callbacks.x": "${oc.create:{_target_:os.mkdir,path:TOP/x}}"},
    "a part that is decoded": {"callbacks.x": "${oc.decode:'{_target_: os.mkdir, path: TOP/x}'}"},
    "a launcher that is made so": {"hydra.launcher": "${oc.create:{_target_:os.mkdir,path:TOP/x}}"},
    "a variable of processes": {"hydra.job.env_set": {"LD_PRELOAD": "x"}},
    "shell commands": {"hydra.launcher": {**SLURM, "setup": ["reboot"]}},
    "options of sbatch": {"hydra.launcher": {**SLURM, "additional_parameters": {"wrap": "reboot"}}},
    "lines of a script": {"hydra.launcher": {**SLURM, "partition": "a\n#SBATCH --wrap=x"}},
    "a folder of pickles": {"hydra.launcher": {**SLURM, "submitit_folder": "TOP/sweeps/s/logs"}},
    "a folder elsewhere": {"hydra.launcher": {**SLURM, "submitit_folder": "TOP/home"}},
    "a cluster elsewhere": {"hydra.launcher": {**RAY, "ray": {"init": {"address": "of.a.stranger:6379"}}}},
    "an environment": {"hydra.launcher": {**RAY, "ray": {"remote": {"runtime_env": {"pip": "evil"}}}}},
    "a secret": {"logger": None, "notes": "${oc.env:A_SECRET}"},
    "a secret by another name": {"a": "A_SECRET", "notes": "${oc.env:${a}}"},
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_a_sweeps_to_choose(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "x")
    with pytest.raises(ValueError, match=r"sweeps/s"):
        check(tmp_path, REFUSED[kind])


KEPT = {
    "nothing": {},
    "a folder of its own run": {"callbacks.x": {"dirpath": "TOP/runs/s/1/checkpoints"}},
    "runs in its own folder": {"paths.runs_dir": "TOP/sweeps/s/runs"},
    "what is asked of a cluster": {
        "hydra.launcher": {**SLURM, "partition": "gpu-a100", "mem_gb": 8, "additional_parameters": {}},
        "hydra.launcher.submitit_folder": "TOP/sweeps/launcher/2026-01-01_00-00-00/.submitit/%j",
    },
    "a cluster here": {"hydra.launcher": {**RAY, "ray": {"init": {"address": "auto"}, "remote": {"n": 1}}}},
}  # fmt: skip


@pytest.mark.parametrize("kind", KEPT)
def test_what_is_a_sweeps_to_choose(kind: str, tmp_path: Path) -> None:
    check(tmp_path, KEPT[kind])


def test_what_the_user_says_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = str(tmp_path / "home")
    check(tmp_path, {"paths.runs_dir": elsewhere}, own={"paths.runs_dir": elsewhere})
    check(tmp_path, {"callbacks.x": {"dirpath": "/big"}}, "+callbacks.x.dirpath=/big")
    check(
        tmp_path,
        {"hydra.launcher": {**SLURM, "setup": ["x"]}},
        own={"hydra.launcher": {**SLURM, "setup": ["x"]}},
    )
    monkeypatch.setenv("A_SECRET", "x")
    secret = {"notes": "${oc.env:A_SECRET}"}
    check(tmp_path, secret, "+notes=${oc.env:A_SECRET}")
    check(tmp_path, secret, own=secret)
    monkeypatch.setenv("GATEWISE_ENVIRONMENT", "A_SECRET")
    check(tmp_path, secret)
