"""What is read beside the numbers of each step: categories, statics and what is known of the future."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatewise.nn.forecasters.shape import Shape, Window


class Covariates(nn.Module):
    """Embeds categories and puts everything beside each other.

    A category that the training has not seen, number 0, is a vector of zeros.
    """

    def __init__(self, shape: Shape, embedding_size: int) -> None:
        super().__init__()
        self.known_categories = list(shape.known_categories)
        self.embeddings = nn.ModuleList(_embedding(count, embedding_size) for count in shape.categories)
        self.static_embeddings = nn.ModuleList(
            _embedding(count, embedding_size) for count in shape.static_categories
        )
        self.static_size = shape.static + embedding_size * len(shape.static_categories)
        self.past_size = shape.features + embedding_size * len(shape.categories) + self.static_size
        """Numbers of each step seen."""
        self.future_size = shape.known_features + embedding_size * len(self.known_categories)
        """Numbers known of each step to forecast."""

    def past(self, inputs: Tensor, window: Window) -> Tensor:
        """All there is about each step seen, [B, L, past_size], beside its numbers [B, L, F]."""
        parts = [inputs]
        if len(self.embeddings):
            assert window.categories is not None
            steps = window.categories[:, : inputs.shape[1]]
            parts += [embed(steps[..., place]) for place, embed in enumerate(self.embeddings)]
        if self.static_size:
            parts.append(self.static(window).unsqueeze(1).expand(-1, inputs.shape[1], -1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def future(self, window: Window) -> Tensor | None:
        """All that is known of each step to forecast, [B, h, future_size]; None where that is nothing."""
        if not self.future_size:
            return None
        parts = [] if window.future is None else [window.future]
        if self.known_categories:
            assert window.categories is not None
            steps = window.categories[:, window.inputs.shape[1] :]
            embeddings = list(self.embeddings)
            parts += [embeddings[place](steps[..., place]) for place in self.known_categories]
        return torch.cat(parts, dim=-1)

    def beside_future(self, hidden: Tensor, window: Window, horizon: int) -> Tensor:
        """Hidden states [B, H] beside what is known of all steps of the horizon, [B, H + h · future_size].

        Fewer steps are the first of them; what would be known of the others is 0.
        """
        future = self.future(window)
        if future is None:
            return hidden
        known = F.pad(future, (0, 0, 0, horizon - future.shape[1]))
        return torch.cat([hidden, known.flatten(1)], dim=-1)

    def static(self, window: Window) -> Tensor:
        """All that stays the same for a series, [B, static_size]."""
        parts = [] if window.static is None else [window.static]
        if len(self.static_embeddings):
            assert window.static_categories is not None
            numbers = window.static_categories.unbind(-1)
            parts += [embed(each) for embed, each in zip(self.static_embeddings, numbers, strict=True)]
        return torch.cat(parts, dim=-1)


def _embedding(count: int, size: int) -> nn.Embedding:
    embedding = nn.Embedding(count, size, padding_idx=0)
    with torch.no_grad():
        embedding.weight[1:].normal_(std=0.1)
    return embedding


def covariates_of(shape: Shape) -> Iterable[str]:
    """What there is beside columns that are targets, in the words of the settings."""
    if shape.known_features:
        yield "features known for the horizon (data.known, data.calendar)"
    if shape.categories:
        yield "categories (data.categories)"
    if shape.static or shape.static_categories:
        yield "static features (data.static)"
    if shape.columns > len(shape.targets):
        yield "columns that are no targets (data.columns, data.targets)"
