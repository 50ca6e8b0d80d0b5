"""The Trainer of a run, with its callbacks and loggers."""

from __future__ import annotations

import contextlib
import inspect
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, ProgressBar
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.profilers import PassThroughProfiler

from gatewise.config.build import build, class_of
from gatewise.runs.run import Run
from gatewise.settings.libraries import SHORT_PRECISIONS, duration
from gatewise.training.checkpoints import PathsInside, WholeCheckpoints
from gatewise.training.epoch_times import EpochTimes
from gatewise.training.epochs import ReproducibleEpochs, StopAtNaN
from gatewise.training.lightning_internals import leave_signals_alone
from gatewise.training.loggers import MetricsFile, RowsBeforeCheckpoints
from gatewise.training.mid_epoch import MidEpochCheckpoint
from gatewise.training.parts import check_made
from gatewise.training.validations import ValidationsFile
from gatewise.training.wandb import KeepRecent, RunLogger

_log = logging.getLogger(__name__)


class NoProfiler(PassThroughProfiler):
    """Profiles nothing, as Lightning's own does, without a generator for each of a step's actions."""

    def __init__(self) -> None:
        super().__init__()
        self._nothing = contextlib.nullcontext()

    def profile(self, action_name: str) -> Any:  # noqa: ARG002
        return self._nothing


def make_trainer(config: DictConfig, run: Run, further: Sequence[Callback] = ()) -> Trainer:
    """The Trainer with the callbacks and loggers of the config, ``further`` ones, and ``metrics.csv``."""
    metrics = MetricsFile(run.metrics_file)
    always: list[Callback] = [
        MidEpochCheckpoint(run.checkpoints / "last.ckpt"),
        PathsInside(run.checkpoints),
        ReproducibleEpochs(config.seed),
        StopAtNaN(config.task.monitor),
        RowsBeforeCheckpoints(metrics),
        EpochTimes(run),
    ]
    if config.trainer.get("val_check_interval", 1.0) != 1.0:
        always.append(ValidationsFile(run.validations_file, metrics))
    own = _callbacks(config.get("callbacks") or {}, run, config.trainer)
    _check_told_apart(own)
    loggers = _loggers(config.get("logger") or {}, run)
    always.extend(KeepRecent(logger) for logger in loggers if isinstance(logger, RunLogger))
    callbacks = [*always, *further, *own.values()]
    settings: dict[str, Any] = {
        "callbacks": callbacks,
        "logger": [metrics, *loggers],
        # Gatewise starts the processes, or a launcher such as torchrun has: never SLURM by way of Lightning,
        # which takes any job of a cluster for a part of one training.
        "plugins": [WholeCheckpoints(), LightningEnvironment()],
        "default_root_dir": str(run.folder),
        # The DataModules share batches among the processes themselves, each example once.
        "use_distributed_sampler": False,
        "enable_model_summary": False,
        "enable_progress_bar": any(isinstance(callback, ProgressBar) for callback in callbacks),
        "enable_checkpointing": True,
    }
    if config.trainer.get("profiler") is None:
        settings["profiler"] = NoProfiler()
    if "precision" in config.trainer:
        settings["precision"] = _precision(config.trainer)
    trainer = _build_part(config.trainer, "trainer", **settings)
    assert isinstance(trainer, Trainer)
    leave_signals_alone(trainer)
    return trainer


def _precision(trainer: DictConfig) -> Any:
    """The precision in Lightning's own words, and one that the CPU has."""
    named = SHORT_PRECISIONS.get(str(trainer.precision), trainer.precision)
    if named == "16-mixed" and trainer.get("accelerator") == "cpu":
        _log.warning("trainer.precision=%s: a CPU computes in bf16-mixed instead", trainer.precision)
        return "bf16-mixed"
    return named


def _build_part(node: Any, key: str, **objects: Any) -> Any:
    """As :func:`build`, for a part of Lightning's, which says in its own ways that a setting is wrong."""
    try:
        return build(node, key, **objects)
    except Exception as error:
        if not isinstance(error, TypeError) and type(error).__name__ != "MisconfigurationException":
            raise
        raise ValueError(f"{key}: {' '.join(str(error).split())}") from error


def _callbacks(nodes: Mapping[Any, Any], run: Run, trainer: DictConfig) -> dict[str, Callback]:
    callbacks = {}
    for name, node in nodes.items():
        if node is None:
            continue
        kind = class_of(node, f"callbacks.{name!s}")
        if issubclass(kind, ProgressBar) and not sys.stdout.isatty():
            continue  # a log file is no place for one
        own: dict[str, Any] = {}
        if issubclass(kind, ModelCheckpoint):
            own.update(_checkpoint_settings(str(name), node, run, trainer))
        if issubclass(kind, ModelCheckpoint) and node.get("train_time_interval") is not None:
            key = f"callbacks.{name!s}.train_time_interval"
            own["train_time_interval"] = duration(key, node["train_time_interval"])
        if "run" in inspect.signature(kind).parameters and kind.__module__.startswith("gatewise."):
            own["run"] = run
        if issubclass(kind, EarlyStopping) and trainer.get("check_val_every_n_epoch", 1) == 1:
            # Its patience is one of epochs, also where an epoch has several validations.
            own.update({} if "check_on_train_epoch_end" in node else {"check_on_train_epoch_end": True})
        callbacks[str(name)] = _build_part(node, f"callbacks.{name!s}", **own)
    return callbacks


def _check_told_apart(callbacks: Mapping[str, Callback]) -> None:
    """Raise ValueError where two callbacks would keep their state in checkpoints under one name."""
    names: dict[str, str] = {}
    for name, callback in callbacks.items():
        other = names.setdefault(callback.state_key, name)
        if other != name and type(callback).state_dict is not Callback.state_dict:
            raise ValueError(
                f"callbacks: {other} and {name} cannot be told apart in a checkpoint: give {name} another "
                f"monitor or interval"
            )


def _checkpoint_settings(name: str, node: Any, run: Run, trainer: DictConfig) -> dict[str, Any]:
    """What a callback that keeps checkpoints is given besides its own settings."""
    own: dict[str, Any] = {} if "dirpath" in node else {"dirpath": str(run.checkpoints)}
    filename = node.get("filename")
    if name == "last_checkpoint" and filename != "last":
        raise ValueError(f"callbacks.{name}.filename={filename}: must be last, which resume= looks for")
    if filename is not None and "{" not in filename and node.get("save_top_k", 1) not in (0, 1):
        # Else each would overwrite the one before, and the best be lost.
        own["filename"] = f"{filename}-{{step}}"
    rarer = trainer.get("check_val_every_n_epoch", 1) != 1
    if rarer and str(node.get("monitor")).startswith("val/"):
        # At the end of an epoch without a validation the monitored value is that of another epoch's weights.
        own["save_on_train_epoch_end"] = False
    return own


def _loggers(nodes: Mapping[Any, Any], run: Run) -> list[Logger]:
    loggers = []
    for name, node in nodes.items():
        if node is None:
            continue
        target: str = node["_target_"]
        own: dict[str, Any] = {}
        if target.startswith("gatewise."):
            own["run"] = run
        elif target.endswith(TensorBoardLogger.__name__):
            own["save_dir"] = str(run.folder)
        try:
            made = _build_part(node, f"logger.{name!s}", **own)
        except ModuleNotFoundError as error:
            raise ValueError(f"logger.{name}: {' '.join(str(error).split())}") from error
        if made is not None:
            check_made(f"logger.{name!s}", made, node)
            loggers.append(made)
    return loggers
