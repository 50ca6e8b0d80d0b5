"""Connectionist temporal classification: a short sequence of units for a long one of steps.

Graves, Fernández, Gomez & Schmidhuber, "Connectionist Temporal Classification", ICML 2006. At each step a
network gives probabilities of K units and of a blank, here the last of the K + 1. A path, one of them for
each step, stands for the units that are left of it when equal neighbours are one and blanks are gone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

NOTHING = -1
"""What is behind the end of a sequence of units."""


@dataclass(frozen=True)
class Labelings:
    """The best sequences of units for B sequences of steps, N each, the best one first."""

    units: Tensor
    """[B, N, U] int64, NOTHING behind the end."""
    lengths: Tensor
    """[B, N] int64: units of each."""
    scores: Tensor
    """[B, N]: what they are ranked by; minus infinity where fewer than N were found."""


def stacked(inputs: Tensor, lengths: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Every ``count`` steps as one: (inputs [B, ⌈T / count⌉, count·F], lengths [B]) of [B, T, F] and [B].

    The last one of a sequence is filled up with zeros, as its padding is.
    """
    if count == 1:
        return inputs, lengths
    batch, steps, size = inputs.shape
    padded = F.pad(inputs, (0, 0, 0, -steps % count))
    return padded.view(batch, -1, count * size), -(-lengths // count)


def steps_needed(units: Tensor, lengths: Tensor) -> Tensor:
    """How many steps [B] units [B, U] of lengths [B] take at least: equal neighbours need a blank between."""
    inside = torch.arange(1, max(units.shape[1], 1), device=units.device) < lengths.unsqueeze(1)
    return lengths + ((units[:, 1:] == units[:, :-1]) & inside).sum(1)


def log_likelihood(log_probabilities: Tensor, steps: Tensor, units: Tensor, lengths: Tensor) -> Tensor:
    """Log-probability [B] of units [B, U] of lengths [B], over all paths that stand for them.

    ``log_probabilities`` [B, T, K + 1] are those of sequences of ``steps`` [B].
    """
    blank = log_probabilities.shape[-1] - 1
    if not units.shape[1]:
        units = units.new_zeros(len(units), 1)
    found: Tensor = F.ctc_loss(
        log_probabilities.transpose(0, 1),
        units.clamp(min=0),
        steps,
        lengths,
        blank,
        reduction="none",
    )
    return -found


def best_paths(log_probabilities: Tensor, lengths: Tensor) -> Labelings:
    """What the most probable path of each sequence stands for (greedy decoding), for scores of lengths [B].

    The score is the path's log-probability, which is less than that of the units over all their paths.
    """
    best = log_probabilities.max(-1)
    path, blank = best.indices, log_probabilities.shape[-1] - 1
    real = torch.arange(path.shape[1], device=path.device) < lengths.unsqueeze(1)
    changes = torch.ones_like(real)
    changes[:, 1:] = path[:, 1:] != path[:, :-1]
    begins = real & changes & (path != blank)
    counts = begins.sum(1)
    row, step = begins.nonzero(as_tuple=True)
    place = (begins.cumsum(1) - 1)[row, step]
    units = path.new_full((len(path), int(counts.max()) if len(path) else 0), NOTHING)
    units[row, place] = path[row, step]
    scores = best.values.masked_fill(~real, 0).sum(1)
    return Labelings(units.unsqueeze(1), counts.unsqueeze(1), scores.unsqueeze(1))


def starts(log_probabilities: Tensor, steps: Tensor, units: Tensor, lengths: Tensor) -> Tensor:
    """The step [B, U] in which each of the units [B, U] begins, in the most probable path that has them.

    ``log_probabilities`` [B, T, K + 1] are those of sequences of ``steps`` [B] (Viterbi); NOTHING behind the
    ``lengths`` [B], and of units that need more steps.
    """
    batch, times, answers = log_probabilities.shape
    most = units.shape[1]
    device = units.device
    # A path goes through places: the blank before each unit, the unit, …, the blank at the end.
    labels = torch.full((batch, 2 * most + 1), answers - 1, device=device)
    labels[:, 1::2] = units.clamp(min=0)
    may_skip = torch.zeros(labels.shape, dtype=torch.bool, device=device)
    may_skip[:, 3::2] = units[:, 1:] != units[:, :-1]
    said = log_probabilities.gather(2, labels.unsqueeze(1).expand(-1, times, -1))
    best = torch.full_like(said[:, 0], -torch.inf)
    best[:, :2] = said[:, 0, :2]
    moves = []
    for time in range(1, times):
        one, two = (
            F.pad(best, (1, 0), value=-torch.inf)[:, :-1],
            F.pad(best, (2, 0), value=-torch.inf)[:, :-2],
        )
        options = torch.stack([best, one, two.masked_fill(~may_skip, -torch.inf)], -1).max(-1)
        is_real = (time < steps).unsqueeze(1)
        best = torch.where(is_real, options.values + said[:, time], best)
        moves.append(options.indices.masked_fill(~is_real, 0))
    ends = torch.stack([2 * lengths, (2 * lengths - 1).clamp(min=0)], 1)
    reached = best.gather(1, ends).max(1)
    place = ends.gather(1, reached.indices.unsqueeze(1))
    places = [place]
    for move in reversed(moves):
        place = place - move.gather(1, place)
        places.append(place)
    path = torch.cat(places[::-1], 1)
    found = torch.full((batch, labels.shape[1]), times, device=device)
    order = torch.arange(times, device=device).expand(batch, -1)
    found = found.scatter_reduce(1, path, order, "amin")[:, 1::2]
    is_read = (torch.arange(most, device=device) < lengths.unsqueeze(1)) & (
        reached.values > -torch.inf
    ).unsqueeze(1)
    return found.masked_fill(~is_read, NOTHING)
