"""Every setting of a training with a value of every kind: it passes, or one line says what is wrong."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf, open_dict
from workplace import Place, write_user_files

from gatewise.config.check import check_parts
from gatewise.config.compose import compose
from gatewise.config.explain import explain

VALUES = [-1, 0, math.inf, math.nan, 10**30, "abc", None, True, [], {}, 0.5, ""]
EXPERIMENTS = {
    "speech": [],
    "series": ["experiment=series/sunspots", "scheduler=plateau", "optimizer=sgd"],
    "text": ["experiment=text/king_james", "scheduler=cosine", "trainer=ddp_cpu"],
}
NOT_OURS = ("sweep", "resume", "resume_from", "paths", "wandb", "name")
"""Sections that other code looks at."""


@cache
def composed(experiment: str) -> DictConfig:
    return compose("train", EXPERIMENTS[experiment])


def leaves(node: Any, key: str = "") -> Iterator[str]:
    for name in node:
        path = f"{key}.{name}".lstrip(".")
        child = OmegaConf.to_container(node, resolve=False)[name]
        if isinstance(child, dict):
            yield path
            yield from leaves(node[name], path)
        elif path.partition(".")[0] not in NOT_OURS:
            yield path


def cases() -> list[tuple[str, str, int]]:
    found: list[tuple[str, str, int]] = []
    seen: set[str] = set()
    for experiment in EXPERIMENTS:
        for key in leaves(composed(experiment)):
            if key.partition(".")[0] in NOT_OURS or key in seen:
                continue
            seen.add(key)
            found += [(experiment, key, index) for index in range(len(VALUES))]
    return found


def refusal(experiment: str, key: str, value: Any) -> str | None:
    """What is said about a value; None where it passes."""
    config = copy.deepcopy(composed(experiment))
    with open_dict(config):
        OmegaConf.update(config, key, value, merge=False)
    try:
        check_parts(config, {"task": "x", "data": "y"})
    except ValueError as error:
        return str(error)
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        return line
    return None


def check(experiment: str, key: str, index: int) -> None:
    said = refusal(experiment, key, VALUES[index])
    if said is not None:
        assert "\n" not in said
        assert said
        assert len(said) < 900, said


def test_every_setting_by_kind() -> None:
    """A sample: each setting with some of the values."""
    every = cases()
    assert len(every) > 1000
    for case in every[::37]:
        check(*case)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_every_setting_with_every_value(part: int) -> None:
    for case in cases()[part::4]:
        check(*case)


NUMBERS = (
    "optimizer.lr",
    "task.dropout",
    "model.hidden_size",
    "data.batch_size",
    "trainer.max_epochs",
    "seed",
)


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", [math.inf, math.nan, 10**60, "abc", -5, [], {}])
def test_a_number_is_a_number(key: str, value: Any) -> None:
    said = refusal("speech", key, value)
    assert said is not None
    assert said.startswith(key)


@pytest.mark.slow
@pytest.mark.parametrize("case", cases()[::29], ids=lambda case: f"{case[1]}={VALUES[case[2]]}")
def test_what_passes_trains_or_is_one_line(place: Place, case: tuple[str, str, int]) -> None:
    experiment, key, index = case
    if refusal(experiment, key, VALUES[index]) is not None or key == "threads":
        return
    write_user_files(place.folder)
    text = (
        {None: "null", True: "true"}.get(VALUES[index], VALUES[index])
        if not isinstance(VALUES[index], (list, dict))
        else str(VALUES[index])
    )
    fast = [f"trainer.limit_{split}_batches=1" for split in ("train", "val", "test")]
    fast += ["logger=none", "trainer.max_epochs=1", "model.hidden_size=4"]
    words = [word for word in fast if word.partition("=")[0] != key]
    result = place("train", *EXPERIMENTS[experiment], *words, f"{key}={text if text != '' else repr('')}")
    assert result.code in (0, 1), result.err
    assert "Traceback" not in result.err
    if result.code == 1:
        result.line()
