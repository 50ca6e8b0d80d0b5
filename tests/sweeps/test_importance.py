"""Shares of the variance against a regression with a column for every effect."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from plans import ended, make_plan

from gatewise.sweeps.importance import importance, variance_shares
from gatewise.sweeps.ranking import Configuration, configurations
from gatewise.sweeps.space import Range


def shares_by_regression(table: np.ndarray) -> dict[tuple[int, ...], float]:
    """Least squares with contrasts of every effect, whose sums of squares are independent in a full table."""
    places = np.indices(table.shape).reshape(table.ndim, -1)
    contrasts = [np.eye(n)[:, 1:] - 1 / n for n in table.shape]
    y = table.ravel() - table.mean()
    shares = {}
    for size in range(1, table.ndim + 1):
        for axes in itertools.combinations(range(table.ndim), size):
            columns = np.ones((y.size, 1))
            for axis in axes:
                coded = contrasts[axis][places[axis]]
                columns = (columns[:, :, None] * coded[:, None, :]).reshape(y.size, -1)
            fitted = columns @ np.linalg.lstsq(columns, y, rcond=None)[0]
            shares[axes] = float((fitted**2).sum() / (y**2).sum())
    return shares


SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
TABLES = SHAPES.flatmap(lambda shape: arrays(float, shape, elements=st.integers(-50, 50).map(float)))


@given(TABLES.filter(lambda table: np.ptp(table) > 0))
def test_shares_are_those_of_a_regression_and_add_up(table: np.ndarray) -> None:
    shares = variance_shares(table)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares == pytest.approx(shares_by_regression(table), abs=1e-9)


def test_shares_of_differences_in_the_last_digits() -> None:
    # Of 1 + 1e-12 (x + 2 y): variances 1/4 and 4/4.
    table = 1.0 + 1e-12 * np.array([[0.0, 2.0], [1.0, 3.0]])
    assert variance_shares(table) == pytest.approx({(0,): 0.2, (1,): 0.8, (0, 1): 0.0}, abs=1e-3)


def grid(loss: Callable[[float, int], float], layers: tuple[str, ...] = ("1", "2")) -> list[Configuration]:
    plan = make_plan({"lr": ["0.1", "0.01", "1e-3"], "layers": list(layers)})
    trials = [
        ended(plan, number, params, (loss(float(params["lr"]), int(params["layers"])),))
        for number, params in enumerate(plan.space.grid())
    ]
    return configurations(trials, plan)


def test_a_grid_where_one_setting_decides_everything() -> None:
    plan = make_plan({"lr": ["0.1", "0.01", "1e-3"], "layers": ["1", "2"]})
    found = importance(grid(lambda lr, _: abs(np.log10(lr) + 2)), plan)
    assert found == pytest.approx({("lr",): 1.0, ("layers",): 0.0, ("lr", "layers"): 0.0})


def test_what_two_settings_only_do_together() -> None:
    # 1 where both are high or both are low: no setting does anything by itself.
    plan = make_plan({"a": ["0", "1"], "b": ["0", "1"]})
    trials = [ended(plan, i, p, (float(p["a"] == p["b"]),)) for i, p in enumerate(plan.space.grid())]
    assert importance(configurations(trials, plan), plan) == pytest.approx(
        {("a", "b"): 1.0, ("a",): 0.0, ("b",): 0.0}
    )


def test_means_over_the_seeds_are_what_is_explained() -> None:
    plan = make_plan({"a": ["0", "1"], "b": ["0", "1"]}, seeds=[1, 2])
    # Means 1, 2, 2, 3, however far apart the seeds are.
    values = [((0.0,), (2.0,)), ((-3.0,), (7.0,)), ((2.0,), (2.0,)), ((3.0,), (3.0,))]
    trials = [ended(plan, i, p, *values[i]) for i, p in enumerate(plan.space.grid())]
    assert importance(configurations(trials, plan), plan) == pytest.approx(
        {("a",): 0.5, ("b",): 0.5, ("a", "b"): 0.0}
    )


@pytest.mark.parametrize("missing", [0, 3])
def test_a_grid_with_a_hole_and_one_that_is_flat_have_none(missing: int) -> None:
    plan = make_plan({"lr": ["0.1", "0.01", "1e-3"], "layers": ["1", "2"]})
    assert importance([c for c in grid(lambda lr, n: lr + n) if c.number != missing], plan) is None
    assert importance(grid(lambda *_: 1.0), plan) is None


def searched(count: int, loss: Callable[[dict[str, float]], float]) -> dict[tuple[str, ...], float] | None:
    plan = make_plan(
        {"lr": Range(1e-4, 1e-1, None, True), "dropout": Range(0.0, 0.5), "size": ["32", "64"]},
        sampler={"_target_": "optuna.samplers.RandomSampler"},
        trials=count,
    )
    draw = np.random.default_rng(0)
    trials = []
    for number in range(count):
        params = {
            "lr": float(10 ** draw.uniform(-4, -1)),
            "dropout": float(draw.uniform(0, 0.5)),
            "size": str(draw.choice(["32", "64"])),
        }
        trials.append(ended(plan, number, params, (loss(params),)))
    return importance(configurations(trials, plan), plan)


def test_a_search_has_none_below_twenty_trials() -> None:
    assert searched(19, lambda p: p["lr"]) is None


def test_a_search_of_twenty_trials_where_one_setting_decides() -> None:
    found = searched(20, lambda p: (np.log10(p["lr"]) + 2.5) ** 2)
    assert found is not None
    assert next(iter(found)) == ("lr",)
    assert found["lr",] > 0.7
    # The one that Optuna had before said that of two settings the weaker one decides more.
    found = searched(40, lambda p: 0.5 * float(p["size"] == "64") + p["dropout"] / 3)  # variances 1/16, 1/432
    assert found is not None
    assert found["size",] == pytest.approx((1 / 16) / (1 / 16 + 1 / 432), abs=0.05)


def test_optuna_still_has_its_evaluator() -> None:
    assert callable(optuna.importance.FanovaImportanceEvaluator)
