"""What a training takes before it begins, in each of its processes."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from gatewise.data.module import SequenceDataModule
from gatewise.launch.ranks import number_of_processes
from gatewise.tasks import Task
from gatewise.training.first_batch import check_first_batches
from gatewise.training.parts import make_data, make_task
from gatewise.training.shared_data import shared_data
from gatewise.views import screen


def prepare(
    config: DictConfig, choices: dict[str, str | None], job: DictConfig | None = None
) -> tuple[SequenceDataModule, Task]:
    """Seed this process and make the data and the task of a config; those of a sweep's ``job`` share data.

    Raises ValueError for settings, devices or data that cannot be used.
    """
    number_of_processes(config.trainer)
    screen.quiet()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    data = make_data(config) if job is None else shared_data(config, job.folder)
    assert data.facts is not None
    task = make_task(config, data.facts, choices)
    check_first_batches(data, task)
    return data, task
