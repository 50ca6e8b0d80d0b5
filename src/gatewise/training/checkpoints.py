"""Checkpoints that a reader or a crash at any moment finds whole."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins import TorchCheckpointIO

from gatewise.runs.checkpoints import best_path, kept_by, read_checkpoint, unusable
from gatewise.runs.files import replacing
from gatewise.runs.metrics import read_metrics
from gatewise.runs.run import Run
from gatewise.runs.seal import seal
from gatewise.runs.summary import best_row

_LIGHTNING = "pytorch-lightning_version"

AND_STOP = {"and_stop": True}
"""As ``storage_options``: raise KeyboardInterrupt once the checkpoint is written."""


@dataclass(frozen=True)
class Chosen:
    """The weights that a training ends with: which they are, and where."""

    path: Path | None
    """The best checkpoint; None where the training keeps none, and the last weights are taken."""
    words: str


def chosen(trainer: pl.Trainer, run: Run) -> Chosen:
    """The best weights of a training that has ended, as the first callback with a monitor says."""
    rows = read_metrics(run.metrics_file)
    epochs = f"of {int(rows[-1]['epoch'])}" if rows else ""
    callback = next((kept for kept in _kept_by_monitor(trainer)), None)
    if callback is None or callback.monitor is None:
        return Chosen(None, "last weights: no callback keeps the best")
    path = Path(callback.best_model_path) if callback.best_model_path else None
    last = run.checkpoints / "last.ckpt"
    if path is None and last.is_file():
        path = best_path(last)  # this process has trained nothing: the training had stopped before
    if path is None or not path.is_file():
        return Chosen(None, f"last weights: no checkpoint was kept by {callback.monitor}")
    best = best_row(rows, callback.monitor, callback.mode)
    if not best:  # a metric of single steps, of which metrics.csv has none
        return Chosen(path, f"best weights by {callback.monitor}")
    found = f"epoch {int(best['epoch'])} {epochs}, {callback.monitor} {best[callback.monitor]:.4g}"
    return Chosen(path, f"best weights: {found}")


def _kept_by_monitor(trainer: pl.Trainer) -> list[ModelCheckpoint]:
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [kept for kept in callbacks if isinstance(kept, ModelCheckpoint) and kept.monitor is not None]


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside the old one, then puts it in its place.

    Lightning's own way writes it in the system's temporary folder; where that is another file system, putting
    it in place is a copy, which a crash cuts short. The file holds its own checksum.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: Any,
        storage_options: Any = None,
    ) -> None:
        """Write a checkpoint, and with ``AND_STOP`` end the training with it.

        Lightning has its processes wait for each other behind this; some may be where they cannot.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # By way of memory: torch hides a full disk behind an error of its own.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with replacing(path) as file:
            for part in seal(content.getbuffer()):
                file.write(part)
        if storage_options == AND_STOP:
            raise KeyboardInterrupt

    def load_checkpoint(
        self,
        path: Any,
        map_location: Any = "cpu",
        weights_only: bool | None = True,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Read a checkpoint; what it says of its folder is made to hold where the run directory was moved.

        A ModelCheckpoint that finds itself elsewhere forgets which weights were the best. Raises ValueError
        as :func:`read_checkpoint` does: plain values and tensors are read, whatever ``weights_only`` says.
        """
        checkpoint = read_checkpoint(Path(path), map_location)
        if _LIGHTNING not in checkpoint:
            raise unusable(Path(path), f"not a checkpoint of Gatewise's (no {_LIGHTNING})")
        here = Path(path).resolve().parent
        for state in kept_by(checkpoint):
            there = state.get("dirpath")
            if isinstance(there, str) and Path(there).name == here.name:
                state.update({key: _moved(value, there, str(here)) for key, value in state.items()})
        return checkpoint


def _moved(value: Any, there: str, here: str) -> Any:
    if isinstance(value, dict):
        return {_moved(key, there, here): item for key, item in value.items()}
    return here + value[len(there) :] if isinstance(value, str) and value.startswith(there) else value
