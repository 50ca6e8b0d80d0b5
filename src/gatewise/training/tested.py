"""A test of a task outside of a training."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf
from pytorch_lightning.plugins.environments import LightningEnvironment

from gatewise.config.build import build
from gatewise.data.module import SequenceDataModule
from gatewise.tasks import Task
from gatewise.training.parts import parts_for_test


def tested(task: Task, data: SequenceDataModule, loader: Any, accelerator: str) -> dict[str, float]:
    """The metrics of a task on the batches of a loader, in this process alone."""
    trainer = build(
        OmegaConf.create({"_target_": "pytorch_lightning.Trainer"}),
        "accelerator",
        accelerator=accelerator,
        devices=1,
        # Else Lightning takes any job of SLURM's for one of several processes.
        plugins=[LightningEnvironment()],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    task.parts = parts_for_test(data)
    trainer.test(task, dataloaders=loader, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}
