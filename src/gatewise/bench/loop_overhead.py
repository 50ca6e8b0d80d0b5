"""``gatewise bench training``: Lightning's loop beside a bare one, measured side by side in one run."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, open_dict
from rich.table import Table

from gatewise.config.check import group_choices
from gatewise.data.module import SequenceDataModule
from gatewise.runs.run import Run
from gatewise.tasks import Task
from gatewise.training.prepare import prepare
from gatewise.training.trainer import make_trainer
from gatewise.views.plain import cell, plain_console

ROUNDS = 9


def bench_training(config: DictConfig) -> float:
    """Time the training steps of an epoch in Lightning's loop and in a bare PyTorch loop, in turns.

    Same model, same data in the same order, same optimizer and clipping; Lightning's side has the metrics,
    callbacks and logging of a real training besides. Prints the medians; returns their ratio.
    """
    choices = group_choices()
    without_output(config)
    bare, lightning = [], []
    for _ in range(ROUNDS):
        data, task = prepare(config, choices)
        bare.append(bare_epoch(config, data, task))
        data, task = prepare(config, choices)
        lightning.append(lightning_epoch(config, data, task))
    steps = len(data.train_dataloader())
    ratios = [ours / theirs for ours, theirs in zip(lightning, bare, strict=True)]
    title = cell(f"{config.name}: {steps} training steps, {ROUNDS} rounds")
    table = Table(title=title, title_justify="left")
    for column in ("loop", "median ms per step", "fastest", "slowest"):
        table.add_column(column, justify="left" if column == "loop" else "right")
    for name, times in (("bare PyTorch", bare), ("Lightning", lightning)):
        milliseconds = [1000 * t / steps for t in times]
        shown = (statistics.median(milliseconds), min(milliseconds), max(milliseconds))
        table.add_row(name, *(f"{value:.2f}" for value in shown))
    ratio = statistics.median(ratios)
    plain_console().print(table)
    plain_console().print(
        f"overhead of the Lightning loop: {100 * (ratio - 1):.1f} % (median of paired rounds)"
    )
    return ratio


def without_output(config: DictConfig) -> None:
    """Change a config to two epochs of training that write nothing on the screen or to a logger."""
    with open_dict(config):
        config.logger, config.callbacks.progress, config.callbacks.model_table = {}, None, None
        config.callbacks.epoch_lines = None
        config.trainer.max_epochs = 2


def bare_epoch(config: DictConfig, data: SequenceDataModule, task: Task) -> float:
    """Seconds of the second epoch of a plain loop over the task's loss."""
    optimizer = task.configure_optimizers()
    task.train()
    seconds = 0.0
    for _ in range(2):
        task.on_train_epoch_start()
        started = time.perf_counter()
        for batch in data.train_dataloader():
            optimizer.zero_grad()
            loss = task.score(batch).loss
            assert loss is not None
            loss.backward()
            if config.trainer.gradient_clip_val:
                torch.nn.utils.clip_grad_norm_(task.parameters(), config.trainer.gradient_clip_val)
            optimizer.step()
        seconds = time.perf_counter() - started
    return seconds


class _Stopwatch(pl.Callback):
    """Seconds, by ``clock``, from the last epoch's start to the end of its last step."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock

    def on_train_epoch_start(self, *args: Any) -> None:  # noqa: ARG002
        self.started = self.clock()

    def on_train_batch_end(self, *args: Any) -> None:  # noqa: ARG002
        self.seconds = self.clock() - self.started


def lightning_epoch(
    config: DictConfig,
    data: SequenceDataModule,
    task: Task,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds of the second epoch's steps in a real Trainer, in a run directory that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder), "bench", config, [], {})
        trainer = make_trainer(config, run)
        watch = _Stopwatch(clock)
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        # Last among the callbacks, so that what they do in a step is counted.
        callbacks.append(watch)
        trainer.fit(task, datamodule=data)
        return watch.seconds
