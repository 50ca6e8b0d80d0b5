"""A training that is killed in the middle of a write leaves nothing that the next one does not remove."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from workplace import Place, finish

FAST = ("trainer.limit_train_batches=2", "trainer.limit_val_batches=2", "test=false")

DIES = """
import os, signal
import pytorch_lightning as pl

class Dies(pl.Callback):
    "Kills the process as a checkpoint is written."
    def on_train_epoch_start(self, trainer, task):
        if trainer.current_epoch == 1:
            os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_what_a_kill_in_the_middle_of_a_write_left_is_removed(place: Place, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    (place.folder / "dies.py").write_text(DIES)
    found = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(place.folder))))
    where = {"TMPDIR": str(temporary), "PYTHONPATH": found}
    settings = ("wandb.mode=offline", *FAST)
    process = place.start(
        "train", "trainer.max_epochs=3", *settings, "+callbacks.dies._target_=dies.Dies", **where
    )
    finish(process)
    assert process.returncode == -signal.SIGKILL
    run = place.last()
    left = [path.name for path in run.folder.rglob(".*.*") if path.is_file()]
    assert len(left) == 1, left
    assert list(temporary.glob("gatewise-*/tmp*wandb-media"))
    (run.folder / ".notes.txt.abcdefgh").touch()  # the user's
    out = finish(place.start("train", "resume=last", *settings, "+callbacks.dies=null", **where))
    assert run.state() == "done", out
    assert [path.name for path in run.folder.rglob(".*.*") if path.is_file()] == [".notes.txt.abcdefgh"]
    assert [
        path.name for path in temporary.iterdir() if "wandb-" in path.name or "gatewise" in path.name
    ] == []
