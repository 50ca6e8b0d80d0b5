"""Data read once for the trainings of a sweep."""

from __future__ import annotations

import pytest

from gatewise.config.compose import compose
from gatewise.training import shared_data as module
from gatewise.training.parts import make_data
from gatewise.training.shared_data import MOST, shared_data


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_kept", {})


def test_the_same_settings_of_the_same_sweep_share_it() -> None:
    first = shared_data(compose("train", ["model=lstm"]), "sweep")
    first.trainer = object()
    again = shared_data(compose("train", ["model=gru", "optimizer.lr=0.1"]), "sweep")
    assert again is first
    assert again.trainer is None
    assert again.facts is not None
    for argv, sweep in ([["seed=2"], "sweep"], [["data.scale=false"], "sweep"], [[], "another"]):
        assert shared_data(compose("train", argv), sweep) is not first


@pytest.mark.slow
def test_no_more_than_a_few_are_kept() -> None:
    seeds = range(1, MOST + 2)
    found = [shared_data(compose("train", [f"seed={seed}"]), "sweep") for seed in seeds]
    assert shared_data(compose("train", [f"seed={MOST + 1}"]), "sweep") is found[-1]
    assert shared_data(compose("train", ["seed=1"]), "sweep") is not found[0]
    assert len(module._kept) == MOST


@pytest.mark.parametrize(
    ("experiment", "shared"), [("series/sunspots", True), ("speech/japanese_vowels", False)]
)
def test_seeds_share_what_no_seed_decides(experiment: str, shared: bool) -> None:
    composed = [compose("train", [f"experiment={experiment}", f"seed={seed}"]) for seed in (1, 2)]
    first, second = (shared_data(config, "sweep") for config in composed)
    assert (first is second) == shared
    assert second.seed == 2
    # The order of the training examples is each seed's own all the same.
    orders = [list(shared_data(config, "sweep").train_dataloader().sampler) for config in composed]
    assert orders[0] != orders[1]
    assert orders == [list(make_data(config).train_dataloader().sampler) for config in composed]
