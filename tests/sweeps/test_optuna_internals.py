"""What is used of Optuna's inside is there, does what it is used for, and is named where it is not."""

from __future__ import annotations

from importlib.metadata import version

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState, create_trial

from gatewise.sweeps import optuna_internals


@pytest.mark.parametrize("name", optuna_internals.USED)
def test_optuna_has_what_is_used_of_its_inside(name: str) -> None:
    assert callable(getattr(BaseStorage, name, None)), (
        f"optuna {version('optuna')} has no BaseStorage.{name}, which {optuna_internals.USED[name]}: keep to "
        f"an earlier version in pyproject.toml, or mend gatewise/sweeps/optuna_internals.py"
    )


def test_a_trial_is_written_and_pruned_by_its_number() -> None:
    storage = InMemoryStorage()
    optuna.create_study(storage=storage, study_name="other").add_trial(create_trial(value=0.0))
    study = optuna.create_study(storage=storage, study_name="mine")
    for _ in range(2):
        study.add_trial(create_trial(state=TrialState.RUNNING))
    optuna_internals.write_trial(storage, "mine", 1, [(0, 3.0), (1, 2.5)], {"outcomes": ["a", "b"]})
    optuna_internals.end_pruned(storage, "mine", 1, (2.5,))
    untouched, written = study.get_trials()
    assert (untouched.state, untouched.intermediate_values) == (TrialState.RUNNING, {})
    assert (written.state, written.values) == (TrialState.PRUNED, [2.5])
    assert written.intermediate_values == {0: 3.0, 1: 2.5}
    assert written.user_attrs == {"outcomes": ["a", "b"]}
