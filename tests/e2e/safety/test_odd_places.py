"""Working folders with strange names: a training works in them, or is refused before there is a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from workplace import Place, write_sequences

WORDS = ("train", "experiment=speech/features", "data.train_file=mine.ts", "logger=none", "name=x")


@pytest.mark.parametrize("name", ["a${oc.env:HOME}", os.fsdecode(b"a\xff")])
def test_a_folder_that_no_config_can_hold(place: Place, name: str) -> None:
    inside = Place(place.folder / name)
    write_sequences(inside.folder)
    result = inside(*WORDS)
    assert result.code == 1
    assert "a run can" in result.line()
    assert not (inside.folder / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a=b,[c]{d}$(touch PWNED) \"q'%s*?", "a\nb", "ü日 \t", "-m", r"a\b\'"])
def test_a_folder_that_it_works_in(place: Place, name: str) -> None:
    inside = Place(place.folder / name)
    write_sequences(inside.folder)
    fast = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "wandb.mode=offline")
    inside.ok("train", *WORDS[1:3], "name=x", *fast)
    inside.ok("evaluate", "run=last")
    inside.ok("predict", f"run={Path('runs', 'last')}", "input=mine.ts")
    assert not list(place.folder.glob("**/PWNED"))
