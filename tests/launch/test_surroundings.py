"""What is in the environment that libraries would stumble over."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from gatewise.launch.alone import stand_alone
from gatewise.launch.surroundings import NO_HOME, settle_surroundings

QUIET = {"WANDB_ERROR_REPORTING": "false"}
PLAIN = {"HOME": "/root", "USER": "me", **QUIET}
TORCHRUN = {
    **{"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},
    **{"MASTER_ADDR": "here", "MASTER_PORT": "29400", "LOCAL_WORLD_SIZE": "2"},
}


@pytest.mark.parametrize("backend", ["agg", "TkAgg", "module://mine", "MacOSX"])
def test_what_is_right_stays(backend: str) -> None:
    environment = {**PLAIN, "MPLBACKEND": backend, "PL_GLOBAL_SEED": "1"}
    before = dict(environment)
    assert settle_surroundings(environment) == []
    assert environment == before


def test_what_is_not_used_is_said() -> None:
    environment = {**PLAIN, "MPLBACKEND": "nope", "PL_TRAINER_MAX_STEPS": "1", "WANDB_SERVICE": "gone"}
    assert settle_surroundings(environment) == [
        "MPLBACKEND=nope is not used: matplotlib has no such backend",
        "PL_TRAINER_MAX_STEPS=1 is not used: give trainer.max_steps=... instead",
    ]
    assert environment == PLAIN


@pytest.mark.parametrize(("home", "lines"), [(None, 0), ("", 0), ("relative", 1), ("~", 1)])
def test_a_home_that_is_none_is_the_users(
    home: str | None, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pwd.getpwuid", lambda _: SimpleNamespace(pw_dir="/home/me"))
    environment = {"USER": "me"} if home is None else {"USER": "me", "HOME": home}
    assert len(settle_surroundings(environment)) == lines
    assert environment == {"USER": "me", "HOME": "/home/me", **QUIET}


def test_reports_to_the_makers_of_wandb_are_the_users_to_ask_for() -> None:
    for given, kept in ((None, "false"), ("true", "true")):
        environment = (
            {"HOME": "/root"} if given is None else {"HOME": "/root", "WANDB_ERROR_REPORTING": given}
        )
        settle_surroundings(environment)
        assert environment["WANDB_ERROR_REPORTING"] == kept


def test_two_variables_that_contradict_each_other() -> None:
    one, other = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    environment = {**PLAIN, one: "1", other: "TRUE"}
    assert settle_surroundings(environment) == [f"{other} is not used: {one} says the opposite"]
    assert environment == {**PLAIN, one: "1"}
    for alone in ({one: "1"}, {other: "1"}, {one: "0", other: "1"}):
        environment = {**PLAIN, **alone}
        assert settle_surroundings(environment) == []
        assert environment == {**PLAIN, **alone}


def test_the_backends_are_those_of_matplotlib() -> None:
    from matplotlib.backends import backend_registry

    for name in backend_registry.list_builtin():
        assert settle_surroundings({**PLAIN, "MPLBACKEND": name}) == []


def test_a_user_who_is_nobody_has_a_home_and_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    environment: dict[str, str] = {}
    assert settle_surroundings(environment) == []
    assert environment["HOME"] == NO_HOME
    assert environment["LOGNAME"].isdecimal()


@pytest.mark.parametrize(("options", "code"), [("error", 0), ("default", 0), ("e::UserWarning", 0)])
def test_warnings_that_are_errors_are_softened(options: str, code: int) -> None:
    words = (
        "import warnings; from gatewise.launch.surroundings import *; settle_surroundings(); "
        "warnings.warn('x', DeprecationWarning); warnings.warn('y', UserWarning)"
    )
    result = subprocess.run(
        [sys.executable, "-W", options, "-c", words], capture_output=True, text=True, check=False
    )
    assert result.returncode == code
    assert "UserWarning: y" in result.stderr


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT", "LOCAL_WORLD_SIZE"])
@pytest.mark.parametrize("value", ["", "a", "-1", "1.5", "٣", "9" * 30, " 1"])
def test_what_torchrun_does_not_set(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"unset TORCHELASTIC_RUN_ID$"):
        stand_alone("train", {**TORCHRUN, name: value})


@pytest.mark.parametrize(
    "changed", [{"RANK": "2"}, {"WORLD_SIZE": "0"}, {"MASTER_PORT": "0"}, {"MASTER_PORT": "65536"}]
)
def test_numbers_that_contradict_each_other(changed: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"unset TORCHELASTIC_RUN_ID$"):
        stand_alone("train", {**TORCHRUN, **changed})


def test_what_torchrun_sets() -> None:
    environment = dict(TORCHRUN)
    stand_alone("train", environment)
    assert environment == TORCHRUN
    # Other verbs are no part of a group.
    stand_alone("evaluate", environment)
    assert environment == {"TORCHELASTIC_RUN_ID": "x"}
