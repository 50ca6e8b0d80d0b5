"""Averages of the weights over training, which take the trained weights' place in validation and test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from gatewise.settings import Fraction, Positive, checked

_KEY = "averaging"
"""Where a checkpoint has the trained weights: its ``state_dict`` is the average, which is what predicts."""


class WeightAverage(pl.Callback):
    """Base of both averages: keeps one, and puts it in place of the trained weights while these are scored.

    Validation, test and every checkpoint's ``state_dict`` have the average once there is one. A checkpoint
    keeps the trained weights beside it, from which a resumed training goes on to the same digits. All
    processes of a data-parallel training have the same weights, and so the same average. Raises ValueError
    for a strategy (fsdp, deepspeed) that gives each process a part of the weights.
    """

    def __init__(self) -> None:
        self._average: dict[str, Tensor] | None = None
        self._trained: dict[str, Tensor] | None = None
        """The trained weights while the average is in their place."""
        self._steps = 0
        """Steps that are in the average."""
        self._seen = 0
        """Steps of the optimizer that have been looked at."""

    # ---- for a subclass

    def weight(self) -> float | None:
        """The share that the weights after this step get in the average; None where it has not begun."""
        raise NotImplementedError

    # ---- averaging

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        sharded = ("FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy")
        if type(trainer.strategy).__name__ in sharded:
            raise ValueError(
                "callbacks: an average of the weights needs all of them in every process: choose trainer=ddp "
                "or gpu, or leave it out"
            )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._seen = trainer.global_step
        if self._average is not None:  # a checkpoint is read before the weights are moved to their device
            self._average = {name: kept.to(pl_module.device) for name, kept in self._average.items()}

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        if trainer.global_step == self._seen:
            return  # gradients that wait for more
        self._seen = trainer.global_step
        share = self.weight()
        if share is None:
            return
        self._steps += 1
        if self._average is None:
            self._average = {name: weights.clone() for name, weights in _trained_of(pl_module)}
            return
        for name, weights in _trained_of(pl_module):
            self._average[name].lerp_(weights, share)

    # ---- in the place of the trained weights

    @torch.no_grad()
    def _put_in(self, module: nn.Module) -> None:
        if self._average is None or self._trained is not None:
            return
        self._trained = {name: weights.clone() for name, weights in _trained_of(module)}
        _copy(self._average, module)

    @torch.no_grad()
    def _take_out(self, module: nn.Module) -> None:
        if self._trained is not None:
            _copy(self._trained, module)
            self._trained = None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._put_in(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._take_out(pl_module)

    def on_exception(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,
        exception: BaseException,  # noqa: ARG002
    ) -> None:
        self._take_out(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._put_in(pl_module)  # for a test without a checkpoint

    # ---- checkpoints

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._steps = int(state_dict["steps"])

    def on_save_checkpoint(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        if self._average is None:
            return
        trained = self._trained or dict(_trained_of(pl_module))
        checkpoint[_KEY] = {name: weights.clone() for name, weights in trained.items()}
        state = checkpoint["state_dict"]
        for name, own in _every_name(pl_module):
            state[name] = self._average[own]

    @torch.no_grad()
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        trained = checkpoint.get(_KEY)
        self._average = self._trained = None
        if trained is None:
            return
        self._average = {name: checkpoint["state_dict"][name].clone() for name, _ in _trained_of(pl_module)}
        _copy(trained, pl_module)


class ExponentialAverage(WeightAverage):
    """The exponential moving average of the weights, from the first step on.

    A step after n others makes it ``decay`` times the average before plus 1 - ``decay`` times the weights
    now; at first the smaller (1 + n) / (10 + n) takes the place of ``decay``: the start is soon forgotten.
    """

    @checked
    def __init__(self, decay: Fraction = 0.999) -> None:
        super().__init__()
        self.decay = decay

    def weight(self) -> float:
        return 1 - min(self.decay, (1 + self._steps) / (10 + self._steps))


class TriggeredAverage(WeightAverage):
    """The mean of the weights after every step from the one on where validation stops improving.

    It begins after the first validation whose ``monitor`` is worse than the best of all but the last
    ``patience`` before it: NT-ASGD of Merity, Keskar & Socher, "Regularizing and Optimizing LSTM Language
    Models", ICLR 2018, with plain SGD as the optimizer.
    """

    @checked
    def __init__(self, monitor: str, mode: Literal["min", "max"], patience: Positive = 5) -> None:
        super().__init__()
        self.monitor, self.mode, self.patience = monitor, mode, patience
        self._scores: list[float] = []
        self._begun = False

    def weight(self) -> float | None:
        return 1 / (self._steps + 1) if self._begun else None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        value = trainer.callback_metrics.get(self.monitor)
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or value is None:
            return
        score = float(value) if self.mode == "min" else -float(value)
        earlier = self._scores[: -self.patience]
        self._begun = self._begun or (bool(earlier) and score > min(earlier))
        self._scores.append(score)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "scores": list(self._scores), "begun": self._begun}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._scores, self._begun = [float(s) for s in state_dict["scores"]], bool(state_dict["begun"])


def _trained_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Name and weights of every parameter, shared ones once, on which training has an effect."""
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            yield name, parameter.detach()


def _every_name(module: nn.Module) -> Iterator[tuple[str, str]]:
    """(Each name of a trained parameter, the name it has in :func:`_trained_of`)."""
    first = {id(p): name for name, p in module.named_parameters() if p.requires_grad}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if id(parameter) in first:
            yield name, first[id(parameter)]


def _copy(weights: Mapping[str, Tensor], module: nn.Module) -> None:
    for name, own in _trained_of(module):
        own.copy_(weights[name])
