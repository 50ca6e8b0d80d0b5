"""Checkpoints that a reader or a crash at any moment finds whole."""

from __future__ import annotations

import io
import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins import TorchCheckpointIO

from gatewise.runs.checkpoints import best_path, read_checkpoint, unusable
from gatewise.runs.files import replacing
from gatewise.runs.inside import is_inside
from gatewise.runs.metrics import read_metrics, read_validations
from gatewise.runs.run import Run
from gatewise.runs.seal import seal
from gatewise.runs.summary import best_row

_log = logging.getLogger(__name__)

_LIGHTNING = "pytorch-lightning_version"

AND_STOP = {"and_stop": True}
"""As ``storage_options``: raise KeyboardInterrupt once the checkpoint is written."""


@dataclass(frozen=True)
class Chosen:
    """The weights that a training ends with: which they are, and where."""

    path: Path | None
    """The best checkpoint; None where the training keeps none, and the last weights are taken."""
    words: str
    monitor: str | None = None
    """The metric that they are the best by."""
    row: dict[str, float] = field(default_factory=dict)
    """What was measured of them; of a validation within an epoch, ``epoch`` is a fraction."""


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
    row = _measured(run, callback, rows)
    if not row:  # a metric of single steps, which no file has
        return Chosen(path, f"best weights by {callback.monitor}", callback.monitor)
    found = f"epoch {row['epoch']:g} {epochs}, {callback.monitor} {row[callback.monitor]:.4g}"
    return Chosen(path, f"best weights: {found}", callback.monitor, row)


def _measured(run: Run, callback: ModelCheckpoint, rows: list[dict[str, float]]) -> dict[str, float]:
    """The row of the validation that chose the best weights: at an epoch's end, or else within one."""
    assert callback.monitor is not None
    best, score = best_row(rows, callback.monitor, callback.mode), callback.best_model_score
    within = [{**row, "epoch": row["epochs"]} for row in read_validations(run.validations_file)]
    if score is None:
        return best if not within else {}
    for row in [best, *within]:
        if math.isclose(row.get(callback.monitor, math.nan), float(score), rel_tol=1e-6):
            return row
    return {}


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
        """Read a checkpoint. Raises ValueError as :func:`read_checkpoint` does.

        Plain values and tensors are read, whatever ``weights_only`` says.
        """
        checkpoint = read_checkpoint(Path(path), map_location)
        if _LIGHTNING not in checkpoint:
            raise unusable(Path(path), f"not a checkpoint of Gatewise's (no {_LIGHTNING})")
        return checkpoint


class PathsInside(pl.Callback):
    """Has each ModelCheckpoint go on with paths in the folder where it keeps checkpoints now, or with none.

    Of a run directory that was moved these are paths there: else a ModelCheckpoint that finds itself
    elsewhere forgets which weights were the best. Any other path may be one of a file that Lightning would
    remove when there are better weights; a checkpoint may have come from anywhere.
    """

    def __init__(self, checkpoints: Path) -> None:
        self.checkpoints = checkpoints

    def on_load_checkpoint(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        states = checkpoint.get("callbacks", {})
        for key in [key for key in states if not isinstance(key, str)]:
            del states[key]  # a class, by which Lightning looks for what old versions of it have kept
        for callback in callbacks:
            state = states.get(callback.state_key)
            if isinstance(callback, ModelCheckpoint) and isinstance(state, dict):
                self._settle(state, str(callback.dirpath))

    def _settle(self, state: dict[str, Any], here: str) -> None:
        there = state.get("dirpath")
        moved = {Path(folder).name: folder for folder in (str(self.checkpoints), here)}
        if isinstance(there, str) and Path(there).name in moved:
            now = moved[Path(there).name]
            state.update({key: _moved(value, there, now) for key, value in state.items()})
        best = state.get("best_k_models")
        single = [state.get(f"{name}_model_path") or "" for name in ("best", "kth_best", "last")]
        paths = [*single, *(best if isinstance(best, dict) else [None])]
        outside = [path for path in paths if path != "" and not self._is_inside(path, here)]
        if outside:
            _log.warning("the checkpoint's best weights are forgotten: %s is not in %s", outside[0], here)
            state.update(
                dirpath=here,
                best_model_path="",
                best_model_score=None,
                best_k_models={},
                kth_best_model_path="",
                last_model_path="",
            )

    def _is_inside(self, path: Any, here: str) -> bool:
        if not isinstance(path, str) or ".." in Path(path).parts:
            return False
        return is_inside(Path(path), Path(here)) or is_inside(Path(path), self.checkpoints)


def _moved(value: Any, there: str, here: str) -> Any:
    if isinstance(value, dict):
        return {_moved(key, there, here): item for key, item in value.items()}
    return here + value[len(there) :] if isinstance(value, str) and value.startswith(there) else value
