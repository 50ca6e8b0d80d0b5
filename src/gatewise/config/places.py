"""Where the parts of a stored config write: inside the run directory, or where the user says so."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gatewise.runs.inside import is_inside

SECTIONS = ("trainer", "callbacks", "logger")
"""Whose parts write files; the others read some."""
_FOLDER = re.compile(
    r"(.*_)?(dir|dirs|dirpath|directory|folder|path|root|file|uri|url|location)", re.IGNORECASE
)
"""Names of settings that are a path from the working folder; any other is part of one at most."""
_ADDRESS = re.compile(r"(file|local|data):")
"""How an address may begin for the libraries that write (fsspec), beside all that has ``://`` in it."""
_FIELD = re.compile(r"\{[\w/.-]+(:\d?\d?(\.\d?\d)?[dfeg]?)?\}")
"""A value in the name of a checkpoint, as in ``{val/loss:.3f}``; others reach into objects, or grow long."""
_WORDS_OF_WANDB = ("mode", "project", "entity", "name", "group", "job_type", "tags", "notes")


def check_places(
    folder: Path,
    config: DictConfig,
    given: Collection[str],
    own: DictConfig | None,
    place: Path | None = None,
) -> None:
    """Raise ValueError where a part of a run's config would write outside of the run's ``folder``.

    A run directory may have come from anywhere. What the user has ``given`` (keys of settings), or what
    another config of their ``own`` says too, may be anywhere. ``place`` is the file that says it where that
    is none of the run's.
    """
    for key, value in _texts(config):
        above = f"{key.replace('[', '.')}."
        if not _leads_out(key, value, folder) or any(above.startswith(f"{name}.") for name in given):
            continue
        if own is not None and OmegaConf.select(own, key) == value:
            continue
        raise ValueError(
            f"{place or folder / 'config.yaml'}: {key}={value}: writes outside of the run directory, and a "
            f"run may have come from anywhere; if it is yours, give {key}={value} as well"
        )


def take_own_cache(stored: DictConfig, own: DictConfig | None) -> None:
    """Have the data of a stored config keep what it prepares where the user's ``own`` config says."""
    if "cache_dir" in (stored.get("data") or ()):
        stored.data.cache_dir = None if own is None else OmegaConf.select(own, "paths.cache_dir")


def are_names(values: Mapping[Any, Any]) -> bool:
    """Whether settings of data may name files, and do not say themselves where these are."""
    return "folders" not in values and any(isinstance(value, (str, list)) for value in values.values())


def look_here(stored: DictConfig, own: DictConfig) -> None:
    """Have files that the user's ``own`` config names be looked for from where the user is now.

    Settings that name none leave those of the stored config where they were.
    """
    values = OmegaConf.to_container(own.data)
    assert isinstance(values, dict)
    if are_names(values):
        stored.data.folders = [own.paths.work_dir, own.paths.data_dir]


def _texts(config: DictConfig) -> Iterator[tuple[str, str]]:
    """(key, text) of every setting of the parts that write, save what W&B shows alone."""
    nodes: list[tuple[str, Any]] = [
        (section, OmegaConf.to_container(config[section])) for section in SECTIONS if config.get(section)
    ]
    while nodes:
        key, node = nodes.pop(0)
        if isinstance(node, dict):
            words = _WORDS_OF_WANDB if str(node.get("_target_")).startswith("gatewise.") else ()
            nodes += [
                (f"{key}.{name}", child) for name, child in node.items() if name not in (*words, "_target_")
            ]
        elif isinstance(node, list):
            nodes += [(f"{key}[{index}]", child) for index, child in enumerate(node)]
        elif isinstance(node, str):
            yield key, node


def _leads_out(key: str, value: str, folder: Path) -> bool:
    name = re.sub(r"\[\d+\]$", "", key.rpartition(".")[2])
    if "://" in value or _ADDRESS.match(value):
        return True
    goes_up = ".." in value.split("/")
    if _FOLDER.fullmatch(name) and "{" not in value:
        path = Path(os.path.expanduser(value))  # noqa: PTH111 - ~nobody
        # A relative one may be a part of another path all the same, from which it would lead up.
        return not is_inside(path, folder) or (goes_up and not path.is_absolute())
    plain = _FIELD.sub("", value)
    return value[:1] in ("/", "~") or goes_up or "{" in plain or "}" in plain
