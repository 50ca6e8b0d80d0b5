"""The base of every Task: an encoder, a head, a loss and metrics for one kind of prediction."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from gatewise.kinds.kind import Facts, Input
from gatewise.nn import masks
from gatewise.nn.last import last_hidden as last_hidden  # a name that users' tasks import from here
from gatewise.settings import check_constructor, checked
from gatewise.tasks.answer import Answer, Line
from gatewise.tasks.clipping import clip
from gatewise.tasks.inspected import Inspected
from gatewise.tasks.scores import EpochScores, Measure, Score, SplitScores

MakeModel = Callable[..., Any]
MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[[Optimizer], LRScheduler]
MASKS = "masks_of_bits"
"""Where a checkpoint says whether masks of dropout are of random bits, as not all versions had them."""


class Task(pl.LightningModule):
    """A LightningModule that takes any Recurrent and any data whose facts it can use.

    A subclass builds its encoder and head, and implements :meth:`score` and :meth:`metrics`; also
    :meth:`baselines` if there are trivial answers to compare with, :meth:`answer` for ``gatewise predict``
    and :meth:`inspected` for ``gatewise inspect``. This class has the training, validation and test steps,
    their logging once per epoch and the all-reduce over several processes.

    ``optimizer`` makes the optimizer from the parameters, ``scheduler`` the learning-rate scheduler from the
    optimizer. ``monitor`` is the metric that chooses the best checkpoint, and ``mode`` says whether lower
    (``min``) or higher (``max``) is better.

    A task reports ``train/…`` and ``val/…`` metrics during training, ``test/…`` metrics on the test split,
    and ``baseline/<name>/…`` metrics of the trivial answers on the same test examples.
    Raises ValueError, naming both kinds of data, for facts it cannot use.
    """

    section: ClassVar[str] = "task"
    """The section of a config that takes it."""
    facts_type: ClassVar[type[Facts]]
    measured: ClassVar[tuple[str, ...]] = ()
    """Every name that :meth:`metrics` may give, beside the loss, where that is known without data."""
    scores_per_step: int = 0
    """Numbers that it computes for each step of a sequence, beside what the encoder gives."""
    has_encoder: ClassVar[bool] = True
    """Whether ``encoder``, or that of ``net``, is what ``model`` makes of its settings alone."""
    tags_words: ClassVar[bool] = False
    """Whether the rows of its answers are words with a tag each, which a column file can hold."""
    answer_settings: ClassVar[tuple[str, ...]] = ()
    """Settings of :meth:`answer`, which ``gatewise predict`` may change because no weight depends on them."""

    evaluation_settings: ClassVar[tuple[str, ...]] = ()
    """Settings that ``gatewise evaluate`` may change, because no weight depends on them."""
    needs_parts: bool = False
    """Whether a test reads ``parts``."""
    wants_parts: bool = False
    """Whether it reads them where they are there, and says less where they are not."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_constructor(cls)

    @checked
    def __init__(
        self,
        facts: Facts,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
        monitor: str = "val/loss",
        mode: Literal["min", "max"] = "min",
    ) -> None:
        super().__init__()
        if not isinstance(facts, self.facts_type):
            raise ValueError(
                f"{type(self).__name__} takes {self.facts_type.summary}, but the data gives {facts.summary}"
            )
        self.facts: Any = facts
        self.monitor, self.mode = monitor, mode
        self.parts: Mapping[str, Callable[[], Iterable[Any]]] = {}
        """What gives the batches of the data's ``training`` and ``validation`` parts, and the ``history``
        that came before the test part; set before a test."""
        self._make_optimizer, self._make_scheduler = optimizer, scheduler
        self._scheduler: LRScheduler | None = None
        self._scheduler_state: dict[str, Any] | None = None
        self._measures = self.metrics()
        self.scores = SplitScores(self._measures)
        self._baselines: dict[str, EpochScores] = {}
        self._accumulated = 0.0
        """Predictions, over all processes, whose gradients wait for the optimizer's step."""
        self.validated = False
        """Whether this epoch has had a validation: else ``val/…`` metrics are those of an earlier one."""

    # ---- for a subclass to implement

    def begin(self, parts: Mapping[str, Callable[[], Iterable[Any]]]) -> None:
        """Set weights that a new training begins with, by the data's ``parts``; usually none."""

    def score(self, batch: Any) -> Score:
        """The mean loss of a batch, the number of predictions in it, and what the metrics compare."""
        raise NotImplementedError

    def metrics(self) -> Mapping[str, Measure]:
        """Every metric by name, with its meaning; called once, after ``self.facts`` is set."""
        return {}

    def baselines(self, batch: Any) -> Mapping[str, Score]:  # noqa: ARG002
        """The scores of trivial answers on a test batch, by name."""
        return {}

    def answer(self, given: Input) -> Answer:  # noqa: ARG002
        """The prediction for a user's input, as a table; ValueError if the task has none."""
        raise ValueError(f"{type(self).__name__} cannot predict: it only trains and scores")

    def answer_lines(self, given: Input) -> Sequence[Line]:
        """The answer to each text that ``DataModule.read_lines`` has read at once, in their order.

        Without a method of its own a task answers one text at a time, with the table of :meth:`answer`.
        """
        answer = self.answer(given)
        answer.check_finite()
        return [answer.as_line()]

    def streamed(self) -> Any:
        """What reads frames as they come: ``accept(frames)`` and ``end()`` return what was read.

        Raises ValueError if the task, or its model, has to see the whole input first.
        """
        raise ValueError(f"stream=true: {type(self).__name__} answers to a whole input alone")

    def inspected(self, given: Input) -> Inspected:  # noqa: ARG002
        """What ``gatewise inspect`` looks at in some sequences; ValueError if the task does not say."""
        raise ValueError(f"{type(self).__name__} cannot be inspected: it has no method `inspected`")

    def runs(self) -> Mapping[str, str]:
        """Run directories of other trainings that it asks, each by the setting that names it."""
        return {}

    def take_run(self, setting: str, task: Task) -> None:
        """Take the trained task of the run directory that this setting names."""
        raise NotImplementedError

    @classmethod
    def sizes(cls, facts: Any, settings: Mapping[str, Any]) -> Mapping[str, tuple[str, int, int]]:  # noqa: ARG003
        """What of the facts decides a size of weights: by the field these, the dimension, and the size.

        ``settings`` are those of the task in its config.
        """
        return {}

    def add_to_report(self, batch: Any, score: Score) -> None:
        """Collect from a test batch what :meth:`report` needs."""

    def report(self) -> dict[str, Any]:
        """Results of the last test besides its metrics: plain values, by the name of their picture."""
        return {}

    def examples(self) -> Answer | None:
        """Single examples of the last test to show below its results, as a table; None if there are none."""
        return None

    def tables(self) -> dict[str, Any]:
        """Tables (pandas) of the last test, too long for the screen, by the name of their CSV file."""
        return {}

    def remarks(self) -> list[str]:
        """Lines about the last test to print below its results."""
        return []

    # ---- the steps

    @property
    def training_epoch(self) -> EpochScores:
        """The scores of this epoch's training steps so far."""
        return self.scores.on_train

    def meanings(self) -> dict[str, str]:
        """What each metric means, by name."""
        meanings = {name: measure.meaning for name, measure in self._measures.items()}
        return {**meanings, "loss": "the quantity that training minimises, on this split"}

    def modes(self) -> dict[str, Literal["min", "max"]]:
        """Whether low or high values of a metric are good, by full ``val/…`` name, where that is known."""
        modes = {name: mode for name, measure in self._measures.items() if (mode := measure.mode) is not None}
        named = {f"val/{name}": mode for name, mode in {"loss": "min", **modes}.items()}
        return {**named, self.monitor: self.mode}

    def on_train_epoch_start(self) -> None:
        self.training_epoch.reset()
        self.validated = False

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ARG002
        score = self.score(batch)
        assert score.loss is not None
        self.training_epoch.add(score)
        trainer = self.trainer
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (trainer.global_step + 1) % every == 0:
            self._log_step_loss(score.loss.detach())
        last_of_step = (trainer.fit_loop.batch_idx + 1) % trainer.accumulate_grad_batches == 0
        # Not in on_train_epoch_end: Lightning runs the callbacks' hooks before that of the module.
        if trainer.is_last_batch or (last_of_step and trainer.global_step + 1 == trainer.max_steps):
            self._close_training_epoch()
        return score.loss if score.penalty is None else score.loss + score.penalty

    def on_validation_epoch_start(self) -> None:
        self.scores.on_val.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        self.scores.on_val.add(self.score(batch))

    def on_validation_epoch_end(self) -> None:
        # Once per epoch: logging takes as long as a step of a small model.
        self.log_dict(self._reduced("val", self.scores.on_val), prog_bar=True)
        self.validated = True

    def on_test_epoch_start(self) -> None:
        self.scores.on_test.reset()
        self._baselines = {}

    def test_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        score = self.score(batch)
        self.scores.on_test.add(score)
        for name, trivial in self.baselines(batch).items():
            if name not in self._baselines:
                self._baselines[name] = EpochScores(self._measures).to(self.device)
            self._baselines[name].add(trivial)
        self.add_to_report(batch, score)

    def on_test_epoch_end(self) -> None:
        self.log_dict(self._reduced("test", self.scores.on_test))
        for name, scores in self._baselines.items():
            self.log_dict(self._reduced(f"baseline/{name}", scores))

    def _reduced(self, prefix: str, scores: EpochScores) -> dict[str, Tensor]:
        """The metrics of an epoch by full name, reduced over all processes."""
        scores.gather()
        loss, count = self.summed(scores.loss, scores.count)
        values = scores.of_loss(self.mean_over(loss, count)) if count else {}
        return {f"{prefix}/{name}": value for name, value in {**values, **scores.compared()}.items()}

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Keep the gradients those of the mean over all predictions since the optimizer's last step.

        ``loss`` is the mean over one batch, of which one process may have fewer than another and the last of
        an epoch fewer than those before; with ``accumulate_grad_batches``, a step follows several batches.
        So a step over k batches and n processes is the one over their union, however unequal they are.
        """
        trainer = self.trainer
        batches: int = trainer.accumulate_grad_batches
        if trainer.world_size > 1 or batches > 1:
            count = self.training_epoch.step_count
            counts = torch.tensor(float(count), device=loss.device)
            if trainer.world_size > 1:
                torch.distributed.all_reduce(counts)
            before = self._accumulated if trainer.fit_loop.batch_idx % batches else 0.0
            self._accumulated = before + float(counts)
            total = max(self._accumulated, 1.0)
            # Lightning has divided by the number of batches, and averages over the processes.
            loss = loss * (batches * trainer.world_size * count / total)
            if before:
                for parameter in self.parameters():
                    if parameter.grad is not None:
                        parameter.grad.mul_(before / total)
        super().backward(loss, *args, **kwargs)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients; on a GPU, and with gradients of other precisions, Lightning does."""
        by_norm = gradient_clip_val and (gradient_clip_algorithm or "norm") == "norm"
        if by_norm and self.device.type == "cpu" and self.trainer.precision == "32-true":
            clip(optimizer, float(gradient_clip_val or 0))
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _log_step_loss(self, loss: Tensor) -> None:
        """Send ``step/loss`` to the loggers directly: ``self.log`` would take a tenth of the step's time."""
        if self.trainer.progress_bar_callback is not None:
            self.log("step/loss", loss, on_step=True, prog_bar=True, logger=False, batch_size=1)
        values = {"step/loss": float(loss), "epoch": self.trainer.current_epoch}
        for logger in self.loggers:
            logger.log_metrics(values, self.trainer.global_step)

    def _close_training_epoch(self) -> None:
        """Compute the epoch's training metrics for the callbacks; the loggers get them at its end."""
        epoch = self.training_epoch
        epoch.gather()
        values = self.training_means(epoch.loss, epoch.count)
        values.update({f"train/{name}": value for name, value in epoch.compared().items()})
        epoch.values = values
        # Set directly, as they are final: ``self.log`` would take a third of a millisecond for each.
        for metrics in (self.trainer.callback_metrics, self.trainer.logged_metrics):
            metrics.update(values)

    def training_means(self, loss: float, count: int) -> dict[str, Tensor]:
        """Training metrics computed from ``loss``, a sum over ``count`` predictions, over all processes."""
        mean = self.mean_over(*self.summed(loss, count))
        return {f"train/{name}": value for name, value in self.training_epoch.of_loss(mean).items()}

    def summed(self, loss: float, count: float) -> tuple[float, float]:
        """Both sums over all processes (an all-reduce)."""
        if self.trainer.world_size == 1:
            return loss, count
        # float64 if the device has it: float32 cannot count to twenty million.
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        sums = torch.tensor([loss, count], dtype=dtype, device=self.device)
        total, number = self.trainer.strategy.reduce(sums, reduce_op="sum").tolist()
        return total, number

    def mean_over(self, loss: float, count: float) -> Tensor:
        return torch.tensor(loss / max(count, 1), dtype=torch.get_default_dtype(), device=self.device)

    def _log_training_epoch(self) -> None:
        values = {name: float(value) for name, value in self.training_epoch.values.items()}
        if not values:
            return
        for logger in self.loggers:
            # With the number of the epoch's last step.
            logger.log_metrics({**values, "epoch": self.trainer.current_epoch}, self.trainer.global_step - 1)

    def epoch_state(self) -> dict[str, Any]:
        """State of a partly trained epoch, as plain values, for a checkpoint in mid-epoch."""
        return {
            "training_epoch": self.training_epoch.epoch_state(),
            "accumulated": self._accumulated,
            "validated": self.validated,
        }

    def load_epoch_state(self, ranks: list[dict[str, Any]]) -> None:
        """Restore a partly trained epoch from the states of all ranks, now maybe more or fewer."""
        rank, count = self.trainer.global_rank, self.trainer.world_size
        states = [state["training_epoch"] for state in ranks[rank::count]]
        self.training_epoch.load_epoch_states(states, self.device)
        self._accumulated = ranks[0].get("accumulated", 0.0)
        self.validated = ranks[0].get("validated", True)
        if self.trainer.is_last_batch:
            self._close_training_epoch()  # only its validation is left

    # The scheduler is stepped here and not by Lightning, because that has to happen before the epoch's
    # checkpoint is written: otherwise a resumed training repeats the learning rate of an epoch.

    def configure_optimizers(self) -> Optimizer:
        assert self._make_optimizer is not None, "this task was built for prediction only"
        optimizer = self._make_optimizer(p for p in self.parameters() if p.requires_grad)
        if self._make_scheduler is not None:
            self._scheduler = self._make_scheduler(optimizer)
            if self._scheduler_state is not None:
                self._scheduler.load_state_dict(self._scheduler_state)
        return optimizer

    def new_scheduler(self) -> LRScheduler | None:
        """A scheduler as the training makes it, of one weight by itself; None for a training without one."""
        if self._make_optimizer is None or self._make_scheduler is None:
            return None
        return self._make_scheduler(self._make_optimizer([nn.Parameter(torch.zeros(1))]))

    def on_train_epoch_end(self) -> None:
        self._log_training_epoch()
        if isinstance(self._scheduler, ReduceLROnPlateau):
            monitored = self.trainer.callback_metrics.get(self.monitor)
            if monitored is not None and (self.validated or not self.monitor.startswith("val/")):
                self._scheduler.step(float(monitored))
        elif self._scheduler is not None:
            with warnings.catch_warnings():
                # After a resume with only the validation left, this process has taken no optimizer step.
                warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
                self._scheduler.step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["names"] = self.facts.digests()
        checkpoint[MASKS] = not masks.are_of_torch()
        if self._scheduler is not None:
            checkpoint["scheduler"] = self._scheduler.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._scheduler_state = checkpoint.get("scheduler")
