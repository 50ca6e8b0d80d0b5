"""What W&B is told: the config before the environment before names of Gatewise's own."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from gatewise.config.wandb import SETTLED, VARIABLES, Trial, settle, warn_of_environment

CHOICES: dict[str, str | None] = {"model": "gru"}


def config(**given: Any) -> DictConfig:
    node = {name: f"${{wandb.{name}}}" for name in VARIABLES}
    return OmegaConf.create(
        {
            "name": "text/mine",
            "seed": 3,
            "wandb": {**dict.fromkeys(VARIABLES), **given},
            "logger": {"wandb": {"_target_": "gatewise.training.wandb.make_logger", **node}},
        }
    )


def settled(environment: dict[str, str], trial: Trial | None = None, **given: Any) -> dict[str, Any]:
    made = config(**given)
    settle(made, CHOICES, environment, trial)
    plain: Any = OmegaConf.to_container(made.logger.wandb, resolve=True)
    assert plain.pop("_target_")
    assert plain == OmegaConf.to_container(made.wandb)
    return {name: value for name, value in plain.items() if value not in (None, [])}


OWN = {
    "mode": "offline",
    "project": "gatewise",
    "group": "text/mine",
    "job_type": "train",
    "name": "text/mine gru seed 3",
}


def test_alone() -> None:
    assert settled({}) == OWN


@pytest.mark.parametrize(
    ("variable", "text", "setting", "value"),
    [
        ("WANDB_MODE", "online", "mode", "online"),
        ("WANDB_MODE", "dryrun", "mode", "offline"),
        ("WANDB_MODE", "disabled", "mode", "disabled"),
        ("WANDB_DISABLED", "true", "mode", "disabled"),
        ("WANDB_PROJECT", "mine", "project", "mine"),
        ("WANDB_ENTITY", "me", "entity", "me"),
        ("WANDB_NAME", "n", "name", "n"),
        ("WANDB_RUN_GROUP", "g", "group", "g"),
        ("WANDB_JOB_TYPE", "j", "job_type", "j"),
        ("WANDB_TAGS", "a, b,,a", "tags", ["a", "b"]),
        ("WANDB_NOTES", "what\nelse", "notes", "what\nelse"),
        ("WANDB_RUN_ID", "abc", "id", "abc"),
    ],
)
def test_the_environment_where_the_config_says_nothing(
    variable: str, text: str, setting: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert settled({variable: text}) == {**OWN, setting: value}
    assert settled({variable: ""}) == OWN
    assert caplog.messages == []
    if setting != "mode":
        given_value = ["x"] if setting == "tags" else "x"
        assert settled({variable: text}, **{setting: given_value}) == {**OWN, setting: given_value}
        shown = "a,b" if setting == "tags" else text
        assert caplog.messages == [f"{variable}={shown} is not used: wandb.{setting}=x is given"]


def test_a_given_mode_wins(caplog: pytest.LogCaptureFixture) -> None:
    environment = {"WANDB_MODE": "online", "WANDB_PROJECT": "p", "WANDB_DIR": "/x", "WANDB_RESUME": "must"}
    assert settled(environment, mode="disabled")["mode"] == "disabled"
    assert caplog.messages == ["WANDB_MODE=online is not used: wandb.mode=disabled is given"]
    caplog.clear()
    assert settled(environment, mode="online")["project"] == "p"
    assert caplog.messages == [
        "WANDB_DIR=/x is not used: W&B's files are in the run directory",
        "WANDB_RESUME=must is not used: a training that is resumed goes on in its own W&B run",
    ]


@pytest.mark.parametrize(
    ("environment", "given", "message"),
    [
        ({"WANDB_MODE": "of"}, {}, "WANDB_MODE='of' is unknown"),
        ({"WANDB_PROJECT": "a/b"}, {}, "WANDB_PROJECT=a/b: W&B allows no / in it"),
        ({}, {"project": "a:b"}, "wandb.project=a:b: W&B allows no : in it"),
        ({"WANDB_RUN_ID": "a#b"}, {}, "WANDB_RUN_ID=a#b: W&B allows no # in it"),
        ({"WANDB_TAGS": "x" * 65}, {}, "WANDB_TAGS: xxxxxxxxxxxxxxxxxxxx... has 65 characters"),
        ({}, {"name": "x" * 129}, "wandb.name=xxxxxxxxxxxxxxxxxxxx... has 129 characters"),
        ({}, {"tags": ["a", ""]}, "wandb.tags must be a word, got ''"),
        ({}, {"tags": ""}, "wandb.tags must be a word, got ''"),
        ({}, {"tags": [None]}, "wandb.tags must be a word, got None"),
        ({}, {"tags": [["a"]]}, "wandb.tags must be a word, got ['a']"),
        ({}, {"tags": {"a": 1}}, "wandb.tags must be a word, got {'a': 1}"),
    ],
)
def test_what_wandb_does_not_take(environment: dict[str, str], given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        settled(environment, **given)


TAG = st.one_of(
    st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=64),
    st.integers(-999, 999),
    st.floats(-9, 9),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(TAG, max_size=4))
def test_tags_are_words_each_once(tags: list[Any]) -> None:
    expected = list(dict.fromkeys(str(tag) for tag in tags))
    assert settled({}, tags=tags).get("tags", []) == expected
    if len(tags) == 1:
        assert settled({}, tags=tags[0])["tags"] == expected


def test_a_trial_of_a_sweep(caplog: pytest.LogCaptureFixture) -> None:
    trial = Trial.of(OmegaConf.create({"folder": "/w/sweeps/text/mine/now", "trial": 4}), "/w/sweeps")
    own = {
        **OWN,
        "group": "text/mine/now",
        "job_type": "trial 4",
        "name": "text/mine gru seed 3 trial 4",
        "tags": ["trial 4"],
    }
    assert settled({}, trial) == own
    assert settled({}, trial, name="n", group="g", tags="t") == {
        **own,
        "name": "n",
        "group": "g",
        "tags": ["t", "trial 4"],
    }
    assert "tags" not in settled({}, trial, tags=[])
    assert caplog.messages == []
    assert settled({"WANDB_RUN_ID": "same"}, trial) == own
    assert caplog.messages == ["WANDB_RUN_ID=same is not used: each training of a sweep is a run of its own"]


def test_a_long_name_is_cut_where_wandb_would_refuse_it() -> None:
    made = config()
    made.name = "x" * 200
    settle(made, CHOICES, {}, None)
    assert made.wandb.name == "x" * 117 + " gru seed 3"


def test_a_resumed_run_stays_what_it_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    made = config(mode="offline", project="gatewise", tags=[])
    before = made.copy()
    environment = dict.fromkeys(SETTLED, "online")
    warn_of_environment(made, environment)
    assert made == before
    assert "WANDB_MODE=online is not used: wandb.mode=offline is this run's" in caplog.messages
    assert "WANDB_RUN_ID=online is not used: a training that is resumed goes on in its own W&B run" in (
        caplog.messages
    )
    caplog.clear()
    warn_of_environment(made, {"WANDB_MODE": "offline"})
    assert caplog.messages == []


def test_without_wandb_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    made = config()
    made.logger = {}
    settle(made, CHOICES, {"WANDB_MODE": "nonsense", "WANDB_DIR": "/x"}, None)
    assert caplog.messages == []
    assert made.wandb.mode is None
