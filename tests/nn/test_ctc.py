"""CTC against all paths written out, and against another library's search."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gatewise.nn.ctc import NOTHING, Labelings, best_paths, log_likelihood, stacked, starts, steps_needed
from gatewise.nn.prefix_search import PrefixSearch, State, prefix_beam_search

Prefix = tuple[int, ...]


def made_steps(seed: int, batch: int, steps: int, units: int, sharpness: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(batch, steps, units + 1, generator=generator, dtype=torch.float64) * sharpness
    return torch.log_softmax(scores, -1)


def collapsed(path: Prefix, blank: int) -> Prefix:
    return tuple(unit for unit, _ in itertools.groupby(path) if unit != blank)


def all_answers(steps: Tensor) -> dict[Prefix, float]:
    """The probability of every answer to one sequence [T, K + 1], by writing out every path."""
    values = steps.exp().numpy()
    found: dict[Prefix, float] = defaultdict(float)
    for path in itertools.product(range(values.shape[1]), repeat=len(values)):
        probability = math.prod(values[t, k] for t, k in enumerate(path))
        found[collapsed(path, values.shape[1] - 1)] += probability
    return found


def by_rank(found: Labelings, row: int) -> dict[Prefix, float]:
    """The score of each answer that was found to a sequence, the best one first."""
    columns = (tensor[row].tolist() for tensor in (found.units, found.lengths, found.scores))
    ranked = zip(*columns, strict=True)
    answers = [(tuple(units[:length]), score) for units, length, score in ranked if score > -math.inf]
    assert len(dict(answers)) == len(answers), "one answer twice"
    return dict(answers)


def first(found: Labelings, row: int) -> Prefix:
    return next(iter(by_rank(found, row)))


class Habits:
    """A model by hand: the log-probability of a unit, or of the end, after the last one alone."""

    def __init__(self, units: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        scores = torch.randn(units + 1, units + 1, generator=generator, dtype=torch.float64)
        self.table = torch.log_softmax(scores, -1)

    def start(self, device: torch.device) -> tuple[State, Tensor]:
        first = torch.tensor([len(self.table) - 1], device=device)
        return (first,), self.table[first, :-1]

    def after(self, state: State, units: Tensor) -> tuple[State, Tensor]:  # noqa: ARG002
        return (units,), self.table[units, :-1]

    def end(self, state: State) -> Tensor:
        return self.table[state[0], -1]

    def of(self, answer: Prefix) -> float:
        before = (len(self.table) - 1, *answer)
        return sum(
            float(self.table[a, b]) for a, b in zip(before, (*answer, len(self.table) - 1), strict=True)
        )


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 4), units=st.integers(1, 3))
def test_a_wide_search_is_exact(seed: int, steps: int, units: int) -> None:
    given_steps = made_steps(seed, 2, steps, units)
    lengths = torch.tensor([steps, max(steps - 2, 1)])
    found = prefix_beam_search(given_steps, lengths, width=100, best=100)
    for row, length in enumerate(lengths.tolist()):
        answers = all_answers(given_steps[row, :length])
        scores = {answer: math.exp(score) for answer, score in by_rank(found, row).items()}
        assert scores == pytest.approx(answers, abs=1e-12)
        assert first(found, row) == max(answers, key=answers.__getitem__)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), weight=st.floats(0, 2), bonus=st.floats(-1, 2))
def test_model_and_bonus_count_as_said(seed: int, weight: float, bonus: float) -> None:
    given_steps, model = made_steps(seed, 2, 4, 2), Habits(2, seed)
    found = prefix_beam_search(given_steps, torch.tensor([4, 3]), 100, 100, model, weight, bonus)
    for row, length in enumerate((4, 3)):
        expected = {
            answer: math.log(p) + weight * model.of(answer) + bonus * len(answer)
            for answer, p in all_answers(given_steps[row, :length]).items()
        }
        assert by_rank(found, row) == pytest.approx(expected, abs=1e-9)
        assert first(found, row) == max(expected, key=expected.__getitem__)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 5), units=st.integers(1, 3))
def test_likelihood_is_the_sum_over_paths(seed: int, steps: int, units: int) -> None:
    given_steps = made_steps(seed, 1, steps, units)
    for answer, probability in all_answers(given_steps[0]).items():
        length = torch.tensor([len(answer)])
        target = torch.tensor([answer], dtype=torch.long).view(1, -1)
        found = log_likelihood(given_steps, torch.tensor([steps]), target, length)
        assert float(found) == pytest.approx(math.log(probability), abs=1e-9)


@given(st.lists(st.integers(0, 2), max_size=6))
def test_steps_needed_are_those_of_the_shortest_path(units: list[int]) -> None:
    needed = int(steps_needed(torch.tensor([units], dtype=torch.long), torch.tensor([len(units)])))
    with_blanks = [(3, unit) if i and unit == units[i - 1] else (unit,) for i, unit in enumerate(units)]
    path = tuple(itertools.chain.from_iterable(with_blanks))
    assert collapsed(path, 3) == tuple(units)
    assert needed == len(path)


@given(seed=st.integers(0, 10**6), steps=st.integers(1, 12))
def test_greedy_is_the_most_probable_path(seed: int, steps: int) -> None:
    given_steps = made_steps(seed, 3, steps, 2)
    lengths = torch.tensor([steps, max(steps - 1, 1), 1])
    found = best_paths(given_steps, lengths)
    for row, length in enumerate(lengths.tolist()):
        path = tuple(given_steps[row, :length].argmax(-1).tolist())
        assert first(found, row) == collapsed(path, 2)
        assert float(found.scores[row]) == pytest.approx(float(given_steps[row, :length].amax(-1).sum()))
        begun = starts(given_steps, lengths, found.units[:, 0], found.lengths[:, 0])[row].tolist()
        changes = [t for t, unit in enumerate(path) if unit not in (2, path[t - 1] if t else None)]
        assert [step for step in begun if step != NOTHING] == changes


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), units=st.lists(st.integers(0, 1), max_size=3))
def test_units_begin_where_the_best_path_of_all_has_them(seed: int, units: list[int]) -> None:
    given_steps = made_steps(seed, 1, 6, 2)
    target = torch.tensor([units], dtype=torch.long).view(1, -1)
    paths = itertools.product(range(3), repeat=5)
    values = given_steps[0]
    fitting = [path for path in paths if collapsed(path, 2) == tuple(units)]
    found = starts(given_steps, torch.tensor([5]), target, torch.tensor([len(units)]))[0].tolist()
    best = max(fitting, key=lambda path: sum(float(values[t, unit]) for t, unit in enumerate(path)))
    assert found == [t for t, unit in enumerate(best) if unit not in (2, best[t - 1] if t else None)]


def test_units_without_room_begin_nowhere() -> None:
    units = torch.tensor([[0, 0], [0, 1]])
    found = starts(made_steps(0, 2, 2, 2), torch.tensor([2, 2]), units, torch.tensor([2, 2]))
    assert found.tolist() == [[NOTHING, NOTHING], [0, 1]]


@pytest.mark.parametrize("width", [3, 8])
def test_search_agrees_with_fast_ctc_decode(width: int) -> None:
    """An independent decoder, one sequence at a time, whose blank is the first of the alphabet."""
    decoder = pytest.importorskip("fast_ctc_decode")
    alphabet = "NABCDEFGHIJ"
    given_steps = made_steps(0, 12, 60, 10, 2.5).float()
    lengths = torch.randint(20, 61, (12,), generator=torch.Generator().manual_seed(1))
    found = prefix_beam_search(given_steps, lengths, width)
    for row, length in enumerate(lengths.tolist()):
        values = given_steps[row, :length].exp().numpy()
        values = np.ascontiguousarray(np.concatenate([values[:, -1:], values[:, :-1]], 1))
        expected, _ = decoder.beam_search(values, alphabet, beam_size=width, beam_cut_threshold=0.0)
        assert "".join(alphabet[unit + 1] for unit in first(found, row)) == expected


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), after=st.integers(2, 12), steps=st.integers(1, 30))
def test_what_is_settled_is_given_in_time_and_is_that_of_the_whole(seed: int, after: int, steps: int) -> None:
    given_steps = made_steps(seed, 2, 30, 3, 2.0)
    # In a batch, with padding behind it.
    whole = prefix_beam_search(given_steps, torch.tensor([30, steps]), 5, settled_after=after)
    search = PrefixSearch(1, 5, given_steps, settled_after=after)
    read: list[int] = []
    for step in given_steps[1, :steps]:
        search.advance(step.unsqueeze(0))
        read += [unit for unit, _ in search.agreed()]
        assert len(search.parents) <= after
    read += [unit for unit, _ in search.rest()]
    assert tuple(read) == first(whole, 1)
    assert float(search.scores().max()) == pytest.approx(float(whole.scores[1, 0]))


def test_an_early_doubt_waits_for_ever_unless_it_is_settled() -> None:
    doubt = torch.tensor([[0.6, 0.3, 0.1]]).log()
    certain = torch.tensor([[1e-6, 1e-6, 1 - 2e-6]]).log()
    for after, given_at in ((None, None), (10, 9)):
        search = PrefixSearch(1, 4, doubt, settled_after=after)
        search.advance(doubt)
        times = []
        for time in range(40):
            search.advance(certain)
            if search.agreed():
                times.append(time)
        assert times == ([] if given_at is None else [given_at])
        assert search.rest() == ([(0, 0)] if given_at is None else [])


def test_steps_are_stacked_with_zeros_at_the_end() -> None:
    inputs = torch.arange(1, 11, dtype=torch.float32).view(1, 5, 2)
    joined, lengths = stacked(inputs, torch.tensor([5]), 3)
    assert joined.tolist() == [[[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 0, 0]]]
    assert lengths.tolist() == [2]
