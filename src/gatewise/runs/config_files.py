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
from gatewise.runs.references import filled, has_references, leaves, stored
from gatewise.settings import first_line

PARTS = ("task", "data", "model", "trainer")
"""Sections that every run's config has."""


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


def write_config(path: Path, config: DictConfig) -> None:
    """Store a config, resolved but for what it has from the environment."""
    values = stored(config)
    text = OmegaConf.to_yaml(OmegaConf.create(values) if has_references(values) else config, resolve=True)
    write_text(path, text)


def read_composition(path: Path) -> Composition:
    """Read ``overrides.yaml``; raises ValueError if it is damaged."""
    stored = OmegaConf.to_container(read_yaml(path))
    assert isinstance(stored, dict)
    overrides, choices = stored.get("overrides"), stored.get("choices")
    listed = isinstance(overrides, list) and all(isinstance(text, str) for text in overrides)
    if not (listed and isinstance(choices, dict)):
        raise ValueError(
            f"{path}: must hold overrides (a list) and choices (group: choice); the file is damaged"
        )
    return Composition(
        [str(text) for text in overrides or ()], {str(group): choice for group, choice in choices.items()}
    )


def write_composition(path: Path, composition: Composition) -> None:
    """Store what a config was composed from."""
    write_text(path, OmegaConf.to_yaml(composition._asdict()))


def read_yaml(path: Path, edit: Callable[[str], str] = str) -> DictConfig:
    """Read a YAML mapping, after ``edit`` has changed its text.

    Raises ValueError naming the file, and the line of a syntax error.
    """
    try:
        values = copy.deepcopy(_parsed(edit(path.read_text(encoding="utf-8"))))
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
    return OmegaConf.create(text)
