"""What the batches of an epoch came to, gathered so that gathering does not slow the steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

STEPS_HELD = 64
"""Batches whose predictions are held before they are scored together."""


@dataclass(frozen=True)
class Score:
    """What a task, or a trivial answer, made of one batch."""

    loss: Tensor | None
    """Mean over ``count`` predictions; None for an answer that has no loss."""
    count: int
    predicted: Tensor | None = None
    """What the metrics compare with ``targets``; None where every metric follows from the loss."""
    targets: Tensor | None = None


@dataclass(frozen=True)
class Measure:
    """A metric and what it means; ``metric`` compares predictions, ``of_loss`` follows from the mean loss."""

    meaning: str
    metric: Metric | None = None
    of_loss: Callable[[Tensor], Tensor] | None = None


class EpochScores(nn.Module):
    """Mean loss and metrics of the batches of one epoch.

    To log in every step costs a small model a fifth of its time. Here a step appends to lists, which are
    emptied into sums and metrics now and then.
    """

    def __init__(self, measures: Mapping[str, Measure]) -> None:
        super().__init__()
        compared = {name: measure.metric.clone() for name, measure in measures.items() if measure.metric}
        self.metrics = MetricCollection(compared) if compared else None  # type: ignore[arg-type]
        self._of_loss = {name: measure.of_loss for name, measure in measures.items() if measure.of_loss}
        self.values: dict[str, Tensor] = {}
        """What the training epoch came to, by full name, once its last step is taken."""
        self.step_count = 0
        """Predictions of the last batch."""
        self.loss, self.count = 0.0, 0
        self._losses: list[Tensor] = []
        self._counts: list[int] = []
        self._predictions: list[tuple[Tensor, Tensor]] = []

    def add(self, score: Score) -> None:
        """Take up a batch."""
        self.step_count = score.count
        if score.loss is not None:
            self._losses.append(score.loss.detach())
            self._counts.append(score.count)
        if score.predicted is not None and score.targets is not None:
            self._predictions.append((score.predicted.detach(), score.targets))
        if max(len(self._losses), len(self._predictions)) >= STEPS_HELD:
            self.gather()

    def gather(self) -> None:
        """Bring ``loss`` (a sum over predictions), ``count`` and ``metrics`` up to the last batch added."""
        if self._losses:
            losses = torch.stack(self._losses).double().cpu()
            self.loss += float(losses @ torch.tensor(self._counts, dtype=losses.dtype))
            self.count += sum(self._counts)
        if self._predictions and self.metrics is not None:
            predicted, targets = zip(*self._predictions, strict=True)
            self.metrics.update(torch.cat(predicted), torch.cat(targets))
        self._losses, self._counts, self._predictions = [], [], []

    def compared(self) -> dict[str, Tensor]:
        """The metrics that compare predictions, over all processes; all of them have to ask."""
        self.gather()
        return {} if self.metrics is None else dict(self.metrics.compute())

    def of_loss(self, mean: Tensor) -> dict[str, Tensor]:
        """The mean loss, and the metrics that follow from it."""
        return {"loss": mean, **{name: follow(mean) for name, follow in self._of_loss.items()}}

    def epoch_state(self) -> dict[str, Any]:
        """What was added so far; batches not scored yet as they are, or sums would be rounded anew."""
        scores = self.metrics.items(keep_base=True, copy_state=False) if self.metrics is not None else ()
        return {
            "loss": self.loss,
            "count": self.count,
            "losses": list(self._losses),
            "counts": list(self._counts),
            "predictions": list(self._predictions),
            "metrics": {name: (dict(m.metric_state), m.update_count) for name, m in scores},
        }

    def load_epoch_states(self, states: Sequence[dict[str, Any]], device: torch.device) -> None:
        """Take up what was added elsewhere: by this process, or by several."""
        self.reset()
        for state in states:
            self.loss += state["loss"]
            self.count += state["count"]
            self._losses += [loss.to(device) for loss in state["losses"]]
            self._counts += state["counts"]
            self._predictions += [(p.to(device), t.to(device)) for p, t in state["predictions"]]
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
        self._losses, self._counts, self._predictions = [], [], []
        if self.metrics is not None:
            self.metrics.reset()


class SplitScores(nn.Module):
    """The scores of every split: one module, and so one row of the model table."""

    def __init__(self, measures: Mapping[str, Measure]) -> None:
        super().__init__()
        self.on_train, self.on_val = EpochScores(measures), EpochScores(measures)
        self.on_test = EpochScores(measures)
