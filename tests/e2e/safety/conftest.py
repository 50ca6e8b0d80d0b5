"""A run as somebody has sent it, in the working folder of a user who has files of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from strangers import FAST
from workplace import Place

from gatewise.runs.run import Run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that was trained for an epoch."""
    place = Place(tmp_path_factory.mktemp("trained") / "work")
    place.ok("train", "trainer.max_epochs=1", *FAST)
    return place.last().folder


@pytest.fixture
def attacked(trained: Path, place: Place) -> Run:
    """A run ``runs/r``, a copy to be edited, beside the user's own ``mine/best.ckpt``."""
    shutil.copytree(trained, place.folder / "runs" / "r")
    (place.folder / "mine").mkdir()
    (place.folder / "mine" / "best.ckpt").write_text("mine\n")
    return Run(place.folder / "runs" / "r")
