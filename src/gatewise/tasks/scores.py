"""Scores of an epoch's batches, collected without slowing down the steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

BUFFERED_BATCHES = 64
"""Batches that are buffered before their losses and predictions are added up together."""
BUFFERED_NUMBERS = 4_000_000
"""Numbers of their predictions and targets from which on there are fewer."""


@dataclass(frozen=True)
class Score:
    """The result of a task, or of a trivial answer, on one batch."""

    loss: Tensor | None
    """Mean over ``count`` predictions; None for an answer without a loss."""
    count: int
    predicted: Tensor | None = None
    """Predictions that the metrics compare with ``targets``; None if every metric follows from the loss."""
    targets: Tensor | None = None
    penalty: Tensor | None = None
    """What training minimises beside the loss, and no metric counts."""
    sizes: Mapping[str, float] = field(default_factory=dict)
    """The mean size of a prediction over the whole split, by unit, such as the characters of a token."""


@dataclass(frozen=True)
class Measure:
    """A metric and its meaning; ``metric`` compares predictions, ``of_loss`` computes it from the loss.

    The loss is that of a prediction or, with ``per``, of a unit of its size; nothing where that is not known.
    What is only ``of_tests`` would say nothing new of every epoch.
    """

    meaning: str
    metric: Metric | None = None
    of_loss: Callable[[Tensor], Tensor] | None = None
    per: str | None = None
    of_tests: bool = False

    @property
    def mode(self) -> Literal["min", "max"] | None:
        """Whether low (``min``) or high (``max``) values are good; None where that is not known."""
        if self.of_loss is not None:
            low, high = (float(self.of_loss(torch.tensor(loss))) for loss in (1.0, 2.0))
            return None if low == high else "min" if low < high else "max"
        higher = getattr(self.metric, "higher_is_better", None)
        return None if higher is None else "max" if higher else "min"


class EpochScores(nn.Module):
    """Mean loss and metrics over the batches of one epoch.

    Logging in every step would cost a small model a fifth of its time. Here a step only appends to lists,
    which are added to the sums and metrics once in a while.
    """

    def __init__(self, measures: Mapping[str, Measure]) -> None:
        super().__init__()
        compared = {name: measure.metric.clone() for name, measure in measures.items() if measure.metric}
        self.metrics = MetricCollection(compared) if compared else None  # type: ignore[arg-type]
        self._of_loss = {
            name: (measure.of_loss, measure.per) for name, measure in measures.items() if measure.of_loss
        }
        self.sizes: Mapping[str, float] = {}
        """The mean size of a prediction, by unit."""
        self.values: dict[str, Tensor] = {}
        """The training epoch's metrics by full name, set after its last step."""
        self.step_count = 0
        """Number of predictions in the last batch."""
        self.loss, self.count = 0.0, 0
        self._losses: list[Tensor | float] = []
        self._counts: list[int] = []
        self._predictions: list[tuple[Tensor, Tensor]] = []
        self._numbers = 0
        """Of these predictions and targets."""

    def add(self, score: Score) -> None:
        """Add the score of a batch."""
        self.step_count = score.count
        self.sizes = score.sizes
        if score.loss is not None:
            self._losses.append(_held(score.loss.detach(), score.loss.device))
            self._counts.append(score.count)
        if score.predicted is not None and score.targets is not None:
            self._predictions.append((score.predicted.detach(), score.targets))
            self._numbers += score.predicted.numel() + score.targets.numel()
        batches = max(len(self._losses), len(self._predictions))
        if batches >= BUFFERED_BATCHES or self._numbers >= BUFFERED_NUMBERS:
            self.gather()

    def gather(self) -> None:
        """Bring ``loss`` (a sum over predictions), ``count`` and ``metrics`` up to the last batch added."""
        if self._losses:
            losses = _as_doubles(self._losses)
            self.loss += float(losses @ torch.tensor(self._counts, dtype=losses.dtype))
            self.count += sum(self._counts)
        if self._predictions and self.metrics is not None:
            predicted, targets = zip(*self._predictions, strict=True)
            self.metrics.update(torch.cat(predicted), torch.cat(targets))
        self._losses, self._counts, self._predictions, self._numbers = [], [], [], 0

    def compared(self) -> dict[str, Tensor]:
        """The metrics that compare predictions, reduced over all processes; each of them must call this.

        Without any predictions, as in the training of a task that searches for them, there are none.
        """
        self.gather()
        if self.metrics is None or not any(metric.update_count for metric in self.metrics.values()):
            return {}
        return dict(self.metrics.compute())

    def of_loss(self, mean: Tensor) -> dict[str, Tensor]:
        """The mean loss, and the metrics computed from it."""
        values = {"loss": mean}
        for name, (compute, per) in self._of_loss.items():
            if per is None:
                values[name] = compute(mean)
            elif per in self.sizes:
                values[name] = compute(mean / self.sizes[per])
        return values

    def epoch_state(self) -> dict[str, Any]:
        """Everything added so far; batches stay buffered, as adding them up now would round differently."""
        scores = self.metrics.items(keep_base=True, copy_state=False) if self.metrics is not None else ()
        return {
            "loss": self.loss,
            "count": self.count,
            "losses": list(self._losses),
            "counts": list(self._counts),
            "predictions": list(self._predictions),
            "sizes": dict(self.sizes),
            "metrics": {name: (dict(m.metric_state), m.update_count) for name, m in scores},
        }

    def load_epoch_states(self, states: Sequence[dict[str, Any]], device: torch.device) -> None:
        """Replace everything added so far by the saved states of one or several processes."""
        self.reset()
        for state in states:
            self.loss += state["loss"]
            self.count += state["count"]
            self.sizes = state.get("sizes", {})
            self._losses += [_held(loss, device) for loss in state["losses"]]
            self._counts += state["counts"]
            self._predictions += [(p.to(device), t.to(device)) for p, t in state["predictions"]]
            self._numbers += sum(p.numel() + t.numel() for p, t in state["predictions"])
            if self.metrics is not None:
                for name, metric in self.metrics.items(keep_base=True, copy_state=False):
                    values, count = state["metrics"][name]
                    values = {key: value.to(device) for key, value in values.items()}
                    if metric.update_count > 0:
                        metric.merge_state(values)
                    else:
                        for key, value in values.items():
                            setattr(metric, key, value)
                    # Private to torchmetrics: else it warns that nothing was ever added.
                    metric._update_count += count
        if len(states) > 1:
            self.gather()

    def reset(self) -> None:
        """Forget all batches."""
        self.loss, self.count, self.values = 0.0, 0, {}
        self._losses, self._counts, self._predictions, self._numbers = [], [], [], 0
        if self.metrics is not None:
            self.metrics.reset()


def _held(loss: Tensor | float, device: torch.device) -> Tensor | float:
    """A loss that is added up later: on the CPU a number, elsewhere a tensor, so that no step waits for it.

    Between the scores of a large vocabulary, which come and go, a small tensor that stays would keep the
    memory of theirs from being used again: 20 MB a batch.
    """
    return float(loss) if device.type == "cpu" else torch.as_tensor(loss, device=device)


def _as_doubles(losses: Sequence[Tensor | float]) -> Tensor:
    tensors = [loss for loss in losses if isinstance(loss, Tensor)]
    return torch.stack(tensors).double().cpu() if tensors else torch.tensor(losses, dtype=torch.float64)


class SplitScores(nn.Module):
    """The scores of every split, in one module so that Lightning's model summary shows one row."""

    def __init__(self, measures: Mapping[str, Measure]) -> None:
        super().__init__()
        of_epochs = {name: measure for name, measure in measures.items() if not measure.of_tests}
        self.on_train, self.on_val = EpochScores(of_epochs), EpochScores(of_epochs)
        self.on_test = EpochScores(measures)
