"""Bad inputs by kind: each works completely, or is refused in one line with nothing left behind.

``make test`` tries a sample, ``make test-slow`` all of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from harness import Ground, Input, snapshot
from inputs_environment import of_environments
from inputs_files import of_checkpoints, of_data_files, of_run_fields, of_run_files
from inputs_settings import FAST, KINDS, of_commands, of_drawn_commands, of_settings, of_sweeps
from workplace import Place, write_user_files

KINDS_OF_INPUT: dict[str, Callable[[Place], Iterable[Input]]] = {
    "settings": lambda place: of_settings(place, 340),
    "sweeps": lambda _: of_sweeps(),
    "commands": lambda _: of_commands(),
    "drawn commands": lambda _: of_drawn_commands(80),
    "data files": lambda _: of_data_files(),
    "run files": lambda _: of_run_files(),
    "run fields": lambda place: of_run_fields(place.folder, 240),
    "checkpoints": lambda _: of_checkpoints(),
    "environments": lambda _: of_environments(),
}


def _settled(place: Place, runs: str) -> Place:
    """A user's working folder: files of each kind of data, and runs of them."""
    write_user_files(place.folder)
    fast = [word for word in FAST if "timer" not in word]
    for name, kind in zip(runs, KINDS.values(), strict=False):
        place.ok("train", *fast, *kind)
        place.last().folder.rename(place.folder / "runs" / name)
    last = place.folder / "runs" / "last"
    last.unlink()
    last.symlink_to("r")
    (place.folder / "runs" / "x").rmdir()
    return place


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return _settled(Place(tmp_path_factory.mktemp("user") / "work"), "rst")


def _listed_failures(user: Place, folder: Path, inputs: Iterable[Input]) -> str:
    """The failures of inputs, as a text; none may change what they are copied from."""
    before = snapshot(user.folder)
    failures = Ground(folder, user.folder).failures(inputs)
    if snapshot(user.folder) != before:
        failures.append("something has changed what the inputs are copied from")
    count = f"{len(failures)} inputs were answered wrongly:\n" if failures else ""
    return count + "\n".join(failures)


QUICK = {"settings": 3, "commands": 3, "run files": 4, "checkpoints": 2, "data files": 2}


def test_a_sample(place: Place, tmp_path: Path) -> None:
    """Those that do not train: they take a quarter of a second."""
    user = _settled(place, "r")
    draw = random.Random(1)
    inputs = []
    for name, count in QUICK.items():
        kind = (
            KINDS_OF_INPUT[name](user) if name != "settings" else of_settings(user, 340, presets=["speech"])
        )
        short = [i for i in kind if i.argv[:1] != ("train",) or (i.right == "refused" and name == "settings")]
        inputs += draw.sample(short, count)
    failures = _listed_failures(user, tmp_path, inputs)
    assert not failures, failures


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS_OF_INPUT)
def test_all(kind: str, user: Place, tmp_path: Path) -> None:
    failures = _listed_failures(user, tmp_path, KINDS_OF_INPUT[kind](user))
    assert not failures, failures


@pytest.mark.slow
def test_they_are_many_and_each_has_its_name(user: Place) -> None:
    names = [each.name for make in KINDS_OF_INPUT.values() for each in make(user)]
    assert len(names) >= 1000
    assert len(set(names)) == len(names)


WRONG = {
    "traceback": ("echo 'Traceback (most recent call last)' >&2; exit 1", "traceback"),
    "nothing wrong": ("true", "exit 0"),
    "bug": ("echo x >&2; exit 70", "exit code 70"),
    "signal": ("echo x >&2; kill -9 $$", "exit code -9"),
    "no line": ("exit 1", "0 lines"),
    "two lines": ("printf 'a\\nb\\n' >&2; exit 1", "2 lines"),
    "a line and a half": ("printf 'a\\nb' >&2; exit 1", "2 lines"),
    "escape code": ("printf '\\033[31m'; echo x >&2; exit 1", "in stdout"),
    "cursor": ("printf 'a\\rb\\n' >&2; exit 1", "in stderr"),
    "stray file": ("touch stray; echo x >&2; exit 1", "work/stray"),
    "stray elsewhere": ("touch ../elsewhere/deep/x; echo x >&2; exit 1", "elsewhere/deep/x"),
    "temporary file": ("touch $TMPDIR/x; echo x >&2; exit 1", "tmp/x"),
    "dotfile": ("echo x >> ~/.bashrc; echo x >&2; exit 1", "changed home/.bashrc"),
    "mode": ("chmod 600 ../elsewhere/precious.txt; echo x >&2; exit 1", "changed elsewhere/precious.txt"),
    "deleted": ("rm ../elsewhere/link; echo x >&2; exit 1", "deleted elsewhere/link"),
    "user's file": ("echo x >> mine.ts; echo x >&2; exit 1", "changed work/mine.ts"),
    "run left": ("mkdir runs/n; touch runs/n/config.yaml; echo x >&2; exit 1", "without a status"),
    "process": ("setsid sleep 60 >/dev/null 2>&1 & echo x >&2; exit 1", "left 1 processes: sleep 60"),
    "claim": ("echo 'Run directory  runs/new'; echo x >&2; exit 1", "which is not there"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_noticed(what: str, tmp_path: Path) -> None:
    template = tmp_path / "template"
    (template / "runs").mkdir(parents=True)
    (template / "mine.ts").write_text("mine")
    line, noticed = WRONG[what]
    (failure,) = Ground(tmp_path, template).tried(Input(what, shell=line, right="refused"))
    assert noticed in failure.splitlines()[0]


def test_what_is_right_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "template").mkdir()
    ground = Ground(tmp_path, tmp_path / "template")
    refused = Input("refused", shell="echo 'gatewise: error: x' >&2; exit 1", right="refused")
    works = Input("works", shell="mkdir -p ~/.cache/x; echo fine", right="works")
    assert ground.failures([refused, works]) == []
    assert os.listdir(tmp_path) == ["template"]  # noqa: PTH208


def test_what_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.HANGS_AFTER", 0.1)
    (tmp_path / "template").mkdir()
    (failure,) = Ground(tmp_path, tmp_path / "template").tried(Input("hangs", shell="sleep 60"))
    assert "still ran after" in failure
