"""Which configuration is the best, and which cannot be told apart from it."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from gatewise.sweeps.folder import Plan
from gatewise.sweeps.jobs import DONE

FEWEST_SEEDS = 3
"""Of two values a t-test has one degree of freedom: it calls different what differs 13 standard errors."""

LEVEL = 0.05
"""Chance of calling equal configurations different, over all comparisons of a sweep."""


@dataclass
class Configuration:
    """A point of the space and what its trainings came to."""

    number: int
    params: dict[str, Any]
    state: str
    runs: list[str]
    outcomes: list[dict[str, Any]]
    """Of each seed, as the study has them; empty while it runs."""
    rank: int | None = None
    """1 is the best; for several objectives 1 is every one that none beats in all of them."""
    p: float | None = None
    """Of the paired t-test against the best one, Holm's correction applied; None where there is none."""
    same_as: int | None = None
    """The earlier trial whose configuration this one drew again; it was not trained again."""

    def values(self, objective: int = 0) -> list[float | None]:
        """An objective of each seed; None where its training did not end."""
        return [o["values"][objective] if o["state"] == DONE else None for o in self.outcomes]

    def mean(self, objective: int = 0) -> float | None:
        """Of the seeds that ended, or None."""
        ended = [value for value in self.values(objective) if value is not None]
        return statistics.fmean(ended) if ended else None

    def standard_error(self, objective: int = 0) -> float | None:
        """Of the mean over the seeds: sample standard deviation / √n; None for fewer than two."""
        ended = [value for value in self.values(objective) if value is not None]
        return statistics.stdev(ended) / math.sqrt(len(ended)) if len(ended) > 1 else None

    @property
    def reasons(self) -> list[str]:
        """Why trainings failed or were stopped, each once."""
        return list(dict.fromkeys(o["reason"] for o in self.outcomes if o["reason"]))

    @property
    def is_tied(self) -> bool:
        """Whether it cannot be told apart from the best."""
        return self.p is not None and self.p >= LEVEL


STATES = {
    TrialState.COMPLETE: "done",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "running",
}


def configurations(trials: Sequence[FrozenTrial], plan: Plan) -> list[Configuration]:
    """Every trial as a configuration, by number, those with all seeds done ranked.

    One that was drawn again counts once; its later trials have its rank.
    """
    results = [
        Configuration(
            trial.number,
            trial.params,
            STATES[trial.state],
            list(trial.user_attrs["runs"]),
            list(trial.user_attrs.get("outcomes", ())) if trial.state.is_finished() else [],
            same_as=trial.user_attrs.get("same_as"),
        )
        for trial in trials
    ]
    done = [c for c in results if c.state == "done" and c.same_as is None]
    signs = [1 if direction == "minimize" else -1 for direction in plan.directions]

    def scores(c: Configuration) -> list[float]:
        return [sign * (c.mean(i) or 0.0) for i, sign in enumerate(signs)]

    if len(signs) == 1:
        for c in done:
            c.rank = 1 + sum(scores(other) < scores(c) for other in done)
    else:
        for c in done:
            beaten = any(_beats(scores(other), scores(c)) for other in done)
            c.rank = None if beaten else 1
    for c in results:
        if c.same_as is not None and c.state == "done":
            c.rank = results[c.same_as].rank
    return results


def ranking(results: Sequence[Configuration]) -> list[Configuration]:
    """Every ranked configuration once, the best first."""
    ranked = [c for c in results if c.rank is not None and c.same_as is None]
    return sorted(ranked, key=lambda c: (c.rank, c.number))


def _beats(first: list[float], second: list[float]) -> bool:
    return all(a <= b for a, b in zip(first, second, strict=True)) and first != second


def compare_with_best(results: Sequence[Configuration]) -> None:
    """Test every ranked configuration against the best by the values of the seeds they share.

    A paired t-test, as the seed decides the split and the initial weights of both, with Holm's correction for
    the number of comparisons. Configurations of one or two seeds are left without.
    """
    ranked = ranking(results)
    if len(ranked) < 2 or len(ranked[0].outcomes) < FEWEST_SEEDS:
        return
    best, *others = ranked
    tested = sorted((_paired_p(best.values(), other.values()), other.number) for other in others)
    by_number = {other.number: other for other in others}
    largest = 0.0
    for place, (p, number) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - place)))
        by_number[number].p = largest
    for c in results:
        if c.same_as is not None:
            c.p = results[c.same_as].p


def _paired_p(first: Sequence[float | None], second: Sequence[float | None]) -> float:
    """Two-sided p of the paired t-test; 1 where every pair is equal."""
    from scipy import stats  # half a second; only the end of a sweep needs it

    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    differences = [a - b for a, b in pairs]
    if not any(differences):
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's, of differences that are all the same
        return float(stats.ttest_1samp(differences, 0.0).pvalue)
