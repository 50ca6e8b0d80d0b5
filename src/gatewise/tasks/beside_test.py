"""Other ways to score a language model on its test text, each reported by a name of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gatewise.kinds.kind import IGNORED
from gatewise.kinds.text import TextBatch
from gatewise.tasks.dynamic_evaluation import LANES, DynamicEvaluation, Forward, State, stream_of
from gatewise.tasks.scores import EpochScores, Score
from gatewise.tasks.task import Task
from gatewise.tasks.temperature import best_temperature

MOST_NATS = 80
"""A mean loss of more is a perplexity that float32 hardly has: the weights have left all bounds."""
_HOW = {
    "dynamic": "with weights that learn from the text",
    "tempered": "at a temperature chosen on validation",
}


class BesideTest:
    """What is computed during a test of ``task`` beside its own scores.

    Args:
        forward: the task's scores of every next token, divided by ``temperature``.
        tempered: whether a temperature is chosen on the validation part, to score the test with.
        dynamic: how weights learn from the test's text, if they do.
        statistics: segments of the training part that the sizes of gradients are computed from; None: all.
    """

    def __init__(
        self,
        task: Task,
        forward: Forward,
        temperature: float,
        tempered: bool,
        dynamic: DynamicEvaluation | None,
        statistics: int | None,
    ) -> None:
        self._task, self._forward, self._own_temperature = task, forward, temperature
        self.tempered, self.dynamic, self.statistics = tempered, dynamic, statistics
        self._windows: list[TextBatch] = []
        self._temperature: float | None = None
        """During a test: what divides the task's scores, chosen on the validation part."""
        self._tempered = EpochScores({})
        """Of the test so far, at that temperature."""

    @property
    def needs_parts(self) -> bool:
        """Whether the data's other parts are read."""
        return self.tempered or (self.dynamic is not None and self.dynamic.method == "rms")

    def begin(self) -> None:
        """Get ready for a test."""
        self._windows = []
        self._tempered.reset()
        if self.tempered:
            self._temperature = best_temperature(self._scored_validation, self._task.summed)

    def add(self, scores: Tensor, targets: Tensor) -> None:
        """Take up the scores [B · T, V] and targets [B, T] of a window; nothing outside of a test."""
        if self._temperature is not None:
            tempered = scores / self._temperature
            loss = F.cross_entropy(tempered, targets.flatten(), ignore_index=IGNORED, reduction="sum")
            count = int((targets != IGNORED).sum())
            self._tempered.add(Score(loss / max(count, 1), count))

    def add_window(self, batch: TextBatch) -> None:
        """Keep a window of the test for what reads the text once more."""
        if self.dynamic is not None:
            self._windows.append(batch)

    def finish(self) -> dict[str, Tensor | float]:
        """The scores, by full name."""
        found: dict[str, Tensor | float] = {}
        task = self._task
        if self._temperature is not None:
            self._tempered.gather()
            found |= self._named("tempered", *task.summed(self._tempered.loss, self._tempered.count))
            found["test/temperature"] = self._own_temperature * self._temperature
            self._temperature = None
        if self.dynamic is not None:
            found |= self._named("dynamic", *self._dynamic_loss(self.dynamic))
            self._windows = []
        return found

    def meanings(self, of: dict[str, str]) -> dict[str, str]:
        """What each of them means, for the meanings of the test's own."""
        meanings = {f"{how}_{name}": f"{name} {said}" for how, said in _HOW.items() for name in of}
        return {**meanings, "temperature": "that tempered scores are divided by"}

    def _named(self, how: str, loss: float, count: float) -> dict[str, Tensor]:
        mean = self._task.mean_over(loss, count)
        return {f"test/{how}_{name}": v for name, v in self._task.scores.on_test.of_loss(mean).items()}

    def _scored_validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        state: State | None = None
        device = self._task.device
        for batch in self._task.parts["validation"]():
            scores, state = self._forward(batch.tokens.to(device), state)
            targets = batch.targets.to(device)
            counted = targets != IGNORED
            yield scores[counted], targets[counted]

    def _dynamic_loss(self, dynamic: DynamicEvaluation) -> tuple[float, int]:
        """The summed loss of the test's text, read in its order, and the number of its tokens."""
        task = self._task
        # Weights are about to learn, which tensors of inference mode cannot take part in.
        with torch.inference_mode(False), torch.enable_grad():
            text = self._gathered(stream_of(self._windows))
            scales: Sequence[Tensor] | None = None
            if dynamic.method == "rms":
                most = None
                if self.statistics is not None:  # of each process its share
                    most = -(-self.statistics * dynamic.segment * LANES // task.trainer.world_size)
                training = self._gathered(stream_of(task.parts["training"](), most))
                scales = dynamic.gradient_scales(task, self._forward, training, self.statistics)
            loss = dynamic.loss(task, self._forward, text, scales)
        count = text.tokens.shape[1]
        if not loss / count < MOST_NATS:  # NaN too
            raise ValueError(
                f"dynamic evaluation has made the loss {loss / count:.3g}: set task.dynamic_rate below "
                f"{dynamic.rate:g}"
            )
        return loss, count

    def _gathered(self, text: TextBatch) -> TextBatch:
        """A text [1, N] of which every process has a part, in the order of their ranks."""
        parts = [(text.tokens.cpu(), text.targets.cpu())]
        world_size = self._task.trainer.world_size
        if world_size > 1:
            gathered: list[Any] = [None] * world_size
            torch.distributed.all_gather_object(gathered, parts[0])
            parts = gathered
        tokens, targets = (torch.cat(part, 1).to(self._task.device) for part in zip(*parts, strict=True))
        return TextBatch(tokens, targets)
