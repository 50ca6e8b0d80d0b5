"""TensorBoard's side of a run: one point a step over all its parts, settings beside results, pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from gatewise.runs.references import stored
from gatewise.runs.run import Run
from gatewise.training.loggers import from_one, new_points


class RunTensorBoard(TensorBoardLogger):
    """A TensorBoardLogger that writes to ``tensorboard/`` of the run's directory.

    It writes one point a step.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(save_dir=str(run.folder), name="", version="tensorboard")
        self._last: dict[str, int] = {}

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write the metrics of a step."""
        super().log_metrics(new_points(from_one(metrics), step, self._last), step)


def begin(logger: TensorBoardLogger, config: DictConfig) -> None:
    """Give the logger the config, which it keeps in ``hparams.yaml``."""
    logger.hparams.update(flat(config))


def go_on_from(logger: TensorBoardLogger, step: int) -> None:
    """Have TensorBoard forget the points of earlier parts from this step on: they are taken again."""
    if not any(Path(logger.log_dir).glob("events.out.tfevents.*")):
        return
    with contextlib.suppress(ModuleNotFoundError):  # tensorboardX has no way to say it
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]

        # What SummaryWriter writes for its purge_step, known too late to give it that.
        writer = logger.experiment.file_writer
        writer.add_event(Event(step=step, file_version="brain.Event:2"))
        writer.add_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)))


def end(
    logger: TensorBoardLogger,
    config: DictConfig,
    results: Mapping[str, float],
    pictures: Mapping[str, Path],
    step: int,
) -> None:
    """Write the settings beside the results, and the pictures by name."""
    logger.log_hyperparams(flat(config), {f"result/{name}": value for name, value in results.items()}, step)
    for name, path in pictures.items():
        logger.experiment.add_image(name, _pixels(path), step, dataformats="HWC")
    logger.save()


def flat(config: DictConfig) -> dict[str, Any]:
    """The settings of a config by their names on the command line."""
    return dict(_leaves("", stored(config)))


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from _leaves(f"{name}.{key}" if name else str(key), below)
    elif isinstance(value, (bool, int, float, str)):
        yield name, value
    else:
        yield name, "null" if value is None else str(value)


def _pixels(path: Path) -> Any:
    """A picture as bytes [height, width, colours]."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
