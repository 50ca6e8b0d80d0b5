"""Beam search against all sequences there are, against greedy search, and against a search in plain lists."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.nn.beam_search import Step, beam_search

law = settings(max_examples=60, deadline=None, derandomize=True, database=None)
END, START = 1, 0
PLACES = 3


class Made:
    """A model whose next token depends on the whole prefix by tables of random numbers."""

    def __init__(self, seed, searches, words, longest):
        generator = torch.Generator().manual_seed(seed)
        self.words, self.searches, self.longest = words, searches, longest
        self.prefixes = sum(words**length for length in range(longest))
        shape = (searches, self.prefixes)
        scores = 2 * torch.randn(*shape, words, generator=generator, dtype=torch.float64)
        self.log_probabilities = scores.log_softmax(-1).float()
        self.weights = torch.randn(*shape, PLACES, generator=generator).softmax(-1)

    def step(self, tokens, state, shared):
        (prefix,), (rows,) = state, shared
        # A prefix's number: 0 for none, else that of the prefix before it times V, plus the token, plus 1.
        prefix = torch.where(prefix < 0, 0, prefix * self.words + tokens + 1)
        inside = prefix.clamp(max=self.prefixes - 1)  # a place that is free goes on with anything
        return Step(
            self.log_probabilities[rows[:, None], inside], (inside,), self.weights[rows[:, None], inside]
        )

    def run(self, limits, **more):
        first = torch.full((self.searches,), -1)
        rows = torch.arange(self.searches)
        return beam_search(self.step, (first,), (rows,), START, END, torch.tensor(limits), **more)

    def along(self, row, tokens):
        """(Log-probability, summed weights) of a sequence."""
        prefix, total, attended = 0, 0.0, torch.zeros(PLACES)
        for token in tokens:
            total += float(self.log_probabilities[row, prefix, token])
            attended = attended + self.weights[row, prefix]
            prefix = prefix * self.words + token + 1
        return total, attended

    def score(self, row, tokens, alpha, beta, covered=None):
        total, attended = self.along(row, tokens)
        logs = attended.clamp(max=1).log()
        covered = torch.ones(PLACES, dtype=torch.bool) if covered is None else covered
        return total / ((5 + len(tokens)) / 6) ** alpha + beta * float(logs[covered].sum())

    def all_sequences(self, limit):
        inner = [word for word in range(self.words) if word != END]
        for length in range(limit):
            for tokens in itertools.product(inner, repeat=length):
                yield (*tokens, END)

    def plain(self, row, limit, width, alpha, beta):
        """The ended sequences of one search, in plain lists."""
        going, ended = [((), 0.0)], []
        for time in range(1, limit + 1):
            following = [
                ((*tokens, word), self.along(row, (*tokens, word))[0])
                for tokens, _ in going
                for word in range(self.words)
                if time < limit or word == END
            ]
            following.sort(key=lambda item: -item[1])
            chosen = following[: width - len(ended)]
            ended += [tokens for tokens, _ in chosen if tokens[-1] == END]
            going = [item for item in chosen if item[0][-1] != END]
        return sorted(ended, key=lambda tokens: -self.score(row, tokens, alpha, beta))


def sequences(found, row):
    return [
        tuple(t[:n].tolist()) for t, n in zip(found.tokens[row], found.lengths[row].tolist(), strict=True)
    ]


LIMITS = st.lists(st.integers(1, 4), min_size=1, max_size=4)
PENALTIES = st.sampled_from([(0.0, 0.0), (0.6, 0.0), (1.0, 0.3)])


@law
@given(st.integers(0, 10**6), LIMITS, PENALTIES)
def test_a_wide_beam_finds_the_best_of_all_sequences(seed, limits, penalties):
    alpha, beta = penalties
    made = Made(seed, len(limits), 3, 4)
    found = made.run(limits, width=40, best=3, length_penalty=alpha, coverage_penalty=beta)
    for row, limit in enumerate(limits):
        every = sorted(made.all_sequences(limit), key=lambda tokens: -made.score(row, tokens, alpha, beta))
        scores = [made.score(row, tokens, alpha, beta) for tokens in every[:3]]
        got = sequences(found, row)[: len(scores)]
        assert got == every[:3]
        torch.testing.assert_close(
            found.scores[row, : len(scores)], torch.tensor(scores), rtol=1e-5, atol=1e-5
        )
        for tokens, total in zip(got, found.log_probabilities[row].tolist(), strict=False):
            assert math.isclose(made.along(row, tokens)[0], total, rel_tol=1e-5, abs_tol=1e-5)
        missing = found.lengths[row] == 0
        assert torch.equal(missing, found.scores[row] == -torch.inf)
        assert int(missing.sum()) == max(3 - len(every), 0)


@law
@given(st.integers(0, 10**6), LIMITS, PENALTIES, st.integers(1, 5), st.integers(2, 5))
def test_it_is_the_search_in_plain_lists(seed, limits, penalties, width, words):
    made = Made(seed, len(limits), words, 4)
    found = made.run(
        limits, width=width, best=width, length_penalty=penalties[0], coverage_penalty=penalties[1]
    )
    for row, limit in enumerate(limits):
        expected = made.plain(row, limit, width, *penalties)
        assert [tokens for tokens in sequences(found, row) if tokens] == expected


@law
@given(st.integers(0, 10**6), LIMITS, PENALTIES)
def test_a_beam_of_one_is_greedy(seed, limits, penalties):
    made = Made(seed, len(limits), 4, 4)
    found = made.run(limits, width=1, length_penalty=penalties[0], coverage_penalty=penalties[1])
    for row, limit in enumerate(limits):
        tokens, prefix = (), 0
        while not tokens or tokens[-1] != END:
            best = int(made.log_probabilities[row, prefix].argmax()) if len(tokens) + 1 < limit else END
            tokens = (*tokens, best)
            prefix = prefix * made.words + best + 1
        assert sequences(found, row) == [tokens]


@law
@given(st.integers(0, 10**6), LIMITS, PENALTIES, st.integers(1, 6), st.integers(1, 6))
def test_ending_early_changes_no_result(seed, limits, penalties, width, best):
    made = Made(seed, len(limits), 4, 4)
    more = {"width": width, "best": min(best, width)}
    more |= {"length_penalty": penalties[0], "coverage_penalty": penalties[1]}
    early, late = (made.run(limits, stop_early=stop, **more) for stop in (True, False))
    for row in range(len(limits)):
        assert sequences(early, row) == sequences(late, row)
    torch.testing.assert_close(early.scores, late.scores)


@law
@given(st.integers(0, 10**6), LIMITS, st.integers(1, 4))
def test_a_search_is_the_same_alone_and_among_others(seed, limits, width):
    made = Made(seed, len(limits), 4, 4)
    found = made.run(limits, width=width, best=width, length_penalty=0.8)
    for row, limit in enumerate(limits):
        alone = Made(seed, len(limits), 4, 4)
        alone.log_probabilities, alone.weights = (
            made.log_probabilities[row : row + 1],
            made.weights[row : row + 1],
        )
        alone.searches = 1
        assert sequences(alone.run([limit], width=width, best=width, length_penalty=0.8), 0) == sequences(
            found, row
        )


def test_weights_are_those_with_which_each_token_was_chosen():
    made = Made(4, 2, 4, 4)
    found = made.run([4, 3], width=3, best=2)
    for row in range(2):
        for rank, tokens in enumerate(sequences(found, row)):
            prefix = 0
            for time, token in enumerate(tokens):
                torch.testing.assert_close(found.weights[row, rank, time], made.weights[row, prefix])
                prefix = prefix * made.words + token + 1
            assert not found.weights[row, rank, len(tokens) :].any()
            assert bool((found.tokens[row, rank, len(tokens) :] == END).all())


def test_places_that_do_not_count_are_not_missed_by_the_coverage_penalty():
    made = Made(9, 1, 3, 3)
    covered = torch.tensor([True, False, True])
    found = made.run([3], width=30, best=1, coverage_penalty=0.7, covered=covered[None])
    best = max(made.all_sequences(3), key=lambda tokens: made.score(0, tokens, 0.0, 0.7, covered))
    assert sequences(found, 0) == [best]


def test_a_token_that_may_not_come_never_does():
    made = Made(2, 2, 4, 4)
    made.log_probabilities[:, :, 2] = -torch.inf
    found = made.run([4, 4], width=5, best=5)
    assert all(2 not in tokens for row in range(2) for tokens in sequences(found, row))


def test_a_wider_beam_than_there_are_sequences_is_no_error():
    found = Made(1, 1, 2, 1).run([1], width=8, best=8)
    assert sequences(found, 0) == [(END,)] + [()] * 7


def test_no_search_at_all():
    found = Made(1, 0, 2, 2).run([])
    assert found.tokens.shape[:2] == (0, 1)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0])
def test_a_length_penalty_lets_a_longer_sequence_win(alpha):
    """Log .4 = -.916 alone; two tokens log (.6 · .5) = -1.204, over 7/6 -1.032, over its square -.885."""
    first, second = torch.tensor([0.6, 0.4]).log(), torch.tensor([0.5, 0.5]).log()

    def step(tokens, state, shared):  # noqa: ARG001
        return Step(torch.where(state[0][..., None] == 0, first, second), (state[0] + 1,))

    found = beam_search(
        step, (torch.zeros(1),), (), START, END, torch.tensor([2]), width=4, best=4, length_penalty=alpha
    )
    assert sequences(found, 0)[0] == ((0, END) if alpha == 2 else (END,))
