"""From a run's config to the objects that train it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import Profiler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from gatewise.cells import Cell
from gatewise.config.build import build, class_of, locate, object_of
from gatewise.config.check import misfit
from gatewise.config.origins import check_origins, nodes, not_a_part
from gatewise.config.sections import kind_of, parts_of
from gatewise.data.module import SequenceDataModule
from gatewise.data.sound.augmentation import Augmentation
from gatewise.kinds.kind import Facts
from gatewise.nn import Recurrent, Stacked
from gatewise.runs.checkpoints import check_finite, read_checkpoint
from gatewise.runs.opened import check_agreement, check_settings_of
from gatewise.runs.run import Run
from gatewise.settings import SettingError, first_line
from gatewise.tasks import Task
from gatewise.training.memory import weights_fit
from gatewise.training.opened import bounded, check_sizes, load_weights

PARTS = (
    Cell,
    Recurrent,
    Stacked,
    Task,
    SequenceDataModule,
    Augmentation,
    Optimizer,
    LRScheduler,
    ReduceLROnPlateau,
    Trainer,
    Callback,
    Logger,
    Profiler,
)
"""What a run's stored config may build."""

_BASES: dict[str, tuple[type, ...]] = {
    "task": (Task,),
    "data": (SequenceDataModule,),
    "model": (Recurrent, Stacked),
    "model.cell": (Cell,),
    "optimizer": (Optimizer,),
    "scheduler": (LRScheduler, ReduceLROnPlateau),
    "trainer": (Trainer,),
    "trainer.profiler": (Profiler,),
    "callbacks": (Callback,),
    "logger": (Logger,),
}
"""What a part derives from, by its key or the section that it is in."""


def check_classes(config: DictConfig) -> None:
    """Raise SettingError for a ``_target_`` that cannot be imported, or is a class of another kind of part.

    What a function makes is for :func:`check_made`.
    """
    for key, kind, node in parts_of(config):
        part = object_of(node, key)
        if isinstance(part, type) and not issubclass(part, _bases(key)):
            raise SettingError(f"{key}._target_={node['_target_']}: is not {kind.name}")


def check_made(key: str, part: Any, node: DictConfig) -> None:
    """Raise SettingError where a function made something else than its section takes."""
    if not isinstance(part, _bases(key)):
        raise SettingError(
            f"{key}._target_={node['_target_']}: makes {type(part).__name__}, not {kind_of(key).name}"
        )


def _bases(key: str) -> tuple[type, ...]:
    return _BASES[key] if key in _BASES else _BASES[key.partition(".")[0]]


def _facts_type(part: type, base: type, key: str) -> type[Facts]:
    """The kind of data that a Task takes or a DataModule gives.

    Raises ValueError for a class that is neither, or does not say.
    """
    facts_type = getattr(part, "facts_type", None)
    if not issubclass(part, base):
        raise ValueError(f"{key}._target_={part.__module__}.{part.__qualname__}: not a {base.__name__}")
    if not (isinstance(facts_type, type) and issubclass(facts_type, Facts)):
        raise ValueError(
            f"{key}._target_={part.__module__}.{part.__qualname__}: does not name its kind of data: write "
            f"facts_type = ... with a class of Facts"
        )
    return facts_type


def make_data(config: DictConfig, facts: Facts | None = None, stage: str | None = None) -> SequenceDataModule:
    """The DataModule, set up; with ``facts``, those of the training instead of its own.

    With these and ``stage="test"`` only the test split's files need to be there.
    """
    _facts_type(class_of(config.data, "data"), SequenceDataModule, "data")
    data: SequenceDataModule = build(config.data, "data")
    data.facts = facts
    data.setup(stage)
    if not isinstance(data.facts, data.facts_type):
        raise ValueError(
            f"data._target_={config.data._target_}: load() has to set self.facts to "
            f"{data.facts_type.__name__}, but they are "
            f"{'not set' if data.facts is None else type(data.facts).__name__}"
        )
    return data


def parts_for_test(data: SequenceDataModule) -> dict[str, Callable[[], Iterable[Any]]]:
    """What gives the batches of the data's other parts, for a beginning or a test that reads them."""
    return {"training": data.train_dataloader, "validation": data.val_dataloader, "history": data.history}


def stored_config(run: Run) -> DictConfig:
    """The config of a run directory, which may have come from anywhere.

    Raises ValueError where it holds more than plain values and parts of an experiment: building a
    ``_target_`` calls it.
    """
    config = check_settings_of(run)
    check_origins(config, run.folder)
    for key, node in nodes(config):
        _check_part(key, str(node["_target_"]), run)
    return config


def _check_part(key: str, target: str, run: Run) -> None:
    """Raise ValueError where a target is not one of the classes an experiment is made of; calls nothing."""
    if target == "gatewise.training.wandb.make_logger":
        return
    try:
        part = locate(target)
    except Exception as error:
        raise ValueError(f"{run.folder}/config.yaml: {key}._target_={target}: {first_line(error)}") from error
    if not (isinstance(part, type) and issubclass(part, PARTS)):
        raise ValueError(not_a_part(key, target, run.folder / "config.yaml"))


def make_task(
    config: DictConfig, facts: Facts, choices: dict[str, str | None], training: bool = True
) -> Task:
    """The Task with its encoder, for data with these facts; without optimizer where it will not train.

    Raises ValueError, naming both choices, where task and data do not fit.
    """
    takes = _facts_type(class_of(config.task, "task"), Task, "task")
    if not isinstance(facts, takes):
        took, given_kind = ((k.summary, f"{k.__module__}.{k.__qualname__}") for k in (takes, type(facts)))
        raise ValueError(misfit(choices, took, given_kind))
    optimizer, scheduler = (config.optimizer, config.get("scheduler")) if training else (None, None)
    # Made once on a stand-in, so that a wrong setting is found before training and named by its key.
    if optimizer is not None:
        stand_in = build(optimizer, "optimizer", params=[torch.zeros(1, requires_grad=True)])
        check_made("optimizer", stand_in, optimizer)
        if scheduler is not None:
            check_made("scheduler", build(scheduler, "scheduler", optimizer=stand_in), scheduler)

    def make_model(**sizes: Any) -> Any:
        model = build(config.model, "model", **sizes)
        check_made("model", model, config.model)
        return model

    with weights_fit():
        task = build(
            config.task,
            "task",
            model=make_model,
            facts=facts,
            optimizer=None if optimizer is None else lambda to: build(optimizer, "optimizer", params=to),
            scheduler=None if scheduler is None else lambda to: build(scheduler, "scheduler", optimizer=to),
        )
    assert isinstance(task, Task)
    for setting, name in task.runs().items():
        other = Run.open(name, Path(config.paths.runs_dir), f"task.{setting}")
        task.take_run(setting, load_task(other, "best", stored_config(other)))
    return task


def load_task(run: Run, kind: str, config: DictConfig) -> Task:
    """The trained Task of a run, in evaluation mode on the CPU.

    Raises ValueError if its weights do not fit the run's config, or are not finite.
    """
    path, facts = run.checkpoint(kind), run.facts()
    check_agreement(run, config, facts)
    check_sizes(run, config, path, facts)
    with bounded(path):
        task = make_task(config, facts, run.choices(), training=False)
    load_weights(task, path, read_checkpoint(path))
    check_finite(path, dict(task.named_parameters()))
    return task.eval()
