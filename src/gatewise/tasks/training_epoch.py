"""What an epoch's training steps showed, gathered so that gathering does not slow the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection

STEPS_HELD = 64
"""Steps whose predictions are held before they are scored together."""


class TrainingEpoch:
    """Mean loss, and scores of the predictions, of the training steps of one epoch.

    Logging in every step costs a small model a fifth of its time; here a step appends to lists, which are
    emptied into sums and metrics now and then.
    """

    def __init__(self, metrics: MetricCollection | None = None) -> None:
        self.metrics = metrics
        self.values: dict[str, Tensor] = {}
        """What the epoch comes to, by metric, once its last step is taken."""
        self.step_count = 0
        """Predictions of the last step."""
        self.loss, self.count = 0.0, 0
        self._losses: list[Tensor] = []
        self._counts: list[int] = []
        self._predictions: list[tuple[Tensor, Tensor]] = []

    def add(
        self, loss: Tensor, count: int, predicted: Tensor | None = None, targets: Tensor | None = None
    ) -> None:
        """Take up a step: the mean loss over ``count`` predictions, and these with what was right."""
        self.step_count = count
        self._losses.append(loss.detach())
        self._counts.append(count)
        if predicted is not None and targets is not None:
            self._predictions.append((predicted.detach(), targets))
        if len(self._losses) == STEPS_HELD:
            self.gather()

    def gather(self) -> None:
        """Bring ``loss`` (a sum over predictions), ``count`` and ``metrics`` up to the last step added."""
        if self._losses:
            losses = torch.stack(self._losses).double().cpu()
            self.loss += float(losses @ torch.tensor(self._counts, dtype=losses.dtype))
            self.count += sum(self._counts)
        if self._predictions and self.metrics is not None:
            predicted, targets = zip(*self._predictions, strict=True)
            self.metrics.update(torch.cat(predicted), torch.cat(targets))
        self._losses, self._counts, self._predictions = [], [], []

    def state_dict(self) -> dict[str, Any]:
        """What was added so far; steps that are not scored yet as they are, or sums would be rounded anew."""
        scores = self.metrics.items(keep_base=True, copy_state=False) if self.metrics is not None else ()
        return {
            "loss": self.loss,
            "count": self.count,
            "losses": list(self._losses),
            "counts": list(self._counts),
            "predictions": list(self._predictions),
            "metrics": {name: (dict(m.metric_state), m.update_count) for name, m in scores},
        }

    def load_state_dicts(self, states: Sequence[dict[str, Any]], device: torch.device) -> None:
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
                    metric._update_count += count
        if len(states) > 1:
            self.gather()

    def reset(self) -> None:
        """Forget all steps."""
        self.loss, self.count, self.values = 0.0, 0, {}
        self._losses, self._counts, self._predictions = [], [], []
        if self.metrics is not None:
            self.metrics.reset()
