"""Dynamic evaluation: a language model that goes on learning from the text that it is tested on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatewise.kinds.kind import IGNORED
from gatewise.kinds.text import TextBatch

State = tuple[Tensor, ...]
Forward = Callable[[Tensor, State | None], tuple[Tensor, State]]
"""(Scores [B, T, V] of every next token, final state) for tokens [B, T] and an initial state."""
Method = Literal["sgd", "rms"]

RATES: dict[Method, float] = {"sgd": 0.1, "rms": 5e-5}
"""Learning rates where none is given; that of ``rms`` is the published one for words."""
EPSILON = 2e-5
"""Added to the root mean squares of gradients before it is divided by them."""
LANES = 100
"""Rows of training text whose gradients are averaged before they are squared."""


@dataclass(frozen=True)
class DynamicEvaluation:
    """After each segment of the text, a step of gradient descent on its loss, which has been counted before.

    With ``sgd`` weights w move by -rate · g + decay · (w₀ - w), for the gradient g of the segment's mean loss
    and the trained weights w₀. With ``rms`` they move by -rate · g / (r + ε) + d · (w₀ - w), where r is the
    root mean square of each weight's gradients over the training text, and d = decay · r / (mean of r), at
    most 1. Segments are read in the text's order, with the state carried (Krause, Kahembwe, Murray & Renals,
    "Dynamic Evaluation of Neural Sequence Models", ICML 2018).
    """

    method: Method
    given_rate: float | None
    """The learning rate; None: that of ``RATES``."""
    decay: float
    segment: int
    """Tokens from one step to the next."""

    @property
    def rate(self) -> float:
        """The learning rate of a step."""
        return RATES[self.method] if self.given_rate is None else self.given_rate

    def loss(
        self, network: nn.Module, forward: Forward, text: TextBatch, scales: Sequence[Tensor] | None = None
    ) -> float:
        """The summed loss (nats) of a text [1, N]; the network's weights are afterwards what they were.

        ``scales`` are the root mean squares that :meth:`gradient_scales` gives, for ``rms``.
        """
        weights = _trained(network)
        trained = [weight.detach().clone() for weight in weights]
        rates = [torch.full_like(weight, self.rate) for weight in weights]
        decays: Sequence[Tensor | float] = [self.decay] * len(weights)
        if scales is not None:
            # Each tensor counts once in the mean, however many weights it has, as in the published program.
            mean = torch.stack([scale.mean() for scale in scales]).mean()
            rates = [self.rate / (scale + EPSILON) for scale in scales]
            decays = [(self.decay * scale / mean).clamp(max=1) for scale in scales]
        total = 0.0
        try:
            for loss, count in self._segments(forward, text):
                total += float(loss.detach()) * count
                gradients = torch.autograd.grad(loss, weights, allow_unused=True)
                with torch.no_grad():
                    for weight, start, gradient, rate, decay in zip(
                        weights, trained, gradients, rates, decays, strict=True
                    ):
                        if gradient is not None:
                            weight.lerp_(start, decay).addcmul_(gradient, rate, value=-1)
        finally:
            with torch.no_grad():
                for weight, value in zip(weights, trained, strict=True):
                    weight.copy_(value)
        return total

    def gradient_scales(
        self, network: nn.Module, forward: Forward, text: TextBatch, most: int | None = None
    ) -> list[Tensor]:
        """The root mean square of each weight's gradients over segments of a training text [1, N].

        The text is read in ``LANES`` rows, up to ``most`` segments of each.
        """
        count = text.tokens.shape[1]
        lanes = max(min(LANES, count // self.segment), 1)
        length = count // lanes
        if most is not None:
            length = min(length, most * self.segment)
        parts = (text.tokens, text.targets)
        tokens, targets = (part[0, : lanes * length].view(lanes, length) for part in parts)
        rows = TextBatch(tokens, targets)
        weights = _trained(network)
        squares = [torch.zeros_like(weight) for weight in weights]
        segments = 0
        for loss, _ in self._segments(forward, rows):
            segments += 1
            for square, gradient in zip(
                squares, torch.autograd.grad(loss, weights, allow_unused=True), strict=True
            ):
                if gradient is not None:
                    square.addcmul_(gradient, gradient)
        return [(square / max(segments, 1)).sqrt() for square in squares]

    def _segments(self, forward: Forward, text: TextBatch) -> Iterable[tuple[Tensor, int]]:
        """(Mean loss, number of targets) of each segment, with the weights that are then the network's."""
        state: State | None = None
        for tokens, targets in zip(
            text.tokens.split(self.segment, 1), text.targets.split(self.segment, 1), strict=True
        ):
            # cuDNN refuses gradients of a recurrent network that is not in training.
            with torch.backends.cudnn.flags(enabled=False):
                scores, after = forward(tokens, state)
                yield F.cross_entropy(scores.flatten(0, 1), targets.flatten()), targets.numel()
            state = tuple(part.detach() for part in after)


def _trained(network: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in network.parameters() if weight.requires_grad]


def stream_of(batches: Iterable[TextBatch], most: int | None = None) -> TextBatch:
    """The text [1, N] of windows: one lane after the other, each token once that has a target.

    No more windows are read than it takes for ``most`` tokens.
    """
    windows: list[TextBatch] = []
    read = 0
    for batch in batches:
        windows.append(batch)
        read += batch.tokens.numel()
        if most is not None and read >= most:
            break
    tokens = torch.cat([window.tokens for window in windows], 1)
    targets = torch.cat([window.targets for window in windows], 1)
    counted = targets != IGNORED
    return TextBatch(tokens[counted][None], targets[counted][None])
