"""Dropouts of a layer's input, state and recurrent weights, in training alone."""

from __future__ import annotations

from torch import Tensor

from gatewise.engine import Packing, Weights
from gatewise.nn.masks import dropout, kept


def mask(p: float, training: bool, shape: tuple[int, int], like: Tensor) -> Tensor | None:
    """A variational dropout mask, scaled to keep the mean, or None where nothing is dropped."""
    return None if p == 0 or not training else kept(p, shape, like)


def drop_input(p: float, training: bool, x: Tensor, packing: Packing) -> Tensor:
    """Packed inputs [N, F] with the same features dropped in all steps of a sequence."""
    of_sequences = mask(p, training, (packing.batch, x.shape[1]), x)
    return x if of_sequences is None else x * of_sequences[packing.rows.to(x.device)]


def drop_weights(p: float, training: bool, weights: Weights) -> Weights:
    """The weights, with some of those of the recurrent product dropped."""
    if p == 0 or not training:
        return weights
    return weights._replace(hidden=dropout(weights.hidden, p, training))
