"""Batched beam search for the most probable sequences that any step function gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

State = tuple[Tensor, ...]


class Step(NamedTuple):
    """What a step function returns for K hypotheses of each of B searches."""

    log_probabilities: Tensor
    """[B, K, V]: of each next token; minus infinity for one that may not come."""
    state: State
    """Tensors [B, K, …]."""
    weights: Tensor | None = None
    """[B, K, S]: how much each of S places is attended to; None if there is no attention."""


StepFunction = Callable[[Tensor, State, State], Step]
"""Takes the last tokens [B, K], the state, [B, K, …] each, and what all hypotheses share, [B, …] each."""


@dataclass(frozen=True)
class Hypotheses:
    """The best sequences of B searches, N each, the best one first."""

    tokens: Tensor
    """[B, N, T] int64: the tokens, without start; the end, and what is behind it, is the end token."""
    lengths: Tensor
    """[B, N] int64: tokens, the end counted; 0 where fewer than N were found."""
    scores: Tensor
    """[B, N]: what they are ranked by; minus infinity where fewer than N were found."""
    log_probabilities: Tensor
    """[B, N]: of the whole sequence."""
    weights: Tensor | None
    """[B, N, T, S]: attention when each token was chosen, 0 behind the end; None without attention."""

    @classmethod
    def joined(cls, parts: Sequence[Hypotheses], end: int) -> Hypotheses:
        """Those of several calls after each other, padded to the same T and S."""

        def joined(name: str, value: float) -> Tensor | None:
            tensors = [getattr(part, name) for part in parts]
            if tensors[0] is None:
                return None
            shape = [max(sizes) for sizes in zip(*(tensor.shape[2:] for tensor in tensors), strict=True)]
            padded = []
            for tensor in tensors:
                missing = [most - size for most, size in zip(shape, tensor.shape[2:], strict=True)]
                sides = [side for count in reversed(missing) for side in (0, count)]
                padded.append(F.pad(tensor, sides, value=value))
            return torch.cat(padded)

        fields: Any = {"tokens": end, "lengths": 0, "scores": 0, "log_probabilities": 0, "weights": 0}
        found: Any = {name: joined(name, value) for name, value in fields.items()}
        return cls(**found)


@torch.no_grad()
def beam_search(
    step: StepFunction,
    state: State,
    shared: State,
    start: int,
    end: int,
    limits: Tensor,
    width: int = 5,
    best: int = 1,
    length_penalty: float = 0.0,
    coverage_penalty: float = 0.0,
    covered: Tensor | None = None,
    stop_early: bool = True,
) -> Hypotheses:
    """The ``best`` ≤ ``width`` sequences of each search, ranked by score.

    ``state`` is that before the first step, [B, …] each. A sequence ends with the token ``end``, which is its
    ``limits``-th [B] at the latest, however improbable. ``width`` hypotheses of a search go on, less those
    that have ended (Sutskever, Vinyals & Le, "Sequence to Sequence Learning with Neural Networks", NIPS
    2014): with ``width=1`` this is greedy search.

    The score of a sequence Y of |Y| tokens, its end counted, is log P(Y) / ((5 + |Y|) / 6)^α + β Σ_j log
    min(Σ_i w_ij, 1), for ``length_penalty`` α, ``coverage_penalty`` β and weights w_ij of token i on place j,
    over the places that are ``covered`` [B, S] (Wu et al., "Google's Neural Machine Translation System",
    2016). ``stop_early`` ends a search when nothing that goes on can be among its best any more, which
    changes no result.
    """
    search = _Search(limits, width, best, end, length_penalty, coverage_penalty, covered)
    rows = torch.arange(len(limits), device=limits.device)
    state = tuple(tensor.unsqueeze(1).expand(-1, width, *tensor.shape[1:]) for tensor in state)
    tokens = torch.full((len(limits), width), start, device=limits.device)
    while len(rows):
        found = step(tokens, state, shared)
        tokens, parents = search.advance(rows, found.log_probabilities, found.weights)
        running = search.running(rows, stop_early)
        if not bool(running.all()):
            rows, tokens, parents = rows[running], tokens[running], parents[running]
            shared = tuple(tensor[running] for tensor in shared)
            state = tuple(tensor[running] for tensor in found.state)
        else:
            state = found.state
        state = tuple(_of_parents(tensor, parents) for tensor in state)
    return search.result()


def _of_parents(tensor: Tensor, parents: Tensor) -> Tensor:
    """``tensor`` [B, K, …] with each hypothesis replaced by its parent's values."""
    return tensor[torch.arange(len(parents), device=parents.device).unsqueeze(1), parents]


class _Search:
    """The hypotheses of B searches with K places each: their scores, and the way back through all steps."""

    def __init__(
        self,
        limits: Tensor,
        width: int,
        best: int,
        end: int,
        length_penalty: float,
        coverage_penalty: float,
        covered: Tensor | None,
    ) -> None:
        shape, device = (len(limits), width), limits.device
        self.limits, self.best, self.end = limits, min(best, width), end
        self.length_penalty, self.coverage_penalty = length_penalty, coverage_penalty
        self.covered = covered
        self.time = 0
        # Only the first place is taken at first: all would go on alike.
        self.going = torch.full(shape, -torch.inf, device=device)
        """Log-probability of each hypothesis that goes on; minus infinity in a place that is free."""
        self.going[:, 0] = 0
        self.attended: Tensor | None = None
        """[B, K, S]: sum of the weights of each hypothesis that goes on."""
        self.scores = torch.full(shape, -torch.inf, device=device)
        """Of each sequence that has ended, in the order in which they did."""
        self.ended_with = torch.full(shape, -torch.inf, device=device)
        """Their log-probabilities."""
        self.ended_at = torch.zeros(shape, dtype=torch.long, device=device)
        """The step of their last token, from 1; 0 for none."""
        self.ended_in = torch.zeros(shape, dtype=torch.long, device=device)
        """Their place among that step's hypotheses."""
        self.counts = torch.zeros(len(limits), dtype=torch.long, device=device)
        """How many have ended."""
        self.tokens: list[Tensor] = []
        self.parents: list[Tensor] = []
        self.weights: list[Tensor] = []

    def advance(self, rows: Tensor, steps: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        """Choose the tokens [R, K] that go on, and their parents, in the searches ``rows`` [R].

        ``steps`` [R, K, V] are log-probabilities of next tokens.
        """
        self.time += 1
        searches, width = self.going.shape
        words = steps.shape[-1]
        last = (self.limits[rows] <= self.time)[:, None, None]
        others = torch.arange(words, device=steps.device) != self.end
        steps = steps.masked_fill(last & others, -torch.inf)
        totals = (self.going[rows].unsqueeze(-1) + steps.to(self.going.dtype)).flatten(1)
        chosen = totals.topk(min(width, totals.shape[1]), -1)
        log_probabilities, places = chosen.values, chosen.indices
        if places.shape[1] < width:  # fewer tokens than hypotheses
            missing = (0, width - places.shape[1])
            log_probabilities = F.pad(log_probabilities, missing, value=-torch.inf)
            places = F.pad(places, missing)
        parents, tokens = places // words, places % words
        rank = torch.arange(width, device=rows.device)
        allowed = (rank < (width - self.counts[rows]).unsqueeze(1)) & (log_probabilities > -torch.inf)
        ends = allowed & (tokens == self.end)
        attended = self._attended(rows, parents, weights)
        self._end(rows, ends, log_probabilities, attended)
        goes_on = allowed & ~ends
        self.going[rows] = log_probabilities.masked_fill(~goes_on, -torch.inf)
        if attended is not None:
            assert self.attended is not None
            self.attended[rows] = attended
        self._remember(searches, rows, tokens, parents, weights)
        return tokens, parents

    def _attended(self, rows: Tensor, parents: Tensor, weights: Tensor | None) -> Tensor | None:
        """[R, K, S]: the sum of weights of each chosen hypothesis, if it counts."""
        if weights is None or not self.coverage_penalty:
            return None
        if self.attended is None:
            self.attended = weights.new_zeros(*self.going.shape, weights.shape[-1])
        return _of_parents(self.attended[rows] + weights, parents)

    def _end(self, rows: Tensor, ends: Tensor, log_probabilities: Tensor, attended: Tensor | None) -> None:
        """Keep the hypotheses that end [R, K] behind those that have ended before."""
        row, place = ends.nonzero(as_tuple=True)
        search = rows[row]
        slot = self.counts[search] + (ends.cumsum(1) - 1)[row, place]
        own = log_probabilities[row, place]
        score = own / self._length(torch.tensor(self.time))
        if attended is not None:
            parts = attended[row, place].clamp(1e-10, 1).log()
            if self.covered is not None:
                parts = parts.masked_fill(~self.covered[search], 0)
            score = score + self.coverage_penalty * parts.sum(-1)
        self.scores[search, slot], self.ended_with[search, slot] = score.to(self.scores.dtype), own
        self.ended_at[search, slot], self.ended_in[search, slot] = self.time, place
        self.counts[rows] += ends.sum(1)

    def _remember(
        self, searches: int, rows: Tensor, tokens: Tensor, parents: Tensor, weights: Tensor | None
    ) -> None:
        for history, of_step in ((self.tokens, tokens), (self.parents, parents), (self.weights, weights)):
            if of_step is not None:
                whole = of_step.new_zeros(searches, *of_step.shape[1:])
                whole[rows] = of_step
                history.append(whole)

    def _length(self, length: Tensor) -> Tensor:
        return ((5 + length) / 6) ** self.length_penalty

    def running(self, rows: Tensor, stop_early: bool) -> Tensor:
        """Which of the searches ``rows`` have hypotheses that go on, and can still find something."""
        going = self.going[rows].amax(1)
        # No token makes a sequence more probable; the longest is divided by most.
        possible = going / self._length(self.limits[rows])
        worst = self.scores[rows].topk(self.best).values[:, -1]
        return (possible > worst) if stop_early else (going > -torch.inf)

    def result(self) -> Hypotheses:
        """The best sequences, by going back through the steps."""
        ranked = self.scores.topk(self.best)
        ended_at = self.ended_at.gather(1, ranked.indices)
        place = self.ended_in.gather(1, ranked.indices)
        tokens, weights = [], []
        for time in range(len(self.tokens), 0, -1):
            inside = ended_at >= time
            parent = self.parents[time - 1].gather(1, place)
            tokens.append(self.tokens[time - 1].gather(1, place).where(inside, self.end))
            if self.weights:
                of_step = _of_parents(self.weights[time - 1], parent)
                weights.append(of_step.masked_fill(~inside.unsqueeze(-1), 0))
            place = parent.where(inside, place)
        shape = (*ended_at.shape, 0)
        return Hypotheses(
            tokens=torch.stack(tokens[::-1], -1) if tokens else ended_at.new_zeros(shape),
            lengths=ended_at,
            scores=ranked.values,
            log_probabilities=self.ended_with.gather(1, ranked.indices),
            weights=torch.stack(weights[::-1], 2) if weights else None,
        )
