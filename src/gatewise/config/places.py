"""Where the parts of a stored config write: inside the run directory, or where the user says so."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
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
_LEADS_OUT = re.compile(r"[/~].*|(.*/)?\.\.(/.*)?|.*://.*|.*\{[^{}]*:[^{}]*/.*", re.DOTALL)
"""What as a part of a path leads out: an absolute one, two dots, an address, a number filled with slashes."""
_FIELD = re.compile(r"\{[\w/.-]+(:\d?\d?(\.\d?\d)?[dfeg]?)?\}")
"""A value in the name of a checkpoint, as in ``{val/loss:.3f}``; others reach into objects, or grow long."""
_WORDS_OF_WANDB = ("mode", "project", "entity", "name", "group", "job_type", "tags", "notes")


def check_places(folder: Path, config: DictConfig, given: Collection[str], own: DictConfig | None) -> None:
    """Raise ValueError where a part of a run's config would write outside of the run's ``folder``.

    A run directory may have come from anywhere. What the user has ``given`` (keys of settings), or what
    another config of their ``own`` says too, may be anywhere.
    """
    for key, value in _texts(config):
        above = f"{key.replace('[', '.')}."
        if not _leads_out(key, value, folder) or any(above.startswith(f"{name}.") for name in given):
            continue
        if own is not None and OmegaConf.select(own, key) == value:
            continue
        raise ValueError(
            f"{folder}/config.yaml: {key}={value}: writes outside of the run directory, and a run may have "
            f"come from anywhere; if it is yours, give {key}={value} as well"
        )


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
    if _FOLDER.fullmatch(name) and "{" not in value:
        return not is_inside(Path(os.path.expanduser(value)), folder)  # noqa: PTH111 - ~nobody
    plain = _FIELD.sub("", value)
    return _LEADS_OUT.fullmatch(value) is not None or "{" in plain or "}" in plain
