"""``config.yaml`` and ``overrides.yaml``: a run's config, and what it was composed from."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gatewise.runs.files import write_text
from gatewise.runs.moved import with_todays_targets
from gatewise.runs.reading import LARGEST_SETTINGS, read_text
from gatewise.runs.references import filled, has_references, leaves, stored
from gatewise.runs.yaml_size import check_size
from gatewise.settings import first_line

PARTS = ("task", "data", "model", "trainer")
"""Sections that every run's config has."""
CHOSEN = ("task", "data", "model", "optimizer", "trainer")
"""Groups of which every run's config has a choice."""


class Composition(NamedTuple):
    """What a run's config was composed from."""

    overrides: list[str]
    """Those of the command line."""
    choices: dict[str, str | None]
    """The choice in each config group."""


def read_config(path: Path) -> DictConfig:
    """The resolved config of a run.

    Raises ValueError if the file is not the config of a run, or has interpolations, which could call code.
    """
    config = read_yaml(path, with_todays_targets)
    missing = [name for name in PARTS if not isinstance(config.get(name), DictConfig)]
    if missing:
        raise ValueError(
            f"{path}: not a Gatewise run's config (it has no {', '.join(missing)}); "
            f"name the directory of a run"
        )
    for key, value in leaves(OmegaConf.to_container(config)):
        if isinstance(value, str) and "${" in value:
            raise ValueError(f"{path}: {key}={value}: a stored config is resolved and has no interpolations")
    values = OmegaConf.to_container(config)
    if has_references(values):
        config = OmegaConf.create(filled(values))
    OmegaConf.set_struct(config, True)
    return config


def check_storable(config: DictConfig) -> None:
    """Raise ValueError, naming the setting, for a text that a stored config cannot hold or be read with.

    A path is such a text where the name of a folder, the working folder too, is no UTF-8 or looks like an
    interpolation.
    """
    for key, value in leaves(stored(config)):
        if not isinstance(value, str):
            continue
        if "${" in value:
            raise ValueError(f"{key}={value}: a run cannot keep a text, or a path, with ${{ in it: rename it")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{key}={value}: a run can only keep names in UTF-8: rename it") from None


def write_config(path: Path, config: DictConfig) -> None:
    """Store a config, resolved but for what it has from the environment."""
    values = stored(config)
    text = OmegaConf.to_yaml(OmegaConf.create(values) if has_references(values) else config, resolve=True)
    write_text(path, text)


def read_composition(path: Path) -> Composition:
    """Read ``overrides.yaml``; raises ValueError if it is damaged."""
    stored: Any = OmegaConf.to_container(read_yaml(path))
    overrides, choices = stored.get("overrides"), stored.get("choices")
    if not (isinstance(overrides, list) and isinstance(choices, dict)):
        raise ValueError(
            f"{path}: must hold overrides (a list) and choices (group: choice); the file is damaged"
        )
    for text in overrides:
        if not isinstance(text, str):
            raise ValueError(
                f"{path}: must hold overrides (a list of settings as text), got {text!r:.60}; the file is "
                f"damaged"
            )
    for group, choice in choices.items():
        names = choice if isinstance(choice, list) else [choice]
        if not isinstance(group, str) or not all(name is None or isinstance(name, str) for name in names):
            raise ValueError(
                f"{path}: choices.{group}={choice!r:.60}: must be the name of a choice; the file is damaged"
            )
    return Composition(overrides, choices)


def write_composition(path: Path, composition: Composition) -> None:
    """Store what a config was composed from."""
    write_text(path, OmegaConf.to_yaml(composition._asdict()))


def read_yaml(path: Path, edit: Callable[[str], str] = str) -> DictConfig:
    """Read a YAML mapping, after ``edit`` has changed its text.

    Raises ValueError naming the file, and the line of a syntax error.
    """
    try:
        values = copy.deepcopy(_parsed(edit(read_text(path, LARGEST_SETTINGS))))
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f":{error.problem_mark.line + 1}"
        raise ValueError(f"{path}{line}: not YAML ({error.problem})") from None
    except (ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise ValueError(f"{path}: not YAML ({first_line(error)})") from None
    if not isinstance(values, DictConfig):
        raise ValueError(f"{path}: must hold settings (key: value), got a list; the file is damaged")
    return values


@functools.lru_cache(maxsize=4)
def _parsed(text: str) -> Any:
    """Cached: a training reads its config many times, and parsing takes five times as long as copying."""
    check_size(text)
    try:
        return OmegaConf.create(text)
    except AssertionError:  # a number in place of a mapping
        raise ValueError("must hold settings (key: value)") from None
