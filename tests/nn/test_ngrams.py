"""Counts of units in a row against the formula, a context at a time."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.data.transcripts import ngrams
from gatewise.nn.ngrams import NGramModel

END = -1
Lines = list[list[int]]
LINES = st.lists(st.lists(st.integers(0, 2), max_size=5), min_size=1, max_size=5)


def witten_bell(lines: Lines, order: int, context: tuple[int, ...], unit: int, units: int) -> float:
    """P(unit | context), as the formula has it; a unit of -1 is the end."""
    if len(context) >= order:
        context = context[len(context) - order + 1 :]
    lower = 1 / (units + 1)
    if context:
        lower = witten_bell(lines, len(context), context[1:], unit, units)
    elif order > 0:
        lower = 1 / (units + 1)
    seen: Counter[int] = Counter()
    for line in lines:
        whole = [-1] * (order - 1) + line + [END]
        for place in range(order - 1, len(whole)):
            if tuple(whole[place - len(context) : place]) == context:
                seen[whole[place]] += 1
    total, kinds = sum(seen.values()), len(seen)
    return lower if not total else (seen[unit] + kinds * lower) / (total + kinds)


@settings(max_examples=25, deadline=None)
@given(lines=LINES, order=st.integers(1, 4))
def test_it_is_witten_bell(lines: Lines, order: int) -> None:
    model = NGramModel(ngrams([np.array(line, np.int64) for line in lines], order), 3)
    contexts = [c for c in itertools.product(range(-1, 3), repeat=order - 1) if -1 not in c[1:] or c[0] == -1]
    found = model.probabilities(torch.tensor(contexts, dtype=torch.long).view(len(contexts), order - 1))
    torch.testing.assert_close(found.sum(1), torch.ones(len(contexts), dtype=torch.float64))
    for context, row in zip(contexts, found.tolist(), strict=True):
        for unit, probability in zip((0, 1, 2, END), row, strict=True):
            assert probability == pytest.approx(witten_bell(lines, order, context, unit, 3), abs=1e-12)


def test_a_line_is_read_unit_by_unit() -> None:
    lines = [[0, 1, 1], [0, 1], [2]]
    model = NGramModel(ngrams([np.array(line) for line in lines], 3), 3)
    state, scores = model.start(torch.device("cpu"))
    total = 0.0
    for unit in (0, 1):
        total += float(scores[0, unit])
        state, scores = model.after(state, torch.tensor([unit]))
    total += float(model.end(state))
    parts = [((-1, -1), 0), ((-1, 0), 1), ((0, 1), END)]
    expected = sum(math.log(witten_bell(lines, 3, context, unit, 3)) for context, unit in parts)
    assert total == pytest.approx(expected)


def test_what_cannot_be_counted_is_told() -> None:
    with pytest.raises(ValueError, match="no units in a row"):
        NGramModel([], 3)
    with pytest.raises(ValueError, match="count fewer"):
        NGramModel([(0,) * 6 + (1,)], 5000)
