"""Draws of a search, and what its pruner says: functions of the seed and of earlier trials alone."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from gatewise.sweeps import search
from gatewise.sweeps.space import Range, Space

SPACE = search.distributions(
    Space([], {"lr": Range(1e-4, 1.0, None, True), "layers": Range(1, 4, 1), "cell": ["lstm", "gru"]}, None)
)
SAMPLERS: dict[str, dict[str, Any]] = {
    "random": {"_target_": "optuna.samplers.RandomSampler"},
    "tpe": {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 3},
    "gp": {"_target_": "optuna.samplers.GPSampler", "n_startup_trials": 3},
    "nsga2": {"_target_": "optuna.samplers.NSGAIISampler", "population_size": 4},
}
Trials = list[FrozenTrial]


def loss(params: dict[str, Any]) -> float:
    return (params["lr"] - 0.1) ** 2 + params["layers"] + (params["cell"] == "gru")


def carry_out(
    sampler: str, count: int, lag: int, seed: int = 1, ended: int | None = None
) -> list[dict[str, Any]]:
    """Parameters of a search; with ``ended``, only that many earlier trials have ended when one is drawn."""
    trials: Trials = []
    drawn = []
    for number in range(count):
        known = trials
        if ended is not None:
            known = [trial if trial.number <= number - ended else running(trial) for trial in trials]
        params, system = search.draw(known, lag, SAMPLERS[sampler], SPACE, ["minimize"], seed)
        drawn.append(params)
        trial = create_trial(value=loss(params), params=params, distributions=SPACE, system_attrs=system)
        trial.number = number
        trials.append(trial)
    return drawn


def running(trial: FrozenTrial) -> FrozenTrial:
    same = create_trial(
        state=TrialState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        system_attrs=trial.system_attrs,
    )
    same.number = trial.number
    return same


@pytest.mark.parametrize(
    "sampler", [pytest.param(name, marks=pytest.mark.slow) if name == "gp" else name for name in SAMPLERS]
)
def test_draws_do_not_depend_on_what_has_ended_meanwhile(sampler: str) -> None:
    one_after_the_other = carry_out(sampler, 14, lag=3)
    assert carry_out(sampler, 14, lag=3, ended=3) == one_after_the_other
    assert carry_out(sampler, 14, lag=3) == one_after_the_other
    assert len({params["lr"] for params in one_after_the_other}) > 7
    assert carry_out(sampler, 14, lag=3, seed=2) != one_after_the_other


def test_a_sampler_learns_from_what_it_may_see() -> None:
    # With a lag of 3 trial 3 sees trial 0, with one of 5 it sees nothing.
    near, far = carry_out("tpe", 12, lag=3), carry_out("tpe", 12, lag=5)
    assert near[:3] == far[:3]
    assert near != far
    tpe = [loss(p) for p in carry_out("tpe", 40, lag=3)[20:]]
    random = [loss(p) for p in carry_out("random", 40, lag=3)[20:]]
    assert sum(tpe) < 0.7 * sum(random)


def test_a_trial_is_not_drawn_before_those_it_learns_from_have_ended() -> None:
    with pytest.raises(AssertionError, match="trial 0 is needed before it has ended"):
        carry_out("tpe", 6, lag=2, ended=3)


MEDIAN = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 3, "n_warmup_steps": 1}


def curves(*values: list[float]) -> Trials:
    trials = []
    for number, curve in enumerate(values):
        trial = create_trial(value=min(curve), intermediate_values=dict(enumerate(curve)))
        trial.number = number
        trials.append(trial)
    return trials


@pytest.mark.parametrize(
    ("direction", "sign", "curve", "stops"),
    [
        # After epoch 2 the medians of the best so far are 4, 3 and 2.
        ("minimize", 1, [9, 9], 1),
        ("minimize", 1, [9, 3.5, 3.5], 2),
        ("minimize", 1, [9, 3.5, 2.5, 2.5], 3),
        ("minimize", 1, [9, 3.5, 2.5, 1.5], None),
        ("maximize", -1, [-9, -3.5, -2.5, -2.5], 3),
        ("maximize", -1, [-9, -3.5, -2.5, -1.5], None),
    ],
)
def test_a_training_is_stopped_where_it_is_worse_than_the_median(
    direction: Any, sign: int, curve: list[float], stops: int | None
) -> None:
    earlier = [[5, 4.5, 4, 3], [5, 4, 3, 2], [5, 4, 3, 1], [0, 0, 0, 0]]
    trials = curves(*([sign * value for value in values] for values in earlier))
    # Trial 4 sees up to trial 2.
    watched = search.watched(trials, 4, 2, direction, search.make_pruner(MEDIAN))
    assert watched.number == 4
    stopped = None
    for epoch, value in enumerate(curve):
        watched.report(value, epoch)
        if watched.should_prune():
            stopped = epoch
            break
    assert stopped == stops


@pytest.mark.parametrize(
    ("node", "line"),
    [
        ({"_target_": "optuna.pruners.MedianPrunr"}, r"sweep.pruner\._target_=.*MedianPrunr"),
        (
            {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": -1},
            "sweep.pruner.n_startup_trials must be a whole number of at least 0, got -1",
        ),
        (
            {"_target_": "optuna.samplers.RandomSampler"},
            "sweep.pruner._target_=optuna.samplers.RandomSampler: is not a pruner",
        ),
    ],
)
def test_a_wrong_pruner_is_named(node: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        search.make_pruner(node)


def test_a_space_is_optunas() -> None:
    assert {
        "lr": optuna.distributions.FloatDistribution(1e-4, 1.0, log=True),
        "layers": optuna.distributions.IntDistribution(1, 4),
        "cell": optuna.distributions.CategoricalDistribution(["lstm", "gru"]),
    } == SPACE
