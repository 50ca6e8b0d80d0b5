"""Which configurations a search tries, and which of its trainings it prunes: Optuna, made repeatable.

Optuna's samplers look at whatever has ended when they are asked. Here trial n sees the results of the trials
up to ``n - lag`` and knows of those in between only what they try, and its draws come from (seed, n) alone.
So the trials are the same for any number of jobs side by side, and after any interruption.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from gatewise.config.build import class_of
from gatewise.config.sections import PRUNER, SAMPLER, Kind, check_kind
from gatewise.settings import first_line
from gatewise.settings.declared import check_settings
from gatewise.sweeps.folder import Direction
from gatewise.sweeps.space import Range, Space

optuna.logging.set_verbosity(optuna.logging.WARNING)


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Optuna's word for each swept setting; a list of values is a choice among their texts."""
    return {key: _distribution(values) for key, values in space.swept.items()}


def _distribution(values: list[str] | Range) -> BaseDistribution:
    if not isinstance(values, Range):
        return CategoricalDistribution(values)
    if isinstance(values.low, int) and isinstance(values.high, int):
        return IntDistribution(values.low, values.high, values.log, int(values.step or 1))
    return FloatDistribution(values.low, values.high, values.log, values.step)


def draw(
    trials: Sequence[FrozenTrial],
    lag: int,
    sampler: Mapping[str, Any],
    space: Mapping[str, BaseDistribution],
    directions: Sequence[Direction],
    seed: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters of the trial after ``trials``, and what the sampler notes about it for itself."""
    number = len(trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = _study(trials, lag, directions)
        study.sampler = _made(sampler, "sweep.sampler", _trial_seed(sampler, seed, number))
        trial = study.ask(dict(space))
    return dict(trial.params), dict(study.get_trials(deepcopy=False)[number].system_attrs)


def check_sampler(node: Mapping[str, Any]) -> None:
    """Raise ValueError where a config's sampler is none, or is given what it does not take."""
    _check_class("sweep.sampler", SAMPLER, node)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = _made(node, "sweep.sampler", {})
    if not isinstance(sampler, optuna.samplers.BaseSampler):
        raise ValueError(f"sweep.sampler._target_={node['_target_']}: is not {SAMPLER.name}")


def _check_class(key: str, kind: Kind, node: Mapping[str, Any]) -> None:
    """Raise ValueError for a ``_target_`` that is no class, or for settings that are not its."""
    settings = {name: value for name, value in node.items() if name != "_target_"}
    if not isinstance(node["_target_"], str):
        raise ValueError(f"{key}._target_ must name a class, as in module.Class, got {node['_target_']!r}")
    check_kind(key, kind, node["_target_"])
    check_settings(node["_target_"], settings, key)
    class_of(OmegaConf.create({"_target_": node["_target_"]}), key)


def make_pruner(node: Mapping[str, Any]) -> optuna.pruners.BasePruner:
    """The pruner of a config; raises ValueError where it is none."""
    _check_class("sweep.pruner", PRUNER, node)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        pruner = _made(node, "sweep.pruner", {})
    if not isinstance(pruner, optuna.pruners.BasePruner):
        raise ValueError(f"sweep.pruner._target_={node['_target_']}: is not {PRUNER.name}")
    return pruner


def watched(
    trials: Sequence[FrozenTrial],
    number: int,
    lag: int,
    direction: Direction,
    pruner: optuna.pruners.BasePruner,
) -> optuna.Trial:
    """Trial ``number`` in a study of those it is compared with: report to it, and ask whether to stop."""
    study = _study(trials[:number], lag, [direction])
    study.pruner = pruner
    return study.ask()  # which draws nothing: the study names no settings


def _study(trials: Sequence[FrozenTrial], lag: int, directions: Sequence[Direction]) -> optuna.Study:
    """In memory: the trials that trial ``len(trials)`` may see as they ended, the last ones as running."""
    study = optuna.create_study(directions=list(directions), study_name="sweep")
    end = len(trials) + 1 - lag
    for trial in trials:
        if trial.number < end:
            assert trial.state.is_finished(), f"trial {trial.number} is needed before it has ended"
            study.add_trial(trial)
        else:
            running = create_trial(
                state=TrialState.RUNNING,
                params=trial.params,
                distributions=trial.distributions,
                system_attrs=trial.system_attrs,
            )
            study.add_trial(running)
    return study


def _trial_seed(sampler: Mapping[str, Any], seed: int, number: int) -> dict[str, Any]:
    """``seed`` for a sampler that takes one."""
    kind = get_class(str(sampler["_target_"]))
    if "seed" not in inspect.signature(kind).parameters or "seed" in sampler:
        return {}
    return {"seed": int(np.random.SeedSequence([seed, number]).generate_state(1)[0])}


def _made(node: Mapping[str, Any], key: str, settings: Mapping[str, Any]) -> Any:
    try:
        return instantiate(dict(node), **settings, _convert_="all")
    except Exception as error:
        cause = error.__cause__ or error
        raise ValueError(f"{key}: {first_line(cause) or type(cause).__name__}") from error
