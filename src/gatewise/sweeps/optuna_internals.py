"""What Gatewise uses of Optuna's inside: every such name is here, with the reason.

A study takes the curve of a trial, notes about it, and the values of one that was pruned only from the object
that ``study.ask()`` gave out, in the process that was given it. Trials of a sweep outlive processes, so they
are written to the storage itself, whose methods Optuna does not promise to keep: ``pyproject.toml`` allows
the minor versions with which ``tests/sweeps/test_optuna_internals.py`` has passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import TrialState

USED = {
    "get_study_id_from_name": "finds the study",
    "get_trial_id_from_study_id_trial_number": "finds the trial",
    "set_trial_intermediate_value": "writes the curve, which the pruner and Optuna's own pictures read",
    "set_trial_user_attr": "writes what came of each seed",
    "set_trial_state_values": "ends a pruned trial with its values; study.tell takes none",
}
"""Methods of a storage, and what each is used for."""


def write_trial(
    storage: BaseStorage,
    study: str,
    number: int,
    curve: Sequence[tuple[int, float]],
    attributes: Mapping[str, Any],
) -> None:
    """Add a curve, as (epoch, value), and further attributes to a trial that has not ended."""
    trial = _trial_id(storage, study, number)
    for epoch, value in curve:
        storage.set_trial_intermediate_value(trial, epoch, value)
    for name, attribute in attributes.items():
        storage.set_trial_user_attr(trial, name, attribute)


def end_pruned(storage: BaseStorage, study: str, number: int, values: Sequence[float]) -> None:
    """End a trial as pruned, with the values that it had by then."""
    storage.set_trial_state_values(_trial_id(storage, study, number), TrialState.PRUNED, list(values))


def _trial_id(storage: BaseStorage, study: str, number: int) -> int:
    return storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(study), number)
