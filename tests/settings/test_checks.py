"""Whatever a setting is given, its check lets it pass or says in one line what is wrong."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.settings import checks
from gatewise.settings.declared import check_settings
from gatewise.settings.libraries import _CLASSES, _GROUPS, _IN_CONF, duration, is_whole

CHECKS = {
    "whole": checks.whole_number,
    "any whole": partial(checks.whole_number, least=None),
    "optional": checks.optional(checks.whole_number),
    "seed": checks.seed,
    "number": checks.number,
    "not negative": checks.not_negative,
    "share or number": checks.share_or_number,
    "fraction": checks.fraction,
    "below one": checks.below_one,
    "flag": checks.flag,
    "text": checks.text,
    "pair": checks.pair,
    "choice": partial(checks.choice, known=("a", "b", 16)),
    "file": checks.file_name,
    "files": checks.file_names,
    "folders": checks.folders,
    "names": checks.names,
    "word": checks.word,
    "words": checks.words,
    "either": partial(checks.any_of, checks=(checks.flag, checks.number)),
}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**18, max_value=10**400),
    st.floats(),
    st.text(max_size=400),
    st.lists(st.one_of(st.integers(), st.floats(), st.text(max_size=5)), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@pytest.mark.parametrize("name", CHECKS)
@settings(max_examples=60, deadline=None)
@given(value=VALUES)
def test_a_value_passes_or_is_one_line(name: str, value: Any) -> None:
    try:
        passed = CHECKS[name]("part.setting", value)
    except ValueError as error:
        line = str(error)
        assert line.startswith("part.setting")
        assert "\n" not in line
        assert len(line) < 400
        return
    for item in passed if isinstance(passed, (list, tuple)) else [passed]:
        if isinstance(item, int) and not isinstance(item, bool) and name != "folders":
            assert abs(item) < 2**63 or name in ("word", "words", "number", "not negative", "pair", "either")
        if isinstance(item, float) and name not in ("word", "words"):
            assert math.isfinite(item)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (checks.whole_number, 2**63),
        (checks.seed, 2**32),
        (checks.seed, -1),
        (checks.number, math.inf),
        (checks.number, 1e308),
        (checks.number, -(10**400)),
        (checks.not_negative, math.nan),
        (checks.share_or_number, 5.0),
        (checks.file_name, "a\0b"),
        (checks.file_name, "a" * 256),
        (checks.file_name, "a/" * 3000),
        (checks.folders, "data"),
    ],
)
def test_what_no_library_holds_is_refused(check: Any, value: Any) -> None:
    with pytest.raises(ValueError, match=r"^x\.y"):
        check("x.y", value)


@pytest.mark.parametrize("value", [2**63 - 1, 1, True])
def test_the_largest_that_is_held_passes(value: int) -> None:
    check = checks.flag if value is True else checks.whole_number
    assert check("x", value) == value


LIBRARY = [
    ("pytorch_lightning.Trainer", {"deterministic": "maybe"}, "true or false or null"),
    ("pytorch_lightning.Trainer", {"plugins": "xx"}, "not for you to set"),
    ("pytorch_lightning.Trainer", {"max_time": "abc"}, "must be a time"),
    ("pytorch_lightning.Trainer", {"fast_dev_run": 7.5}, "debug=one_batch"),
    ("pytorch_lightning.Trainer", {"val_check_interval": 0}, "share of an epoch"),
    ("pytorch_lightning.Trainer", {"benchmark": "xx"}, "true or false"),
    ("pytorch_lightning.Trainer", {"gradient_clip_val": math.inf}, "finite"),
    ("pytorch_lightning.Trainer", {"precision": "foo"}, "is unknown"),
    ("pytorch_lightning.Trainer", {"strategy": "ddp_spawn"}, "is unknown"),
    ("pytorch_lightning.Trainer", {"nope": 1}, "no such setting of Trainer"),
    ("pytorch_lightning.callbacks.EarlyStopping", {"patienc": 1}, "did you mean patience"),
    ("pytorch_lightning.callbacks.EarlyStopping", {"strict": "foo"}, "true or false"),
    ("pytorch_lightning.callbacks.StochasticWeightAveraging", {"annealing_epochs": 0.5}, "whole number"),
    ("pytorch_lightning.loggers.CSVLogger", {"flush_logs_every_n_steps": "x"}, "whole number"),
    ("torch.optim.Adam", {"lr": math.inf}, "finite"),
    ("torch.optim.Adam", {"betas": [0.9]}, "two numbers"),
    ("torch.optim.Adam", {"amsgrad": "maybe"}, "true or false"),
    ("torch.optim.Adam", {"foo": 1}, "no such setting of Adam"),
    ("torch.optim.RMSprop", {"alpha": "x"}, "must be a number"),
    ("torch.optim.lr_scheduler.StepLR", {"step_size": 10**30}, "at most"),
    ("torch.optim.lr_scheduler.OneCycleLR", {"pct_start": math.nan}, "must be a number"),
    ("pytorch_lightning.Trainer", {"max_time": "00:00:00:00"}, "more than nothing"),
    ("pytorch_lightning.callbacks.Timer", {"duration": {"seconds": 0}}, "more than nothing"),
    ("pytorch_lightning.Trainer", {"max_time": {"days": 1e30}}, "at most 999999999 days"),
    ("pytorch_lightning.callbacks.Timer", {"duration": "999999999999:00:00:00"}, "at most 999999999 days"),
    ("pytorch_lightning.callbacks.ModelCheckpoint", {"train_time_interval": 5}, "must be a time"),
    ("pytorch_lightning.callbacks.ModelCheckpoint", {"train_time_interval": {"days": -1}}, "of 0 or more"),
    ("gatewise.tasks.language_modelling.LanguageModelling", {"length": 10**8}, "at most 100000"),
    ("optuna.samplers.TPESampler", {"n_startup_trials": -1}, "at least 0"),
]


@pytest.mark.parametrize(("target", "values", "said"), LIBRARY)
def test_settings_of_a_library(target: str, values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_settings(target, values, "part")


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("00:12:00:05", 43205),
        ("2:00:00:00", 172800),
        ({"minutes": 1.5}, 90),
        ({"weeks": 1, "seconds": 2}, 604802),
    ],
)
def test_durations(given: Any, seconds: float) -> None:
    assert duration("time", given).total_seconds() == seconds


def test_every_parameter_of_the_trainer_is_listed() -> None:
    """A new one of another Lightning is to be looked at: does Gatewise take it, or pass it over?"""
    import inspect

    import pytorch_lightning as pl

    parameters = set(inspect.signature(pl.Trainer).parameters)
    assert parameters == set(_CLASSES["pytorch_lightning.Trainer"])


@pytest.mark.parametrize("target", [*_CLASSES, *_IN_CONF])
def test_what_is_listed_is_there(target: str) -> None:
    import inspect

    from hydra.utils import get_object

    listed = _CLASSES.get(target) or _IN_CONF[target]
    assert set(listed) <= set(inspect.signature(get_object(target)).parameters)
    assert is_whole(target, set(listed))
    assert not is_whole(target, {"nope"})
    assert _GROUPS
