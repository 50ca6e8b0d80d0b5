"""From a run's config to the objects that train it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from hydra._internal.utils import _locate
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, ProgressBar
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.profilers import Profiler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from gatewise.cells import Cell
from gatewise.cli.build import build
from gatewise.cli.check import check_fit
from gatewise.cli.errors import first_line
from gatewise.data.module import SequenceDataModule
from gatewise.facts import Facts
from gatewise.nn import Recurrent
from gatewise.runs.checkpoints import WholeCheckpoints, read_checkpoint
from gatewise.runs.epochs import ReproducibleEpochs, StopAtNaN
from gatewise.runs.metrics import MetricsFile, RowsBeforeCheckpoints
from gatewise.runs.run import Run
from gatewise.runs.steps import (
    BatchesStay,
    NoProfiler,
    make_interruptible,
    make_steps_plain,
    skip_empty_hooks,
    skip_idle_hooks,
)
from gatewise.runs.validations import ValidationsFile
from gatewise.tasks import Task

PARTS = (
    Cell,
    Recurrent,
    Task,
    SequenceDataModule,
    Optimizer,
    LRScheduler,
    ReduceLROnPlateau,
    Trainer,
    Callback,
    Logger,
    Profiler,
)
"""What a run's stored config may build."""


def make_data(config: DictConfig, facts: Facts | None = None, stage: str | None = None) -> SequenceDataModule:
    """The DataModule, set up; with ``facts``, those of the training instead of its own.

    With these and ``stage="test"`` only the test split's files need to be there.
    """
    data = build(config.data, "data")
    assert isinstance(data, SequenceDataModule)
    data.facts = facts
    data.setup(stage)
    return data


def stored_config(run: Run) -> DictConfig:
    """The config of a run directory, which may have come from anywhere.

    Raises ValueError where it holds more than plain values and parts of an experiment: building a
    ``_target_`` calls it.
    """
    config = run.config()
    nodes: list[tuple[str, Any]] = [("", OmegaConf.to_container(config))]
    while nodes:
        key, node = nodes.pop()
        if isinstance(node, dict):
            if "_target_" in node:
                _check_part(str(node["_target_"]), f"{run.folder}/config.yaml: {key}._target_", run)
            nodes += [(f"{key}.{name}".lstrip("."), child) for name, child in node.items()]
        elif isinstance(node, list):
            nodes += [(f"{key}[{index}]", child) for index, child in enumerate(node)]
    return config


def _check_part(target: str, place: str, run: Run) -> None:
    """Raise ValueError where a target is not one of the classes an experiment is made of; calls nothing."""
    if target == "gatewise.runs.wandb.make_logger":
        return
    refused = ValueError(
        f"{place}={target}: not a cell, task, DataModule, optimizer, callback or logger; a run directory may "
        f"name nothing else"
    )
    package = target.split(".")[0]
    if package in sys.stdlib_module_names:
        raise refused
    try:
        spec = find_spec(package)
        if spec is not None and spec.origin and Path(spec.origin).is_relative_to(run.folder):
            raise refused  # importing it would run a file of the run directory
        found = _locate(target)
    except ImportError as error:
        raise ValueError(
            f"{place}={target}: {first_line(error.__cause__ or error)}; is its folder on PYTHONPATH?"
        ) from error
    if not (isinstance(found, type) and issubclass(found, PARTS)):
        raise refused


def make_task(
    config: DictConfig, facts: Facts, choices: dict[str, str | None], training: bool = True
) -> Task:
    """The Task with its encoder, for data with these facts; without optimizer where it will not train.

    Raises ValueError, naming both choices, where task and data do not fit.
    """
    task_class = get_class(config.task["_target_"])
    if issubclass(task_class, Task):
        check_fit(task_class.facts_type, type(facts), choices)
    optimizer, scheduler = (config.optimizer, config.get("scheduler")) if training else (None, None)
    # Made once on a stand-in, so that a wrong setting is found before training and named by its key.
    if optimizer is not None:
        stand_in = build(optimizer, "optimizer", params=[torch.zeros(1, requires_grad=True)])
        if scheduler is not None:
            build(scheduler, "scheduler", optimizer=stand_in)
    task = build(
        config.task,
        "task",
        model=lambda **sizes: build(config.model, "model", **sizes),
        facts=facts,
        optimizer=None if optimizer is None else lambda params: build(optimizer, "optimizer", params=params),
        scheduler=None if scheduler is None else lambda made: build(scheduler, "scheduler", optimizer=made),
    )
    assert isinstance(task, Task)
    skip_empty_hooks(task)
    return task


def load_task(run: Run, kind: str, config: DictConfig) -> Task:
    """The trained Task of a run, in evaluation mode on the CPU."""
    task = make_task(config, run.facts(), run.choices(), training=False)
    path = run.checkpoint(kind)
    try:
        task.load_state_dict(read_checkpoint(path)["state_dict"])
    except RuntimeError as error:
        raise ValueError(
            f"{path}: its weights are not those of this run's config (another version of Gatewise, or an "
            f"edited config.yaml): {first_line(error)}"
        ) from error
    return task.eval()


def make_trainer(config: DictConfig, run: Run, further: Sequence[Callback] = ()) -> Trainer:
    """The Trainer with the callbacks and loggers of the config, ``further`` ones, and ``metrics.csv``."""
    metrics = MetricsFile(run.metrics_file)
    always: list[Callback] = [
        ReproducibleEpochs(config.seed),
        StopAtNaN(config.task.monitor),
        RowsBeforeCheckpoints(metrics),
        BatchesStay(),
    ]
    if config.trainer.get("val_check_interval", 1.0) != 1.0:
        always.append(ValidationsFile(run.validations_file, metrics))
    callbacks = [*always, *further, *_callbacks(config.get("callbacks") or {}, run, config.trainer)]
    for callback in callbacks:
        skip_empty_hooks(callback)
    settings: dict[str, Any] = {
        "callbacks": callbacks,
        "logger": [metrics, *_loggers(config.get("logger") or {}, run)],
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
    trainer = _build_part(config.trainer, "trainer", **settings)
    assert isinstance(trainer, Trainer)
    # Signals are Gatewise's: Lightning's handler of SIGTERM waits for processes that did not get one.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    make_interruptible(trainer, run.checkpoints / "last.ckpt")
    make_steps_plain(trainer)
    return trainer


def _build_part(node: Any, key: str, **objects: Any) -> Any:
    """As :func:`build`, for a part of Lightning's, which says in its own ways that a setting is wrong."""
    try:
        return build(node, key, **objects)
    except Exception as error:
        if not isinstance(error, TypeError) and type(error).__name__ != "MisconfigurationException":
            raise
        raise ValueError(f"{key}: {' '.join(str(error).split())}") from error


def _callbacks(nodes: Mapping[Any, Any], run: Run, trainer: DictConfig) -> list[Callback]:
    callbacks = []
    for name, node in nodes.items():
        if node is None:
            continue
        kind = get_class(node["_target_"])
        if issubclass(kind, ProgressBar) and not sys.stdout.isatty():
            continue  # a log file is no place for one
        own: dict[str, Any] = {}
        if issubclass(kind, ModelCheckpoint) and "dirpath" not in node:
            own["dirpath"] = str(run.checkpoints)
        if issubclass(kind, ModelCheckpoint) and node.get("train_time_interval") is not None:
            key = f"callbacks.{name!s}.train_time_interval"
            own["train_time_interval"] = _duration(key, node["train_time_interval"])
        if "run" in inspect.signature(kind).parameters and kind.__module__.startswith("gatewise."):
            own["run"] = run
        if issubclass(kind, EarlyStopping) and trainer.get("check_val_every_n_epoch", 1) == 1:
            # Its patience is one of epochs, also where an epoch has several validations.
            own.update({} if "check_on_train_epoch_end" in node else {"check_on_train_epoch_end": True})
        callback = _build_part(node, f"callbacks.{name!s}", **own)
        skip_idle_hooks(callback, node)
        callbacks.append(callback)
    return callbacks


def _duration(key: str, value: Any) -> timedelta:
    """A time from ``{minutes: 10}``, which Lightning wants as an object."""
    try:
        return timedelta(**value)
    except TypeError:
        raise ValueError(f"{key}={value}: give it as {{minutes: 10}}; also days, hours, seconds") from None


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
            loggers.append(_build_part(node, f"logger.{name!s}", **own))
        except ModuleNotFoundError as error:
            raise ValueError(f"logger.{name}: {' '.join(str(error).split())}") from error
    return [logger for logger in loggers if logger is not None]
