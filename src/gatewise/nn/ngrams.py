"""How probable a unit is after those before it, by counts of units in a row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

State = tuple[Tensor, ...]
_MOST_KEYS = 2**62
"""Rows of fewer units than this can be told apart by a number of 64 bits."""


class _Level:
    """What follows the units of one number in a row that were seen: those of other numbers are not here."""

    def __init__(self, contexts: Tensor, following: Tensor, counts: Tensor, base: int) -> None:
        """``contexts`` [R, m] are followed by ``following`` [R] as often as ``counts`` [R] say."""
        self.powers = base ** torch.arange(contexts.shape[1])
        keys = self.key(contexts) * base + following
        keys, rows = torch.unique(keys, return_inverse=True)
        self.counts = torch.zeros(len(keys), dtype=torch.float64).index_add_(0, rows, counts.double())
        """[S]: how often each of S different rows of units was seen, context and following unit."""
        self.following = keys % base
        """[S]"""
        self.contexts, self.kinds = torch.unique_consecutive(keys // base, return_counts=True)
        """[C]: the key of each context, in order, and how many different units were seen after it."""
        self.first = self.kinds.cumsum(0) - self.kinds
        """[C]: the first of its rows."""
        owner = torch.repeat_interleave(torch.arange(len(self.contexts)), self.kinds)
        self.totals = torch.zeros(len(self.contexts), dtype=torch.float64).index_add_(0, owner, self.counts)
        """[C]: how often anything was seen after it."""

    def key(self, contexts: Tensor) -> Tensor:
        """A number [N] for each of the rows [N, m], below the base to the power of m."""
        return ((contexts + 1) * self.powers).sum(1)

    def sharpen(self, probabilities: Tensor, contexts: Tensor) -> None:
        """Make those [N, V] by shorter contexts those by ``contexts`` [N, m], where these were seen."""
        keys = self.key(contexts)
        place = torch.searchsorted(self.contexts, keys).clamp(max=len(self.contexts) - 1)
        (rows,) = (self.contexts[place] == keys).nonzero(as_tuple=True)
        place = place[rows]
        kinds = self.kinds[place]
        whole = (self.totals[place] + kinds).unsqueeze(1)
        probabilities[rows] *= kinds.unsqueeze(1) / whole
        owner = torch.repeat_interleave(torch.arange(len(rows)), kinds)
        within = torch.arange(len(owner)) - torch.repeat_interleave(kinds.cumsum(0) - kinds, kinds)
        seen = self.first[place][owner] + within
        shares = self.counts[seen] / whole[owner, 0]
        probabilities.index_put_((rows[owner], self.following[seen]), shares, accumulate=True)


class NGramModel:
    """Interpolated Witten-Bell probabilities of K units and of the end (Bell, Cleary & Witten, 1990).

    After a context h that c(h) units were seen after, T(h) different ones, P(w | h) = (c(h w) + T(h) P(w |
    h')) / (c(h) + T(h)), where h' lacks the first unit of h; what no context says is spread evenly. A unit
    that the training lacks is thus possible, if not probable. For a
    :class:`gatewise.nn.prefix_search.PrefixSearch`.

    Args:
        ngrams: rows of n units and how often they were seen; -1 is what is before the first and behind the
            last unit.
        units: K.
    """

    def __init__(self, ngrams: Sequence[Sequence[int]], units: int) -> None:
        rows = torch.tensor(ngrams, dtype=torch.long)
        if not len(rows):
            raise ValueError("no units in a row were counted: there is no n-gram model of them")
        self.units, self.length = units, rows.shape[1] - 2
        base = units + 1
        if base ** (self.length + 1) >= _MOST_KEYS:
            raise ValueError(
                f"{self.length + 1} units in a row of {units} different ones are too many for an n-gram "
                f"model: count fewer"
            )
        self.levels = []
        for size in range(self.length + 1):
            contexts = rows[:, self.length - size : self.length]
            following = rows[:, -2].where(rows[:, -2] >= 0, units)
            self.levels.append(_Level(contexts, following, rows[:, -1], base))

    def probabilities(self, contexts: Tensor) -> Tensor:
        """[N, K + 1] of each next unit and of the end, after the last n - 1 units [N, n - 1]."""
        found = torch.full((len(contexts), self.units + 1), 1 / (self.units + 1), dtype=torch.float64)
        for size, level in enumerate(self.levels):
            level.sharpen(found, contexts[:, self.length - size :])
        return found

    def start(self, device: torch.device) -> tuple[State, Tensor]:
        """(State before the first unit, log-probabilities [1, K] of it)."""
        state = (torch.full((1, self.length), -1, device=device),)
        return state, self._log(state)[:, :-1]

    def after(self, state: State, units: Tensor) -> tuple[State, Tensor]:
        """(State, log-probabilities [N, K] of the next unit) after ``units`` [N] in the state of N rows."""
        (context,) = state
        state = (torch.cat([context, units.unsqueeze(1)], 1)[:, 1:],)
        return state, self._log(state)[:, :-1]

    def end(self, state: State) -> Tensor:
        """Log-probability [N] that nothing comes any more."""
        return self._log(state)[:, -1]

    def _log(self, state: State) -> Tensor:
        (context,) = state
        return self.probabilities(context.cpu()).log().to(context.device)
