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
    "settings": lambda place: of_settings(place, 420),
    "sweeps": lambda _: of_sweeps(),
    "commands": lambda _: of_commands(),
    "drawn commands": lambda _: of_drawn_commands(80),
    "data files": lambda _: of_data_files(),
    "run files": lambda _: of_run_files(),
    "run fields": lambda place: of_run_fields(place.folder, 240),
    "checkpoints": lambda _: of_checkpoints(),
    "environments": lambda _: of_environments(),
}


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A user's working folder: files of each kind of data, and a run of each."""
    place = Place(tmp_path_factory.mktemp("user") / "work")
    write_user_files(place.folder)
    fast = [word for word in FAST if "max_time" not in word]
    for name, kind in zip("rst", KINDS.values(), strict=True):
        place.ok("train", *fast, *kind)
        run = place.last().folder
        run.rename(place.folder / "runs" / name)
    last = place.folder / "runs" / "last"
    last.unlink()
    last.symlink_to("r")
    (place.folder / "runs" / "x").rmdir()
    return place


@pytest.fixture
def ground(user: Place, tmp_path: Path) -> Iterable[Ground]:
    before = snapshot(user.folder)
    yield Ground(tmp_path, user.folder)
    assert snapshot(user.folder) == before, "what the inputs are copied from has changed"


def _listed(failures: list[str]) -> str:
    return f"{len(failures)} inputs were answered wrongly:\n" + "\n".join(failures)


def test_a_sample(user: Place, ground: Ground) -> None:
    draw = random.Random(1)
    quick = {"settings": 6, "commands": 8, "run files": 8, "checkpoints": 4, "data files": 4}
    inputs = [
        each
        for name, count in quick.items()
        for each in draw.sample([i for i in KINDS_OF_INPUT[name](user) if not i.is_fresh], count)
    ]
    failures = ground.failures(inputs)
    assert not failures, _listed(failures)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS_OF_INPUT)
def test_all(kind: str, user: Place, ground: Ground) -> None:
    failures = ground.failures(KINDS_OF_INPUT[kind](user))
    assert not failures, _listed(failures)


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
    monkeypatch.setattr("harness.HANGS_AFTER", 0.3)
    (tmp_path / "template").mkdir()
    (failure,) = Ground(tmp_path, tmp_path / "template").tried(Input("hangs", shell="sleep 60"))
    assert "still ran after 0.3 s" in failure
