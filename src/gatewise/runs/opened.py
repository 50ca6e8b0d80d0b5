"""The files of a run directory checked as a whole when it is opened, before torch is imported.

Each is checked by itself where it is read; here is what they have to be together. The weights are checked in
``gatewise.training.opened`` and what a training goes on from in ``gatewise.training.resumable``.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from gatewise.kinds.kind import Facts
from gatewise.runs.config_files import CHOSEN
from gatewise.runs.folders import check_name
from gatewise.runs.metrics import read_metrics, read_validations
from gatewise.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECTIONS = ("optimizer", "scheduler", "callbacks", "logger", "paths", "wandb")
"""Sections of a config that are settings, or null."""
_IN_BOTH = ("lookback", "horizon", "tokenizer", "lowercase", "normalize")
"""What the config asks for and the facts tell; null in the config leaves it to the data."""
_LAST_EPOCH = 2**31


def check_settings_of(run: Run) -> DictConfig:
    """The config of a run, where it and the choices that it was composed from are whole.

    Raises ValueError, naming file, setting and value, where they are not.
    """
    config = run.config()
    if "name" in config:
        try:
            check_name(config.name)  # it is written on pictures, and to W&B
        except ValueError as error:
            raise ValueError(f"{run.folder}/config.yaml: {error}") from None
    for section in _SECTIONS:
        node = config.get(section)
        if node is not None and not isinstance(node, DictConfig):
            raise ValueError(
                f"{run.folder}/config.yaml: {section}={str(node)[:60]}: must hold settings (key: value) or "
                f"null; the file was edited: put it back, or train again"
            )
    choices: Mapping[str, str | None] = run.choices()
    missing = [group for group in CHOSEN if choices.get(group) is None]
    if missing:
        raise ValueError(
            f"{run.folder}/overrides.yaml: choices lack {', '.join(missing)}; the file is damaged: write the "
            f"choice of each group into it, as in choices: {{{missing[0]}: ...}}, or train again"
        )
    return config


def check_history_of(run: Run) -> None:
    """Raise ValueError, naming the file, where what a run has done so far cannot be read or cannot be.

    A training goes on from it; that a finished run is evaluated needs none of it.
    """
    run.state()
    run.summary()
    for path, rows in (
        (run.metrics_file, read_metrics(run.metrics_file)),
        (run.validations_file, read_validations(run.validations_file)),
    ):
        for row in rows:
            for name in ("epoch", "epochs", "step"):
                if not 0 <= row.get(name, 0) < _LAST_EPOCH:
                    raise ValueError(f"{path}: {name} must be a count, got {row[name]}; the file is damaged")


def check_agreement(run: Run, config: DictConfig, facts: Facts) -> None:
    """Raise ValueError, naming both, where a run's facts are not those of the data its config asks for."""
    if not str(config.data.get("_target_")).startswith("gatewise."):
        return  # another's settings may mean something else
    for field in fields(facts):
        asked, learned = config.data.get(field.name), getattr(facts, field.name)
        if field.name in _IN_BOTH and asked is not None and asked != learned:
            raise ValueError(
                f"{run.folder}/facts.json: {field.name} is {learned!r}, but config.yaml has "
                f"data.{field.name}={asked}; one of the two files was edited: put it back, or train again"
            )
