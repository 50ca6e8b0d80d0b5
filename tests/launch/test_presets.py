"""Launchers and trainers of many devices: what they compose to, and what they say of what is missing."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from gatewise.cli.main import main
from gatewise.config.compose import compose
from gatewise.config.explain import explain
from gatewise.launch.ranks import number_of_processes


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["slurm", "ray"])
def test_a_launcher_that_is_not_installed_is_named(launcher, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    target = "hydra.launcher._target_=hydra_plugins.hydra_nosuch_launcher.its.Launcher"
    assert main(["train", f"launcher={launcher}", target, "model=gru"]) == 1
    name = "hydra-nosuch-launcher"
    line = f"hydra.launcher: takes {name}, which is not installed here: pip install {name}"
    assert capsys.readouterr().err == f"gatewise: error: {line}\n"


def test_other_errors_of_plugins_are_left_to_them():
    assert explain(RuntimeError("Unknown plugin class : 'elsewhere.Launcher'")) is None


@pytest.mark.parametrize(("trainer", "settings"), [("fsdp", ("fsdp", -1, None)), ("ddp", ("ddp", -1, 1.0))])
def test_presets_of_several_gpus(trainer, settings, monkeypatch):
    config = compose("train", [f"trainer={trainer}"]).trainer
    assert (config.strategy, config.devices, config.gradient_clip_val) == settings
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(
        ValueError, match=r"trainer\.accelerator=gpu: no CUDA GPU is visible here; use trainer=cpu"
    ):
        number_of_processes(config)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert number_of_processes(config) == 4


TORCHRUN = [
    # variables of torchrun, devices, machines
    ({}, 1, 1),
    ({"LOCAL_WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "1"}, 4, 1),
    ({"LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "3"}, 2, 3),
]


@pytest.mark.parametrize(("environment", "devices", "machines"), TORCHRUN)
def test_torchrun_says_how_many(environment, devices, machines, monkeypatch):
    for name in ("LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    config = compose("train", ["trainer=torchrun", "trainer.accelerator=cpu"]).trainer
    config = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    assert (config.devices, config.num_nodes, config.strategy) == (devices, machines, "ddp")
    assert number_of_processes(config) == devices
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    config.devices = 7
    with pytest.raises(ValueError, match=f"torchrun has started {devices} processes on {machines} here"):
        number_of_processes(config)


def test_several_machines_take_torchrun(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    config = compose("train", ["+trainer.num_nodes=2"]).trainer
    with pytest.raises(
        ValueError, match=r"on trainer\.num_nodes=2 machines: torchrun has started 1 processes on 1"
    ):
        number_of_processes(config)
