"""How much each setting of a sweep decides: shares of the variance between its configurations."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import optuna

from gatewise.sweeps import search
from gatewise.sweeps.folder import Plan
from gatewise.sweeps.ranking import Configuration
from gatewise.sweeps.space import Range, canonical

FEWEST_TRIALS = 20
"""Below it, what a search has drawn says more about the draws than about the settings."""

Shares = dict[tuple[str, ...], float]
"""Of the variance, by setting; by several settings for what they do together beyond what each does."""


def importance(results: Sequence[Configuration], plan: Plan, objective: int = 0) -> Shares | None:
    """Shares in the variance of an objective, the largest first; None where they cannot be told.

    Of a grid they are exact, and add up to 1. Of a search they are those of a random forest fitted to its
    trials (Hutter et al., ICML 2014), without what settings do together.
    """
    keys = [key for key, values in plan.space.swept.items() if _choices(key, values) != 1]
    done = [c for c in results if c.state == "done" and c.same_as is None]
    scores = [c.mean(objective) for c in done]
    if len(keys) < 2 or len(set(scores)) < 2:
        return None
    shares = (
        _of_grid(done, plan, keys, objective) if plan.sampler is None else _of_search(done, plan, objective)
    )
    return shares and dict(sorted(shares.items(), key=lambda item: -item[1]))


def _choices(key: str, values: list[str] | Range) -> float:
    return values.count() if isinstance(values, Range) else len({canonical(key, text) for text in values})


def _of_grid(done: Sequence[Configuration], plan: Plan, keys: Sequence[str], objective: int) -> Shares | None:
    """None where a combination has no result: without it, settings are not varied independently."""
    places = {}
    for key in keys:
        values = plan.space.swept[key]
        assert not isinstance(values, Range)
        distinct = list(dict.fromkeys(canonical(key, text) for text in values))
        places[key] = {text: distinct.index(canonical(key, text)) for text in values}
    table = np.full([len(set(places[key].values())) for key in keys], np.nan)
    for c in done:
        table[tuple(places[key][c.params[key]] for key in keys)] = c.mean(objective)
    if not np.isfinite(table).all():
        return None
    return {tuple(keys[axis] for axis in axes): share for axes, share in variance_shares(table).items()}


def variance_shares(table: np.ndarray) -> dict[tuple[int, ...], float]:
    """Functional ANOVA of a full table with an axis per setting: the share of every set of axes.

    The effect of a set is the mean over all other axes less the effects of its subsets; the squares of all
    effects add up to the variance.
    """
    axes = range(table.ndim)
    # Scaled, so that squares of tiny differences do not vanish.
    scaled = (table - table.mean()) / np.abs(table - table.mean()).max()
    effects: dict[tuple[int, ...], np.ndarray] = {(): np.zeros([1] * table.ndim)}
    for size in range(1, table.ndim + 1):
        for chosen in itertools.combinations(axes, size):
            others = tuple(axis for axis in axes if axis not in chosen)
            mean = scaled.mean(axis=others, keepdims=True) if others else scaled
            subsets = [effect for known, effect in effects.items() if set(known) < set(chosen)]
            effects[chosen] = mean - sum(subsets)
    total = float((scaled**2).mean())
    return {chosen: float((effect**2).mean()) / total for chosen, effect in effects.items() if chosen}


def _of_search(done: Sequence[Configuration], plan: Plan, objective: int) -> Shares | None:
    if len(done) < FEWEST_TRIALS:
        return None
    study = optuna.create_study(direction=plan.directions[objective])
    space = search.distributions(plan.space)
    for c in done:
        study.add_trial(
            optuna.trial.create_trial(value=c.mean(objective), params=c.params, distributions=space)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        shares: Mapping[str, float] = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {(key,): float(share) for key, share in shares.items()}
