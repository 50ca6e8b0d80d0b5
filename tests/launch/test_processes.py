"""How many processes a training may have, and by which network they meet."""

from __future__ import annotations

import socket

import pytest
from omegaconf import DictConfig, OmegaConf

from gatewise.launch.ranks import number_of_processes


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCAL_RANK", "TORCHELASTIC_RUN_ID", "GLOO_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("gatewise.launch.devices.usable_cores", lambda: 2)


def trainer(devices: object, strategy: str = "ddp") -> DictConfig:
    return OmegaConf.create({"accelerator": "cpu", "devices": devices, "strategy": strategy})


@pytest.mark.parametrize("devices", [1, 2, 8, 16])
def test_a_laptop_may_try_as_many_as_a_server_has(devices: int) -> None:
    assert number_of_processes(trainer(devices)) == devices


@pytest.mark.parametrize("devices", [17, 1000, "9" * 100])
def test_more_are_said_how_to_start(devices: object) -> None:
    with pytest.raises(ValueError, match="at most 16 processes, or start more with torchrun"):
        number_of_processes(trainer(devices))


def test_those_that_torchrun_started_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "64")
    assert number_of_processes(trainer(64)) == 64


@pytest.mark.parametrize("given", ["nonsense0", "lo,nonsense0", "^lo"])
def test_a_network_that_is_not_there(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0")])
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", given)
    with pytest.raises(ValueError, match=r"no network interface .* here \(lo, eth0\)"):
        number_of_processes(trainer(2))
    assert number_of_processes(trainer(1)) == 1


@pytest.mark.parametrize("given", ["", "lo", "lo,eth0"])
def test_one_that_is(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0")])
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", given)
    assert number_of_processes(trainer(2)) == 2
