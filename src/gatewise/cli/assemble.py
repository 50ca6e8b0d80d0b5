"""From a run's config to the objects that train it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from hydra.utils import get_class
from omegaconf import DictConfig
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint, ProgressBar
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from gatewise.cli.build import build
from gatewise.data.module import SequenceDataModule
from gatewise.facts import Facts
from gatewise.runs.epochs import ReproducibleEpochs
from gatewise.runs.metrics import MetricsFile
from gatewise.runs.run import Run
from gatewise.tasks import Task


def make_data(config: DictConfig, facts: Facts | None = None, stage: str | None = None) -> SequenceDataModule:
    """The DataModule, set up; with ``facts``, those of the training instead of its own.

    With these and ``stage="test"`` only the test split's files need to be there.
    """
    data = build(config.data, "data")
    assert isinstance(data, SequenceDataModule)
    data.facts = facts
    data.setup(stage)
    return data


def make_task(config: DictConfig, facts: Facts, choices: dict[str, str | None]) -> Task:
    """The Task with its encoder, for data with these facts.

    Raises ValueError, naming both choices, where task and data do not fit.
    """
    task_class = get_class(config.task["_target_"])
    if issubclass(task_class, Task) and not isinstance(facts, task_class.facts_type):
        raise ValueError(
            f"task={choices.get('task')} takes {task_class.facts_type.summary}, but "
            f"data={choices.get('data')} gives {facts.summary}: "
            f"choose a task or data that fit, or an experiment=... that has both"
        )
    # Made once on a stand-in, so that a wrong setting is found before training and named by its key.
    optimizer = build(config.optimizer, "optimizer", params=[torch.zeros(1, requires_grad=True)])
    scheduler = config.get("scheduler")
    if scheduler is not None:
        build(scheduler, "scheduler", optimizer=optimizer)
    task = build(
        config.task,
        "task",
        model=lambda **sizes: build(config.model, "model", **sizes),
        facts=facts,
        optimizer=lambda params: build(config.optimizer, "optimizer", params=params),
        scheduler=None if scheduler is None else lambda made: build(scheduler, "scheduler", optimizer=made),
    )
    assert isinstance(task, Task)
    return task


def load_task(run: Run, kind: str, config: DictConfig) -> Task:
    """The trained Task of a run, in evaluation mode on the CPU."""
    task = make_task(config, run.facts(), run.choices())
    checkpoint = torch.load(run.checkpoint(kind), map_location="cpu", weights_only=True)
    task.load_state_dict(checkpoint["state_dict"])
    return task.eval()


def make_trainer(config: DictConfig, run: Run) -> Trainer:
    """The Trainer with the callbacks and loggers of the config, and the run's own ``metrics.csv``."""
    settings: dict[str, Any] = {
        "callbacks": [ReproducibleEpochs(config.seed), *_callbacks(config.get("callbacks") or {}, run)],
        "logger": [MetricsFile(run.metrics_file), *_loggers(config.get("logger") or {}, run)],
        "default_root_dir": str(run.folder),
        # The DataModules share batches among the processes themselves, each example once.
        "use_distributed_sampler": False,
        "enable_model_summary": False,
        "enable_progress_bar": False,
        "enable_checkpointing": True,
    }
    try:
        trainer = build(config.trainer, "trainer", **settings)
    except Exception as error:
        if type(error).__name__ != "MisconfigurationException":
            raise
        raise ValueError(f"trainer: {' '.join(str(error).split())}") from error
    assert isinstance(trainer, Trainer)
    return trainer


def _callbacks(nodes: Mapping[Any, Any], run: Run) -> list[Callback]:
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
        if kind.__module__.startswith("gatewise."):
            own["run"] = run
        callbacks.append(build(node, f"callbacks.{name!s}", **own))
    return callbacks


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
            loggers.append(build(node, f"logger.{name!s}", **own))
        except ModuleNotFoundError as error:
            raise ValueError(f"logger.{name}: {' '.join(str(error).split())}") from error
    return [logger for logger in loggers if logger is not None]
