"""Where the classes that a stored config names come from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf


def check_origins(config: DictConfig, folder: Path) -> None:
    """Raise ValueError where a stored config names a file of its run directory, or one of Python's.

    A run directory may have come from anywhere, and what a ``_target_`` names is imported.
    """
    for key, target in targets(config):
        package = target.partition(".")[0]
        spec = None if package in sys.stdlib_module_names else PathFinder.find_spec(package)
        places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
        inside = any(place and Path(place).is_relative_to(folder) for place in places)
        if package in sys.stdlib_module_names or inside:
            raise ValueError(not_a_part(key, target, folder))


def not_a_part(key: str, target: str, folder: Path) -> str:
    """The line about a ``_target_`` that an experiment is not made of."""
    return (
        f"{folder}/config.yaml: {key}._target_={target}: not a cell, task, DataModule, optimizer, callback "
        f"or logger; a run directory may name nothing else"
    )


def targets(config: DictConfig) -> Iterator[tuple[str, str]]:
    """(key, ``_target_``) of every node of a config that has one."""
    nodes: list[tuple[str, Any]] = [("", OmegaConf.to_container(config))]
    while nodes:
        key, node = nodes.pop()
        if isinstance(node, dict):
            if "_target_" in node:
                yield key, str(node["_target_"])
            nodes += [(f"{key}.{name}".lstrip("."), child) for name, child in node.items()]
        elif isinstance(node, list):
            nodes += [(f"{key}[{index}]", child) for index, child in enumerate(node)]
