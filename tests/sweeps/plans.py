"""Plans and trials of sweeps that nothing was trained for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from gatewise.sweeps import search
from gatewise.sweeps.folder import Direction, Plan
from gatewise.sweeps.space import Range, Space


def make_plan(
    swept: Mapping[str, list[str] | Range],
    seeds: list[int] | None = None,
    directions: Sequence[Direction] = ("minimize",),
    **settings: Any,
) -> Plan:
    space = Space(settings.pop("fixed", []), dict(swept), seeds)
    values: dict[str, Any] = {
        "name": "mine",
        "config": "train",
        "overrides": [],
        "seed": 1,
        "trials": 9,
        "lag": 4,
        "sampler": None,
        "pruner": None,
        "objectives": None if len(directions) == 1 else ["val/loss", "parameters"],
        "version": "0",
    }
    return Plan(space=space, directions=list(directions), **{**values, **settings})


def ended(
    plan: Plan, number: int, params: dict[str, Any], *values: Sequence[float], **notes: Any
) -> FrozenTrial:
    """A trial that is done: the objectives of each seed."""
    outcomes = [
        {
            "state": "done",
            "reason": None,
            "values": list(of),
            "epochs": 3,
            "best_epoch": 2,
            "monitor": "val/loss",
        }
        for of in values
    ]
    means = [sum(column) / len(values) for column in zip(*values, strict=True)]
    trial = create_trial(
        state=TrialState.COMPLETE,
        values=means,
        params=params,
        distributions=search.distributions(plan.space),
        user_attrs={"runs": [f"run{number}"] * len(values), "outcomes": outcomes, **notes},
    )
    trial.number = number
    return trial
