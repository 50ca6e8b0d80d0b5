"""Run directories that were damaged or are another program's: one line that names the file, and no change."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from workplace import Place

DAMAGED = {
    "facts.json": (b"[1]", "facts.json: must hold {...}, got a list"),
    "config.yaml": (b"", "config.yaml: not a Gatewise run's config (it has no task, data, model, trainer)"),
    "overrides.yaml": (b"- 1\n", "overrides.yaml: must hold settings"),
    "checkpoints/best.ckpt": (
        b"PK\x03\x04",
        "best.ckpt: damaged or no checkpoint; train again, or evaluate, predict and inspect with "
        "checkpoint=last",
    ),
}


class Runs:
    """Makes a folder where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("ran",)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("trained") / "work")
    place.train("trainer.max_epochs=1", "trainer.limit_train_batches=2", "test=false")
    return place


@pytest.fixture
def copied(trained: Place, tmp_path: Path) -> Place:
    shutil.copytree(trained.folder, tmp_path / "work", symlinks=True)
    return Place(tmp_path / "work")


@pytest.mark.parametrize("name", DAMAGED)
def test_evaluate_names_the_damaged_file(name: str, copied: Place) -> None:
    content, message = DAMAGED[name]
    (copied.last().folder / name).write_bytes(content)
    result = copied("evaluate", "run=last")
    assert result.code == 1
    assert message in result.line()
    assert str(copied.last().folder) in result.line()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("status.json", b"{}", "status.json: state must be one of"),
        ("overrides.yaml", b"overrides: [", "overrides.yaml:1: not YAML"),
        ("metrics.csv", b"time,value\n0,1\n", "metrics.csv:1: there is no column epoch"),
        ("checkpoints/last.ckpt", b"", "last.ckpt: damaged"),
    ],
)
def test_resume_names_the_damaged_file(name: str, content: bytes, message: str, copied: Place) -> None:
    (copied.last().folder / name).write_bytes(content)
    result = copied("train", "resume=last", "trainer.max_epochs=2")
    assert result.code == 1
    assert message in result.err


def test_a_checkpoint_with_code_is_refused(copied: Place) -> None:
    path = copied.last().checkpoint("best")
    torch.save({**torch.load(path, weights_only=True), "more": Runs()}, path)
    result = copied("evaluate", "run=last")
    assert (result.code, list(copied.folder.glob("**/ran"))) == (1, [])
    assert (
        "best.ckpt: holds code, refused; train again, or evaluate, predict and inspect with checkpoint=last"
        in result.line()
    )
    copied.ok("evaluate", "run=last", "checkpoint=last")


def test_a_folder_of_another_program_is_named(place: Place) -> None:
    (place.folder / "other").mkdir()
    (place.folder / "other" / "config.yaml").write_text("batch_size: 3\n")
    for argv in (["evaluate", "run=other"], ["train", "resume=other"]):
        result = place(*argv)
        assert result.code == 1
        assert "other/config.yaml: not a Gatewise run's config" in result.line()


def test_a_reference_that_is_a_number(place: Place) -> None:
    assert "run=123: not a run directory" in place("evaluate", "run=123").line()
