"""The origins of a backtest: what is forecast from each, and a model trained anew for it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from omegaconf import DictConfig, OmegaConf, open_dict

from gatewise.data.module import SequenceDataModule
from gatewise.data.series import SeriesWindows
from gatewise.runs.checkpoints import read_checkpoint
from gatewise.runs.run import Run
from gatewise.tasks import Task
from gatewise.training.checkpoints import chosen
from gatewise.training.fit import interruptible
from gatewise.training.opened import load_weights
from gatewise.training.prepare import prepare
from gatewise.training.trainer import make_trainer

_SHOWING = frozenset(
    ("model_table", "epoch_lines", "learning_curves", "result_table", "learning_rate", "timed_checkpoint")
)
"""Callbacks of a training that only show it, or keep what an interrupted one would go on from."""


class Fold(NamedTuple):
    """One origin."""

    number: int
    """From 1, the earliest."""
    left_out: int
    """Rows of each series after the horizon that is forecast."""


def folds(count: int, step: int) -> list[Fold]:
    """The origins, ``step`` rows apart; the horizon of the last one ends with the series."""
    return [Fold(number, (count - number) * step) for number in range(1, count + 1)]


def config_of(trained: DictConfig, fold: Fold, horizon: int, validation_steps: int) -> DictConfig:
    """The config of a run whose test part is the horizon after an origin; validation comes before it."""
    own = OmegaConf.create(OmegaConf.to_container(trained))
    assert isinstance(own, DictConfig)
    with open_dict(own):
        data = own.data
        data.update(split_rows=None, split_dates=None, test_file=None)
        data.update(test_steps=horizon, validation_steps=validation_steps, left_out_steps=fold.left_out)
        # Those too short for the earliest origins come in later.
        data.short_series = "pad" if data.get("short_series") == "pad" else "leave_out"
    return own


def validation_steps(data: SeriesWindows, horizon: int) -> int:
    """Rows of the validation part of most series in a run's own split; at least one horizon."""
    return max(
        horizon, int(np.median([validation - training for training, validation, _ in data.ends.values()]))
    )


def check_unseen(data: SeriesWindows, horizon: int, origins: list[Fold], step: int) -> None:
    """Raise ValueError where the first origin lies in the rows that a run was trained on."""
    for name, (training, _, length) in data.ends.items():
        first = length - horizon - origins[0].left_out
        if first < training:
            most = (length - horizon - training) // step + 1
            of = f"of series {name!r} " if name else ""
            fewer = f"give origins={most} or fewer, a smaller step, " if most > 0 else ""
            raise ValueError(
                f"the first origin {of}is after row {first}, and the run was trained on the rows to "
                f"{training}: {fewer}or set refit=true"
            )


def refitted(config: DictConfig, choices: dict[str, str | None]) -> tuple[SequenceDataModule, Task]:
    """The data of a config and a task trained on it, with its best weights; nothing else is kept."""
    with open_dict(config):
        config.logger = {}
        config.callbacks = {k: v for k, v in (config.get("callbacks") or {}).items() if k not in _SHOWING}
        config.resume = None
    data, task = prepare(config, choices)
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder), "refit", config, [], choices, is_last=False)
        trainer = make_trainer(config, run)
        interruptible(trainer, lambda: trainer.fit(task, datamodule=data, weights_only=True))
        best = chosen(trainer, run).path
        if best is not None:
            load_weights(task, best, read_checkpoint(best))
    return data, task.eval()
