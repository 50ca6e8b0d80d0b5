"""What a resume finds in a run directory, and puts back where it fails before its first step."""

from __future__ import annotations

import contextlib
import os
import shutil
import traceback
from pathlib import Path

import pytorch_lightning as pl

from gatewise.runs.checkpoints import read_checkpoint
from gatewise.runs.files import replacing
from gatewise.runs.left_behind import LAST_BEFORE
from gatewise.runs.metrics import read_metrics
from gatewise.runs.run import Run
from gatewise.settings import first_line
from gatewise.training.mid_epoch import epochs_in

_FILES = ("facts.json", "metrics.csv", "validations.csv", "code_resumed.diff", "config.yaml", "status.json")
_LIGHTNING = ("pytorch_lightning", "lightning_fabric", "lightning", "lightning_utilities")


class Before:
    """A run directory as a resume finds it."""

    def __init__(self, run: Run) -> None:
        self._run = run
        paths = [run.folder / name for name in _FILES]
        self._contents = {path: path.read_bytes() if path.is_file() else None for path in paths}
        self._last = run.checkpoints / "last.ckpt"
        self._kept = run.checkpoints / LAST_BEFORE
        self._had_last = self._last.is_file()
        self._replaced = False
        self._was_done = run.state() in ("done", "pruned")
        self._start = self._checkpoints()
        self._of_wandb = set(self._wandb())

    def start_from_best(self) -> str:
        """Make the best checkpoint the last one; returns the line about it and the epochs that are dropped.

        Raises ValueError where it holds no more than weights.
        """
        best = self._run.checkpoint("best")
        checkpoint = read_checkpoint(best, "meta")
        if "optimizer_states" not in checkpoint:
            raise ValueError(f"{best}: holds weights alone (save_weights_only): no training goes on from it")
        epochs = epochs_in(checkpoint)
        dropped = [int(row["epoch"]) for row in read_metrics(self._run.metrics_file) if row["epoch"] > epochs]
        if self._had_last:
            self._kept.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # a file system without links: there is no way back
                os.link(self._last, self._kept)
        with best.open("rb") as source, replacing(self._last) as target:
            shutil.copyfileobj(source, target)
        self._replaced, self._start = True, self._checkpoints()
        said = f"Resumed from the best checkpoint, {best.name}, after {epochs} epoch{'s' * (epochs != 1)}"
        if not dropped:
            return said
        rows = f"epochs {dropped[0]} to {dropped[-1]}" if len(dropped) > 1 else f"epoch {dropped[0]}"
        return f"{said}; what metrics.csv has of {rows} is dropped"

    def has_begun(self, trainer: pl.Trainer | None) -> bool:
        """Whether there is anything since that is worth keeping.

        For a run that was finished that is a checkpoint, for any other a step.
        """
        if trainer is None or self._was_done or self._checkpoints() != self._start:
            return self._checkpoints() != self._start
        steps = 0
        if self._last.is_file():
            with contextlib.suppress(ValueError):  # it is damaged, and nothing was restored
                steps = int(read_checkpoint(self._last, "meta").get("global_step", 0))
        return trainer.global_step > steps

    def put_back(self) -> None:
        """Put every file back, the status last."""
        if self._replaced and self._had_last and self._kept.is_file():
            self._kept.replace(self._last)
        elif self._replaced and not self._had_last:
            self._last.unlink(missing_ok=True)
        for path in set(self._wandb()) - self._of_wandb:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for path, content in self._contents.items():
            if content is None:
                path.unlink(missing_ok=True)
            elif not path.is_file() or path.read_bytes() != content:
                with replacing(path) as file:
                    file.write(content)

    def _checkpoints(self) -> dict[Path, tuple[int, int]]:
        """What tells each checkpoint from one that replaces it."""
        found = [path for path in self._run.checkpoints.glob("**/*.ckpt") if path != self._kept]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}

    def _wandb(self) -> list[Path]:
        return list((self._run.folder / "wandb").glob("*"))

    def forget(self) -> None:
        """Keep nothing of it any more: the training has begun."""
        self._kept.unlink(missing_ok=True)

    def refusal(self, error: Exception) -> str | None:
        """The line about what goes wrong as the checkpoint is restored; None where something else did."""
        way = ""
        with contextlib.suppress(ValueError):  # there is none
            if not self._replaced and self._run.checkpoint("best") != self._last:
                way = "; resume_from=best goes on from the best one"
        if isinstance(error, ValueError) and str(error).startswith(str(self._last)):
            return f"{error}{way}"
        if (line := lightnings_refusal(error)) is not None and not isinstance(error, TypeError):
            return line
        of_gatewise = _raised_in(error, ("gatewise",)) and not isinstance(error, ValueError)
        of_a_library = _raised_in(error, (*_LIGHTNING, "torch", "packaging"))
        if not self._last.is_file() or not (of_gatewise or of_a_library):
            return None
        return f"{self._last}: no training goes on from it ({type(error).__name__}: {first_line(error)}){way}"


def trainer_of(task: pl.LightningModule) -> pl.Trainer | None:
    """The Trainer that a task was given to, if it was."""
    try:
        return task.trainer
    except RuntimeError:
        return None


def lightnings_refusal(error: Exception) -> str | None:
    """The line about settings that Lightning refuses as it begins; None for any other error."""
    if type(error).__name__ == "MisconfigurationException" or (
        isinstance(error, (ValueError, TypeError, ZeroDivisionError)) and _raised_in(error, _LIGHTNING)
    ):
        return f"trainer: {' '.join(str(error).split())}"
    return None


def _raised_in(error: Exception, packages: tuple[str, ...]) -> bool:
    """Whether the innermost frame of an error is of one of the packages."""
    names = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(names) and names[-1].partition(".")[0] in packages
