"""Means, standard errors, and which configurations cannot be told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial

from gatewise.sweeps.folder import Direction, Plan
from gatewise.sweeps.ranking import Configuration, compare_with_best, configurations, ranking
from gatewise.sweeps.report import measured, verdict
from gatewise.sweeps.space import Space


def plan(seeds: int, directions: tuple[Direction, ...] = ("minimize",)) -> Plan:
    return Plan(
        name="mine",
        config="train",
        overrides=[],
        space=Space([], {"model": ["lstm", "gru"]}, list(range(seeds))),
        seed=1,
        trials=9,
        lag=4,
        sampler=None,
        pruner=None,
        objectives=None,
        directions=list(directions),
        version="0",
    )


def trial(number: int, *values: Any, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    """One with these values of its seeds; None for one that failed."""
    outcomes = [
        {"state": "failed", "reason": "the loss is nan", "values": []}
        if value is None
        else {"state": "done", "reason": None, "values": list(value) if isinstance(value, tuple) else [value]}
        for value in values
    ]
    found = create_trial(state=state, value=0.0 if state == TrialState.COMPLETE else None)
    found.number = number
    found.user_attrs.update(runs=["run"] * len(values), outcomes=outcomes)
    return found


def compared(
    count: int, *trials: FrozenTrial, directions: tuple[Direction, ...] = ("minimize",)
) -> list[Configuration]:
    found = configurations(trials, plan(count, directions))
    compare_with_best(found)
    return found


def test_mean_and_standard_error() -> None:
    (found,) = compared(3, trial(0, 1.0, 2.0, 4.0))
    # Deviations -4/3, -1/3, 5/3: variance (16 + 1 + 25) / 9 / 2 = 7/3.
    assert found.mean() == pytest.approx(7 / 3)
    assert found.standard_error() == pytest.approx((7 / 3 / 3) ** 0.5)
    (one,) = compared(1, trial(0, 1.0))
    assert (one.mean(), one.standard_error(), one.p) == (1.0, None, None)


@pytest.mark.parametrize(("directions", "ranks"), [(("minimize",), [2, 1, 2]), (("maximize",), [1, 3, 1])])
def test_ranks_by_mean(directions: tuple[Direction, ...], ranks: list[int]) -> None:
    found = compared(1, trial(0, 3.0), trial(1, 2.0), trial(2, 3.0), directions=directions)
    assert [c.rank for c in found] == ranks


def test_what_is_not_better_in_anything_is_off_the_front() -> None:
    directions: tuple[Direction, ...] = ("minimize", "maximize")
    points = [(1.0, 1.0), (2.0, 5.0), (2.0, 4.0), (3.0, 5.0), (3.0, 6.0)]
    found = configurations([trial(i, point) for i, point in enumerate(points)], plan(1, directions))
    assert [c.rank for c in found] == [1, 1, None, None, 1]


def test_a_paired_t_test_with_holms_correction() -> None:
    best = (1.0, 2.0, 3.0, 4.0)
    # Differences 1.0, 1.2, 0.8, 1.0: mean 1, s = sqrt(0.08/3), t = 2 / s = 12.247, 3 degrees of freedom:
    # p = 0.00117 (the tail of Student's t, from its closed form for 3 degrees).
    near = (2.0, 3.2, 3.8, 5.0)
    # Differences 0.5, -0.4, 0.3, 0.0: mean 0.1, s = 0.3916, t = 0.5108: p = 0.6448.
    same = (1.5, 1.6, 3.3, 4.0)
    found = compared(4, trial(0, *near), trial(1, *best), trial(2, *same))
    assert found[1].p is None
    assert found[0].p == pytest.approx(2 * 0.00117, rel=0.01)  # the smaller of two, times two
    assert found[2].p == pytest.approx(0.6448, rel=0.01)
    assert [c.is_tied for c in found] == [False, False, True]


def test_the_same_values_cannot_be_told_apart_and_a_constant_lead_can() -> None:
    found = compared(3, trial(0, 1.0, 2.0, 3.0), trial(1, 1.0, 2.0, 3.0), trial(2, 2.0, 3.0, 4.0))
    assert [c.p for c in found] == [None, 1.0, 0.0]


def test_two_seeds_tell_nothing_apart_and_tie_nothing() -> None:
    # However far apart: with one degree of freedom these would have p = 0.06 and p = 1.
    found = compared(2, trial(0, 1.0, 2.0), trial(1, 11.0, 12.1), trial(2, 1.0, 2.0))
    assert [c.p for c in found] == [None] * 3
    assert not any(c.is_tied for c in found)
    line = verdict(plan(2), ranking(found))
    assert line.startswith(
        "Trials 0, 2 have the same value. Two seeds each: too few to tell configurations apart"
    )


def p_of_three(differences: tuple[float, float, float]) -> float:
    """Two-sided p of Student's t with two degrees of freedom, whose distribution has a closed form."""
    t = np.mean(differences) / (np.std(differences, ddof=1) / np.sqrt(3))
    return float(1 - abs(t) / np.sqrt(2 + t**2))


@given(
    st.lists(
        st.tuples(*[st.integers(-30, 30).filter(bool)] * 3).filter(lambda d: len(set(d)) > 1 and sum(d) > 0),
        min_size=1,
        max_size=6,
    )
)
def test_three_seeds_by_the_closed_form_of_the_t_test_and_holm_step_by_step(
    differences: list[tuple[int, int, int]],
) -> None:
    best = (5.0, -3.0, 8.0)
    others = [tuple(b + d for b, d in zip(best, of, strict=True)) for of in differences]
    found = compared(3, trial(0, *best), *(trial(1 + i, *of) for i, of in enumerate(others)))
    raw = [p_of_three(of) for of in differences]  # type: ignore[arg-type]
    # Holm: the k-th smallest of m is multiplied by m - k + 1, and never smaller than the one before it.
    expected = [0.0] * len(raw)
    largest = 0.0
    for place, index in enumerate(np.argsort(raw, kind="stable")):
        largest = max(largest, min(1.0, raw[index] * (len(raw) - place)))
        expected[index] = largest
    assert [c.p for c in found[1:]] == pytest.approx(expected, abs=1e-9)
    tied = [str(c.number) for c in ranking(found) if c.p is not None and c.p >= 0.05]
    line = verdict(plan(3), ranking(found))
    test = "(paired t-test over 3 seeds, Holm's correction, 5% level)."
    if tied:
        assert line == f"Cannot be told apart from trial 0: {', '.join(tied)} {test}"
    else:
        assert line == f"Trial 0 is better than every other {test}"


def test_what_was_drawn_again_counts_once() -> None:
    again = trial(3, 1.0, 2.0, 4.5)
    again.user_attrs["same_as"] = 1
    found = compared(3, trial(0, 9.0, 8.0, 7.0), trial(1, 1.0, 2.0, 4.5), trial(2, 3.0, 3.0, 3.0), again)
    without = compared(3, trial(0, 9.0, 8.0, 7.0), trial(1, 1.0, 2.0, 4.5), trial(2, 3.0, 3.0, 3.0))
    assert [(c.rank, c.p) for c in found[:3]] == [(c.rank, c.p) for c in without]
    assert (found[3].rank, found[3].p) == (found[1].rank, found[1].p) == (1, None)
    assert [c.number for c in ranking(found)] == [1, 2, 0]


def test_a_configuration_with_a_failed_seed_has_no_rank_but_its_values() -> None:
    found = compared(2, trial(0, 5.0, None, state=TrialState.FAIL), trial(1, 7.0, 8.0))
    assert [c.rank for c in found] == [None, 1]
    assert (found[0].mean(), found[0].values(), found[0].reasons) == (5.0, [5.0, None], ["the loss is nan"])


@pytest.mark.parametrize(
    ("value", "text"),
    [(28953.0, "28953"), (7047.0, "7047"), (0.129712, "0.1297"), (28953.5, "2.895e+04"), (3e12, "3e+12")],
)
def test_how_an_objective_is_shown(value: float, text: str) -> None:
    outcome = {"state": "done", "values": [value]}
    assert measured(Configuration(0, {}, "done", [], [outcome]), 0) == text
