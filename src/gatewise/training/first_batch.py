"""Find out before a training whether a user's own DataModule and Task go together."""

from __future__ import annotations

import torch

from gatewise.data.module import SequenceDataModule
from gatewise.settings import SettingError, first_line
from gatewise.tasks import Task

SPLITS = {"training": "train_dataloader", "validation": "val_dataloader", "test": "test_dataloader"}


def check_first_batches(data: SequenceDataModule, task: Task) -> None:
    """Take the first batch of each split of a user's own data and score it, without a trace.

    Raises ValueError, naming the class and the split, if there is no batch or the task cannot score it.
    Gatewise's own data is left alone: reading and scoring takes time.
    """
    if _is_own(data):
        return
    name = f"data._target_={type(data).__module__}.{type(data).__qualname__}"
    was_training = task.training
    task.eval()
    try:
        # The draws of the training are to be the same as without this check.
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            for split, loader in SPLITS.items():
                _check_first(data, task, split, loader, name)
    finally:
        task.train(was_training)


def _check_first(data: SequenceDataModule, task: Task, split: str, loader: str, name: str) -> None:
    try:
        batch = next(iter(getattr(data, loader)()))
    except SettingError:
        raise
    except Exception as error:
        raise ValueError(f"{name}: its {split} split gives no batch: {_said(error)}") from error
    try:
        score = task.score(batch)
        loss = float(0.0 if score.loss is None else score.loss)
    except Exception as error:
        raise ValueError(
            f"{name}: its {split} batch, a {type(batch).__name__}, is not what {type(task).__name__} can "
            f"score: {_said(error)}"
        ) from error
    if loss != loss:
        raise ValueError(
            f"{name}: the loss of {type(task).__name__} on its first {split} batch is nan: the batch has "
            f"numbers that are not finite, or the loss divides by zero"
        )


def _said(error: Exception) -> str:
    return (
        first_line(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {first_line(error)}"
    )


def _is_own(data: SequenceDataModule) -> bool:
    return type(data).__module__.partition(".")[0] == "gatewise"
