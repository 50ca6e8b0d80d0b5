"""Disks that are full, or that may be read alone."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from workplace import Place, finish, wait_for_line

from gatewise.runs.checkpoints import read_checkpoint
from gatewise.runs.metrics import read_metrics

LONG = ["trainer.max_epochs=300", "callbacks.early_stopping.patience=300"]


@pytest.fixture
def mount(place: Place) -> Iterator[Callable[..., None]]:
    """Mounts a small file system where the runs go, or mounts it again with other options."""
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    folder = place.folder / "runs"
    folder.mkdir()

    def on(*options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"cannot mount: {done.stderr.strip()}")

    yield on
    while os.path.ismount(folder):
        subprocess.run(["umount", "-l", str(folder)], check=True)


FILLING = """
import contextlib
import pytorch_lightning as pl

class Fills(pl.Callback):
    "Fills the disk, and leaves the rest to the training."
    def on_train_epoch_start(self, trainer, task):
        if trainer.current_epoch == 2:
            with open("runs/filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
                while filler.write(b"0" * 4096):
                    pass
"""


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


def test_a_disk_that_fills_up_ends_a_training_in_one_line(
    place: Place, mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount("size=4m")
    (place.folder / "filling.py").write_text(FILLING)
    monkeypatch.syspath_prepend(place.folder)
    result = place("train", "wandb.mode=disabled", *LONG, "+callbacks.mine._target_=filling.Fills")
    assert result.code == 1, result.err
    assert_it_goes_on(place, result.err, "+callbacks.mine=null")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["disabled", "offline"])
def test_a_disk_that_fills_up_at_any_moment(mode: str, place: Place, mount) -> None:
    mount("size=4m")
    process = place.start("train", f"wandb.mode={mode}", *LONG)
    wait_for_line(process, "epoch 2/")
    with (place.folder / "runs" / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(b"0" * 4096):
            pass
    out = finish(process)
    assert process.returncode == 1, out
    assert_it_goes_on(place, out)


def assert_it_goes_on(place: Place, out: str, *settings: str) -> None:
    run = place.last()
    assert "Traceback" not in out, out
    assert lines(out)[-1].startswith(f"gatewise: error: {run.folder}/"), out
    assert lines(out)[-1].endswith("No space left on device")
    # What was written before is whole, and the training goes on from there once there is room.
    last = read_checkpoint(run.checkpoint("last"))
    epochs = int(last["epoch"]) + 1
    assert run.state() in ("failed", "interrupted")
    assert len(read_metrics(run.metrics_file)) in (epochs, epochs + 1)
    (place.folder / "runs" / "filler").unlink()
    place.ok("train", "resume=last", f"trainer.max_epochs={epochs + 2}", "wandb.mode=disabled", *settings)
    assert (run.state(), len(read_metrics(run.metrics_file))) == ("done", epochs + 2)


@pytest.mark.slow
def test_a_run_directory_that_may_only_be_read(place: Place, mount) -> None:
    mount("size=20m")
    run = place.train("trainer.max_epochs=1", "trainer.limit_train_batches=2")
    before = place.ok("evaluate", "run=last").out
    mount("remount", "ro", "size=20m")
    assert place.ok("evaluate", "run=last").out == before
    assert place.ok("predict", "run=last", f"input={run.folder}/example.npy").out
    assert run.state() == "done"
    result = place("train", "resume=last", "trainer.max_epochs=2", "wandb.mode=disabled")
    assert (result.code, result.line()) == (1, f"gatewise: error: {run.folder}/.lock: Read-only file system")
    result = place("train", "wandb.mode=disabled", "trainer.max_epochs=1")
    assert result.code == 1
    assert result.line().startswith(f"gatewise: error: {place.folder}/runs/speech/japanese_vowels/")
    assert result.line().endswith(": Read-only file system")
    assert place.runs() == [Path(run.folder)]
