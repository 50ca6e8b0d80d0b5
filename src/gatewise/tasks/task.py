"""The base of every Task: an encoder, a head, a loss and metrics for one kind of prediction."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from gatewise.kinds.kind import Facts
from gatewise.nn import Recurrent
from gatewise.settings.ranges import TASK, Ranges
from gatewise.tasks.training_epoch import TrainingEpoch

MakeModel = Callable[..., Recurrent]
MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[[Optimizer], LRScheduler]


class Task(pl.LightningModule):
    """A LightningModule that takes any Recurrent and any data whose facts it can use.

    ``model`` makes the encoder once its ``input_size`` is known, ``optimizer`` the optimizer from the
    parameters, and ``scheduler`` the schedule from the optimizer. ``monitor`` is the metric that chooses the
    best checkpoint, ``mode`` whether it should be small (``min``) or large (``max``).

    A task reports ``train/…`` and ``val/…`` metrics while training, ``test/…`` on the test split, and beside
    those ``baseline/<name>/…``, what the trivial answers score on the same examples.
    Raises ValueError, naming both sides, for facts it cannot use.
    """

    facts_type: ClassVar[type[Facts]]

    def __init__(
        self,
        facts: Facts,
        optimizer: MakeOptimizer | None,
        scheduler: MakeScheduler | None,
        monitor: str,
        mode: str,
    ) -> None:
        Ranges(TASK).check(locals())
        super().__init__()
        if not isinstance(facts, self.facts_type):
            raise ValueError(
                f"{type(self).__name__} takes {self.facts_type.summary}, but the data gives {facts.summary}"
            )
        self.monitor, self.mode = monitor, mode
        self.training_epoch = TrainingEpoch()
        self._make_optimizer, self._make_scheduler = optimizer, scheduler
        self._scheduler: LRScheduler | None = None
        self._scheduler_state: dict[str, Any] | None = None

    def training_loss(self, batch: Any) -> Tensor:
        """The mean loss of a training batch, with nothing measured or logged."""
        raise NotImplementedError

    def report(self) -> dict[str, Any]:
        """What the last test showed beyond its metrics: plain values by the name of the picture they make."""
        return {}

    def log_training_step(
        self, loss: Tensor, count: int, predicted: Tensor | None = None, targets: Tensor | None = None
    ) -> None:
        """Log a step's mean loss over ``count`` predictions; in the epoch's last step, the whole epoch's."""
        self.training_epoch.add(loss, count, predicted, targets)
        trainer = self.trainer
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (trainer.global_step + 1) % every == 0:
            self._log_step_loss(loss.detach())
        whole = (trainer.fit_loop.batch_idx + 1) % trainer.accumulate_grad_batches == 0
        # Not when the epoch ends: Lightning asks the callbacks first then.
        if trainer.is_last_batch or (whole and trainer.global_step + 1 == trainer.max_steps):
            self._close_training_epoch()

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Weight this process's mean loss by its share of the step's predictions.

        Gradients are averaged over the processes; so weighted, their average is the gradient of the mean over
        all predictions, as one process would have it, however unequal the shares are.
        """
        if self.trainer.world_size > 1:
            count = self.training_epoch.step_count
            counts = torch.tensor(float(count), device=loss.device)
            torch.distributed.all_reduce(counts)
            loss = loss * (count * self.trainer.world_size / counts.clamp(min=1))
        super().backward(loss, *args, **kwargs)

    def _log_step_loss(self, loss: Tensor) -> None:
        """Give ``step/loss`` to the loggers; ``self.log`` alone would take as long as a tenth of the step."""
        if self.trainer.progress_bar_callback is not None:
            self.log("step/loss", loss, on_step=True, prog_bar=True, logger=False, batch_size=1)
        values = {"step/loss": float(loss), "epoch": self.trainer.current_epoch}
        for logger in self.loggers:
            logger.log_metrics(values, self.trainer.global_step)

    def _close_training_epoch(self) -> None:
        """Let callbacks see the epoch's training metrics; loggers get them when it ends."""
        epoch = self.training_epoch
        epoch.gather()
        values = self.training_means(epoch.loss, epoch.count)
        if epoch.metrics is not None:
            values.update(epoch.metrics.compute())
        epoch.values = values
        # These are final: ``self.log`` would gather each for a third of a millisecond.
        for seen in (self.trainer.callback_metrics, self.trainer.logged_metrics):
            seen.update(values)

    def training_means(self, loss: float, count: int) -> dict[str, Tensor]:
        """Metrics by name of ``loss``, a sum over ``count`` predictions of training, with all processes'."""
        sums = torch.tensor([loss, count], dtype=torch.get_default_dtype(), device=self.device)
        total, number = self.trainer.strategy.reduce(sums, reduce_op="sum")
        mean = total / number.clamp(min=1)
        return {"train/loss": mean, **self.from_training_loss(mean)}

    def _log_training_epoch(self) -> None:
        values = {name: float(value) for name, value in self.training_epoch.values.items()}
        if not values:
            return
        for logger in self.loggers:
            # Under the epoch's last step.
            logger.log_metrics({**values, "epoch": self.trainer.current_epoch}, self.trainer.global_step - 1)

    def from_training_loss(self, loss: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Metrics of the training, by name, that follow from its mean loss."""
        return {}

    def on_train_epoch_start(self) -> None:
        self.training_epoch.reset()

    def log_mean(self, name: str, value: Tensor, count: int) -> None:
        """Log a mean over ``count`` predictions, so that the epoch's is over those of all processes."""
        # Lightning cuts the processes' mean count to a whole number, which theirs need not be; this one is.
        count *= self.trainer.world_size
        self.log(name, value, on_step=False, on_epoch=True, batch_size=count, sync_dist=True)

    def epoch_state(self) -> dict[str, Any]:
        """What the training steps of this epoch have left here beside the weights, as plain values."""
        return {"training_epoch": self.training_epoch.state_dict()}

    def load_epoch_state(self, ranks: list[dict[str, Any]]) -> None:
        """Take up an epoch where the processes that trained it, maybe more or fewer, left it."""
        rank, count = self.trainer.global_rank, self.trainer.world_size
        mine = [state["training_epoch"] for state in ranks[rank::count]]
        self.training_epoch.load_state_dicts(mine, self.device)
        if self.trainer.is_last_batch:
            self._close_training_epoch()  # only its validation is to come

    # The scheduler is stepped here and not by Lightning: it must have moved before the epoch's checkpoint is
    # written, or a resumed training repeats an epoch's learning rate.

    def configure_optimizers(self) -> Optimizer:
        assert self._make_optimizer is not None, "this task was built for prediction alone"
        optimizer = self._make_optimizer(p for p in self.parameters() if p.requires_grad)
        if self._make_scheduler is not None:
            self._scheduler = self._make_scheduler(optimizer)
            if self._scheduler_state is not None:
                self._scheduler.load_state_dict(self._scheduler_state)
        return optimizer

    def on_train_epoch_end(self) -> None:
        self._log_training_epoch()
        if isinstance(self._scheduler, ReduceLROnPlateau):
            watched = self.trainer.callback_metrics.get(self.monitor)
            if watched is not None:
                self._scheduler.step(float(watched))
        elif self._scheduler is not None:
            with warnings.catch_warnings():
                # In an epoch of which only the validation was left, this process has taken no step.
                warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
                self._scheduler.step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self._scheduler is not None:
            checkpoint["scheduler"] = self._scheduler.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._scheduler_state = checkpoint.get("scheduler")


def detached(state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The same state, cut from the graph that made it."""
    return tuple(s.detach() for s in state)


def last_hidden(encoder: Recurrent, state: tuple[Tensor, ...]) -> Tensor:
    """[B, D·H]: the last layer's final hidden state in each direction, side by side."""
    return torch.cat(list(state[0][-encoder.num_directions :]), dim=-1)
