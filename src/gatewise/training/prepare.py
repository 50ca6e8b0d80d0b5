"""What a training takes before it begins, in each of its processes."""

from __future__ import annotations

import math

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf

from gatewise.config.monitors import validation_monitored
from gatewise.data.module import SequenceDataModule
from gatewise.launch.ranks import number_of_processes
from gatewise.nn.compiled import check_engine
from gatewise.tasks import Task
from gatewise.training.first_batch import check_first_batches
from gatewise.training.memory import check_step
from gatewise.training.parts import check_classes, make_data, make_task
from gatewise.training.shared_data import shared_data
from gatewise.views import screen


def prepare(
    config: DictConfig, choices: dict[str, str | None], job: DictConfig | None = None
) -> tuple[SequenceDataModule, Task]:
    """Seed this process and make the data and the task of a config; those of a sweep's ``job`` share data.

    Raises ValueError for settings, devices or data that cannot be used.
    """
    number_of_processes(config.trainer)
    if config.trainer.get("accelerator") == "cpu":
        check_engine(OmegaConf.select(config, "model.engine"))
    check_classes(config)
    screen.quiet()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    data = make_data(config) if job is None else shared_data(config, job.folder)
    assert data.facts is not None
    _check_batches(config.trainer, data)
    _check_shares(config, data)
    _check_steps(config, data)
    task = make_task(config, data.facts, choices)
    if config.trainer.get("accelerator") == "cpu":
        check_step(data, task)
    check_first_batches(data, task)
    return data, task


def _check_batches(trainer: DictConfig, data: SequenceDataModule) -> None:
    """Raise ValueError for counts of training batches that Lightning refuses once it has begun."""
    if trainer.get("fast_dev_run"):
        raise ValueError("trainer.fast_dev_run: keeps no metrics and no checkpoint; debug=one_batch does")
    name = "overfit_batches" if trainer.get("overfit_batches") else "limit_train_batches"
    limit = trainer.get(name, 1.0)
    interval = trainer.get("val_check_interval", 1.0)
    small = isinstance(limit, float) and 0 < limit < 1
    if interval == 0:
        raise ValueError("trainer.val_check_interval=0: give a share of an epoch such as 0.5, or batches")
    if not small and not (isinstance(interval, int) and not isinstance(interval, bool)):
        return
    most = count = len(data.train_dataloader())
    if small:
        count = int(most * limit)
        if count < 1:
            raise ValueError(
                f"trainer.{name}={limit}: leaves none of the {most} training batches of an "
                f"epoch; give at least {1 / most:.2g}"
            )
    elif isinstance(limit, int):
        count = min(most, limit)
    per_epoch = trainer.get("check_val_every_n_epoch", 1) is not None
    if isinstance(interval, int) and 0 < count < interval and per_epoch:
        raise ValueError(
            f"trainer.val_check_interval={interval}: an epoch has {count} training batches; give no more, or "
            f"a share of it such as 0.5"
        )


def _check_shares(config: DictConfig, data: SequenceDataModule) -> None:
    """Raise ValueError for a share of the batches to validate or test on that is none of them."""
    loaders = {"val": data.val_dataloader, "test": data.test_dataloader}
    for split, loader in loaders.items():
        if split == "test" and not config.test:
            continue
        name = f"limit_{split}_batches"
        if split == "val" and config.trainer.get("overfit_batches"):
            name = "overfit_batches"
        share = config.trainer.get(name)
        if isinstance(share, float) and 0 < share < 1 and int((count := len(loader())) * share) < 1:
            raise ValueError(
                f"trainer.{name}={share}: leaves none of the {count} batches of the {split} split; give at "
                f"least {1 / count:.2g}"
            )


def _check_steps(config: DictConfig, data: SequenceDataModule) -> None:
    """Raise ValueError where the last step comes before the validation that a callback waits for."""
    trainer = config.trainer
    most, monitored = trainer.get("max_steps", -1), validation_monitored(config)
    if most == -1 or monitored is None or trainer.get("check_val_every_n_epoch", 1) != 1:
        return
    batches = len(data.train_dataloader())
    limit = trainer.get("overfit_batches") or trainer.get("limit_train_batches", 1.0)
    batches = (
        min(batches, limit) if isinstance(limit, int) else int(batches * (1.0 if limit is None else limit))
    )
    interval = trainer.get("val_check_interval") or 1.0
    first = interval if isinstance(interval, int) else math.ceil(batches * interval)
    steps = math.ceil(first / trainer.get("accumulate_grad_batches", 1))
    if most < steps:
        raise ValueError(
            f"trainer.max_steps={most}: ends before the first validation, after {steps} steps, and "
            f"{monitored} needs it: give {steps} or more, or a smaller trainer.val_check_interval"
        )
