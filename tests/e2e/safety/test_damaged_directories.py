"""A run directory that was edited or damaged, end to end: one line that names the file, and no change."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from workplace import Place, Result

SHORT = ("trainer.limit_train_batches=2", "trainer.limit_val_batches=2", "trainer.limit_test_batches=2")
VERBS = {
    "evaluate": ("evaluate", "run=last"),
    "resume": ("train", "resume=last", "trainer.max_epochs=3"),
}
GIVEN = {"speech/japanese_vowels": "example.npy", "series/sunspots": "example.csv"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Place]:
    """A folder with a run of an experiment, trained once for all."""
    places: dict[str, Place] = {}

    def train(experiment: str) -> Place:
        if experiment not in places:
            places[experiment] = Place(tmp_path_factory.mktemp("trained") / "work")
            settings = ("logger=none", "trainer.max_epochs=1", "model.hidden_size=4", *SHORT)
            places[experiment].ok("train", f"experiment={experiment}", *settings)
        return places[experiment]

    return train


Edit = Callable[[Path], Any]


def written(name: str, content: str | bytes) -> Edit:
    data = content.encode() if isinstance(content, str) else content
    return lambda run: (run / name).write_bytes(data)


def fifo(name: str) -> Edit:
    def edit(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return edit


def facts(**values: Any) -> Edit:
    def edit(run: Path) -> None:
        stored = json.loads((run / "facts.json").read_text())
        (run / "facts.json").write_text(json.dumps({**stored, **values}))

    return edit


def config(key: str, value: Any) -> Edit:
    def edit(run: Path) -> None:
        stored = OmegaConf.load(run / "config.yaml")
        OmegaConf.update(stored, key, value, force_add=True)
        (run / "config.yaml").write_text(OmegaConf.to_yaml(stored))

    return edit


def checkpoints(change: Callable[[dict[str, Any]], Any]) -> Edit:
    def edit(run: Path) -> None:
        for path in (run / "checkpoints").glob("*.ckpt"):
            checkpoint = torch.load(path, weights_only=True)
            change(checkpoint)
            torch.save(checkpoint, path)

    return edit


def flipped(run: Path) -> None:
    for path in (run / "checkpoints").glob("*.ckpt"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 16
        path.write_bytes(content)


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
MANY = 10**6
SPEECH, SERIES = "speech/japanese_vowels", "series/sunspots"
QUICK: dict[str, tuple[str, str, Edit, str]] = {
    "a flipped bit": ("evaluate", SPEECH, flipped, "not what its checksum says"),
    "a million classes": (
        "evaluate", SPEECH, facts(classes=[*map(str, range(MANY))], class_counts=[1] * MANY), "json: class",
    ),
    "no global_step": ("resume", SPEECH, checkpoints(lambda c: c.pop("global_step")), "global_step must be"),
    "aliases": ("resume", SPEECH, written("overrides.yaml", BOMB), "overrides.yaml: not YAML (more than"),
    "a million layers": ("evaluate", SPEECH, config("model.num_layers", 10**6), "model.num_layers=1000000"),
}  # fmt: skip
SLOW: dict[str, tuple[str, str, Edit, str]] = {
    "a flipped bit, resumed": ("resume", SPEECH, flipped, "not what its checksum says"),
    "aliases, evaluated": ("evaluate", SPEECH, written("overrides.yaml", BOMB), "overrides.yaml: not YAML"),
    "no choices": ("resume", SPEECH, written("overrides.yaml", "overrides: []\nchoices: {}"), "choices lack"),
    "a number": ("evaluate", SPEECH, written("overrides.yaml", "5"), "overrides.yaml: not YAML (must hold"),
    "a lookback of 0": ("evaluate", SERIES, facts(lookback=0), "lookback must be at least 1, got 0"),
    "another lookback": ("evaluate", SERIES, facts(lookback=7), "lookback is 7, but config.yaml has"),
    "a horizon without end": ("evaluate", SERIES, facts(horizon=10**9), "facts.json: horizon"),
    "no targets": ("predict", SERIES, facts(targets=[]), "targets must have at least one name, got ()"),
    "no time step": ("predict", SERIES, facts(frequency="5000000 years"), "frequency must be a time step"),
    "counts of one class": ("predict", SPEECH, facts(class_counts=[1]), "class_counts must have a count for"),
    "a class twice": ("predict", SPEECH, facts(classes=["a"] * 9), "classes has 'a' twice"),
    "a mean too large": ("predict", SPEECH, facts(mean=[10**400] * 12), "mean must be"),
    "another hidden size": ("predict", SPEECH, config("model.hidden_size", 10**9), "model.hidden_size=1000"),
    "no optimizer": ("resume", SPEECH, checkpoints(lambda c: c.pop("optimizer_states")), "weights alone"),
    "callbacks, null": (
        "resume",
        SPEECH,
        checkpoints(lambda c: c.update(callbacks=None)),
        "callbacks must be",
    ),
    "no rows": ("resume", SPEECH, written("metrics.csv", ""), "metrics.csv: has no row"),
    **{
        f"a FIFO {name}, {verb}": (verb, SPEECH, fifo(name), f"{name.rpartition('/')[2]}: is a FIFO and")
        for name in ("checkpoints/last.ckpt", "facts.json", "metrics.csv", "log.txt", ".lock", "status.json")
        for verb in ("resume", "evaluate")
        if (name, verb) == ("facts.json", "evaluate") or verb == "resume"
    },
}


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def answered(place: Place, verb: str, experiment: str) -> Result:
    if verb == "predict":
        return place("predict", "run=last", f"input={place.last().folder / GIVEN[experiment]}")
    return place(*VERBS[verb])


def refused(trained: Callable[[str], Place], folder: Path, case: tuple[str, str, Edit, str]) -> None:
    verb, experiment, edit, message = case
    shutil.copytree(trained(experiment).folder, folder, symlinks=True)
    place = Place(folder)
    edit(place.last().folder)
    before = contents(folder)
    result = answered(place, verb, experiment)
    assert result.code == 1
    assert message in result.line()
    assert str(place.last().folder) in result.line() or "runs/" in result.line()
    assert contents(folder) == before


@pytest.mark.parametrize("case", QUICK.values(), ids=QUICK)
def test_it_is_refused_in_one_line(
    case: tuple[str, str, Edit, str], trained: Callable[[str], Place], tmp_path: Path
) -> None:
    refused(trained, tmp_path / "work", case)


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW.values(), ids=SLOW)
def test_others_are_refused_in_one_line(
    case: tuple[str, str, Edit, str], trained: Callable[[str], Place], tmp_path: Path
) -> None:
    refused(trained, tmp_path / "work", case)


@pytest.mark.slow
def test_a_run_whose_history_is_lost_still_evaluates(trained: Callable[[str], Place], tmp_path: Path) -> None:
    shutil.copytree(trained(SPEECH).folder, tmp_path / "work", symlinks=True)
    place = Place(tmp_path / "work")
    run = place.last().folder
    for name in ("status.json", "summary.json", "metrics.csv", ".lock", "checkpoints/last.ckpt"):
        fifo(name)(run)
    place.ok("evaluate", "run=last")
