"""Prefix beam search: the most probable units of a CTC output over all their paths, with a language model."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from gatewise.nn.ctc import NOTHING, Labelings

State = tuple[Tensor, ...]
_FACTOR = 6364136223846793005
"""Multiplies the key of a prefix (Knuth's generator), so that those of others differ."""


class UnitModel(Protocol):
    """What tells how probable a unit is after those before it."""

    def start(self, device: torch.device) -> tuple[State, Tensor]:
        """(State, a tensor [1, …] each; log-probabilities [1, K] of the first unit)."""
        ...

    def after(self, state: State, units: Tensor) -> tuple[State, Tensor]:
        """(State; log-probabilities [N, K] of the next unit) after ``units`` [N] in the state [N, …] each."""
        ...

    def end(self, state: State) -> Tensor:
        """Log-probability [N] that nothing comes any more; zeros of a model that does not know."""
        ...


class PrefixSearch:
    """The ``width`` most probable prefixes of each of B sequences, step by step.

    A prefix is some first units of an answer, and its probability that of all paths so far which stand for
    it; those that end with a blank and those that end with its last unit are added up apart (Graves &
    Jaitly, "Towards End-to-End Speech Recognition with Recurrent Neural Networks", ICML 2014; Hannun et al.,
    "First-Pass Large Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs", 2014).
    Prefixes Y of |Y| units are ranked by log P(Y) + ``weight`` · log P(Y by ``model``) + ``bonus`` · |Y|.
    What lies ``settled_after`` steps back is settled: prefixes that have another past than the best one are
    dropped. No step since has told them apart but by the model, so that they would take places for ever, and
    a stream would wait for its end. None settles nothing.
    """

    def __init__(
        self,
        searches: int,
        width: int,
        like: Tensor,
        model: UnitModel | None = None,
        weight: float = 0.0,
        bonus: float = 0.0,
        settled_after: int | None = None,
    ) -> None:
        shape, device = (searches, width), like.device
        self.model, self.weight, self.bonus = model, weight, bonus
        self.blank = like.new_full(shape, -torch.inf)
        """Log-probability of each prefix by paths that end with a blank; minus infinity in a free place."""
        self.blank[:, 0] = 0
        self.unit = like.new_full(shape, -torch.inf)
        """The same by paths that end with its last unit."""
        self.last = torch.full(shape, NOTHING, device=device)
        """Its last unit."""
        self.key = torch.zeros(shape, dtype=torch.long, device=device)
        """A number of 64 bits made of its units: two prefixes are the same where their keys are."""
        self.parent_key = torch.full(shape, NOTHING, device=device)
        """The key of the prefix without its last unit."""
        self.added = like.new_zeros(shape)
        """What model and bonus add to its score."""
        self.state: State = ()
        self.following = like.new_zeros(())
        """What they add for each next unit, [B, W, K]."""
        self.sizes = torch.zeros(shape, dtype=torch.long, device=device)
        """Its units."""
        self.parents: list[Tensor] = []
        self.units: list[Tensor] = []
        self._forgotten = 0
        """Steps before those of ``parents`` and ``units``, of which every prefix has the same."""
        self._pasts = torch.zeros(*shape, settled_after or 0, dtype=torch.long, device=device)
        """[B, W, ``settled_after``]: the places that each prefix had in so many steps, the oldest first."""
        if model is not None:
            state, following = model.start(device)
            self.state = tuple(t.unsqueeze(0).expand(*shape, *t.shape[1:]) for t in state)
            self.following = (weight * following.to(like)).expand(*shape, -1)

    def advance(self, step: Tensor, is_real: Tensor | None = None) -> None:
        """Read the log-probabilities [B, K + 1] of a step; of padding, those of a certain blank.

        ``is_real`` [B] tells which are no padding; None means all.
        """
        is_empty = self.last < 0
        last = self.last.clamp(min=0)
        probability = torch.logaddexp(self.blank, self.unit)
        units = step[:, :-1]
        stays_blank = probability + step[:, -1:]
        stays_unit = self.unit + units.gather(1, last)
        # A unit comes again only after a blank: without one, it is the same that goes on.
        grown = probability.unsqueeze(2).repeat(1, 1, units.shape[1])
        grown.scatter_(2, last.unsqueeze(2), torch.where(is_empty, probability, self.blank).unsqueeze(2))
        grown += units.unsqueeze(1)
        stays_unit = torch.logaddexp(stays_unit, self._merged(grown, last, probability))
        stays = torch.logaddexp(stays_blank, stays_unit)
        grown_score = grown + (self.added.unsqueeze(2) + self.following + self.bonus)
        ranked = torch.cat([stays + self.added, grown_score.flatten(1)], 1)
        parents = self._take(ranked, stays_blank, stays_unit, grown)
        if self._pasts.shape[2]:
            self._settle(parents, torch.ones_like(parents[:, 0]).bool() if is_real is None else is_real)

    def _merged(self, grown: Tensor, last: Tensor, probability: Tensor) -> Tensor:
        """Log-probabilities [B, W] with which others grow to be a prefix that is here; taken from these."""
        # A free place has the keys of one that it was made from.
        is_taken = probability > -torch.inf
        is_parent = is_taken.unsqueeze(2) & is_taken.unsqueeze(1)
        is_parent &= self.key.unsqueeze(2) == self.parent_key.unsqueeze(1)
        unit = last.unsqueeze(1).expand_as(is_parent)
        merged = grown.gather(2, unit).masked_fill_(~is_parent, -torch.inf)
        # To what grows no otherwise 0 is added, as several may have a unit.
        taken = torch.zeros_like(merged).masked_fill_(is_parent, -torch.inf)
        grown.scatter_add_(2, unit, taken)
        # No two places have the same prefix, so that there is one parent at most.
        return merged.amax(1)

    def _take(self, ranked: Tensor, stays_blank: Tensor, stays_unit: Tensor, grown: Tensor) -> Tensor:
        """Go on with the best of all that stay [B, W] and grow [B, W, K], by ``ranked`` [B, W + W·K].

        Returns the places [B, W] that they had before.
        """
        width, units = self.blank.shape[1], grown.shape[2]
        place = ranked.topk(width, 1).indices
        grows = place >= width
        of_grown = (place - width).clamp_(min=0)
        parents = torch.where(grows, of_grown // units, place)
        unit = of_grown % units
        chosen = grown.flatten(1).gather(1, of_grown)
        self.blank = stays_blank.gather(1, parents).masked_fill(grows, -torch.inf)
        self.unit = torch.where(grows, chosen, stays_unit.gather(1, parents))
        key = self.key.gather(1, parents)
        self.parent_key = torch.where(grows, key, self.parent_key.gather(1, parents))
        self.key = torch.where(grows, key * _FACTOR + (unit + 1), key)
        self.last = torch.where(grows, unit, self.last.gather(1, parents))
        self.sizes = self.sizes.gather(1, parents) + grows
        added = self.added.gather(1, parents)
        self.added = torch.where(grows, added + self.bonus, added)
        self.parents.append(parents)
        self.units.append(torch.where(grows, unit, NOTHING))
        if self.model is not None:
            self._ask(self.model, parents, unit, grows)
        return parents

    def _settle(self, parents: Tensor, is_real: Tensor) -> None:
        """Drop the prefixes that had another place than the best one in the oldest step."""
        pasts = self._pasts.gather(1, parents.unsqueeze(2).expand_as(self._pasts))
        with_this = torch.cat([pasts[:, :, 1:], parents.unsqueeze(2)], 2)
        self._pasts = torch.where(is_real[:, None, None], with_this, pasts)
        oldest = self._pasts[:, :, 0]
        best = (torch.logaddexp(self.blank, self.unit) + self.added).argmax(1, keepdim=True)
        is_other = (oldest != oldest.gather(1, best)) & is_real.unsqueeze(1)
        self.blank = self.blank.masked_fill(is_other, -torch.inf)
        self.unit = self.unit.masked_fill(is_other, -torch.inf)

    def _ask(self, model: UnitModel, parents: Tensor, unit: Tensor, grows: Tensor) -> None:
        """Have the model read the units of those that grow."""
        rows = torch.arange(len(parents), device=parents.device).unsqueeze(1)
        following = self.following[rows, parents]
        state = tuple(tensor[rows, parents] for tensor in self.state)
        said = following.gather(2, unit.unsqueeze(2)).squeeze(2)
        self.added = self.added + said.masked_fill(~grows, 0)
        search, place = grows.nonzero(as_tuple=True)
        if len(search):
            read, asked = model.after(tuple(t[search, place] for t in state), unit[search, place])
            following[search, place] = self.weight * asked.to(following)
            for tensor, of_those in zip(state, read, strict=True):
                tensor[search, place] = of_those
        self.state, self.following = state, following

    def scores(self) -> Tensor:
        """What the prefixes are ranked by, [B, W], if the sequences end here."""
        scores = torch.logaddexp(self.blank, self.unit) + self.added
        if self.model is None:
            return scores
        ends = self.model.end(tuple(tensor.flatten(0, 1) for tensor in self.state))
        return scores + self.weight * ends.view_as(scores).to(scores)

    def agreed(self) -> list[tuple[int, int]]:
        """The units that all prefixes of the only sequence begin with, each with the step that added it.

        They are given once, and are no part of a result from then on.
        """
        places = set((torch.maximum(self.blank, self.unit)[0] > -torch.inf).nonzero().flatten().tolist())
        for step in range(len(self.parents) - 1, -1, -1):
            before = self.parents[step][0].tolist()
            places = {before[place] for place in places}
            if len(places) == 1:
                return self._given(step, places.pop())
        return []

    def rest(self) -> list[tuple[int, int]]:
        """The units of the best prefix of the only sequence that were not given before."""
        return self._given(len(self.parents), int(self.scores()[0].argmax()))

    def _given(self, end: int, place: int) -> list[tuple[int, int]]:
        """(Unit, step) of a prefix up to the step ``end``; what lies before that is forgotten."""
        found = []
        for step in range(end - 1, -1, -1):
            unit = int(self.units[step][0, place])
            if unit >= 0:
                found.append((unit, self._forgotten + step))
            place = int(self.parents[step][0, place])
        self.parents, self.units = self.parents[end:], self.units[end:]
        self._forgotten += end
        self.sizes = self.sizes - len(found)
        return found[::-1]

    def result(self, best: int) -> Labelings:
        """The ``best`` prefixes of each sequence, if the sequences end here."""
        ranked = self.scores().topk(min(best, self.blank.shape[1]), 1)
        place, found = ranked.indices, ranked.values > -torch.inf
        sizes = self.sizes.gather(1, place) * found
        units = sizes.new_full((*sizes.shape, int(sizes.max()) if sizes.numel() else 0), NOTHING)
        left = sizes.clone()
        for step in range(len(self.parents) - 1, -1, -1):
            unit = self.units[step].gather(1, place)
            search, rank = ((unit >= 0) & found).nonzero(as_tuple=True)
            left[search, rank] -= 1
            units[search, rank, left[search, rank]] = unit[search, rank]
            place = self.parents[step].gather(1, place)
        return Labelings(units, sizes, ranked.values)


@torch.no_grad()
def prefix_beam_search(
    log_probabilities: Tensor,
    lengths: Tensor,
    width: int = 8,
    best: int = 1,
    model: UnitModel | None = None,
    weight: float = 0.0,
    bonus: float = 0.0,
    settled_after: int | None = None,
) -> Labelings:
    """The ``best`` ≤ ``width`` sequences of units for scores [B, T, K + 1] of lengths [B].

    With a width above the number of prefixes that can be, the scores are exact. See :class:`PrefixSearch`.
    """
    real = torch.arange(log_probabilities.shape[1], device=lengths.device) < lengths.unsqueeze(1)
    # On padding a certain blank, which changes no prefix and no probability.
    certain = F.one_hot(
        torch.tensor(log_probabilities.shape[2] - 1, device=lengths.device), log_probabilities.shape[2]
    )
    steps = torch.where(real.unsqueeze(2), log_probabilities, certain.to(log_probabilities).log())
    search = PrefixSearch(len(steps), width, steps, model, weight, bonus, settled_after)
    for step, is_real in zip(steps.unbind(1), real.unbind(1), strict=True):
        search.advance(step, is_real)
    return search.result(best)
