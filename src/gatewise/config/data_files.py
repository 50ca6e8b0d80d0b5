"""The files that a config's data names: whether they are there, and known ones that are downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig

from gatewise.config.build import given, target_of
from gatewise.data.files import find_file, get_if_known, get_set_if_known
from gatewise.settings.declared import declared, is_part


def get_known_files(config: DictConfig) -> None:
    """Download the known sets that the data's files are of, where they are not here yet."""
    data = declared(target_of(config.data)) if is_part(config.data) else None
    settings = given(config.data)
    for name, file in _files(settings, () if data is None else data.files):
        get_if_known(file, settings.get("folders", ()), f"data.{name}")
    if data is not None and data.attribute("known_set"):
        get_set_if_known(settings.get(data.attribute("known_set")), settings.get("folders", ()))


def check_files(data: Mapping[str, Any], settings: tuple[str, ...]) -> None:
    """Raise ValueError, naming the setting, for a file of these settings that is not found."""
    for name, file in _files(data, settings):
        find_file(file, data.get("folders", ()), f"data.{name}", data.get("package"))


def _files(data: Mapping[str, Any], settings: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """(the setting, one file that it names), of each of these settings."""
    for name in settings:
        files = data.get(name)
        for file in files if isinstance(files, ListConfig) else [files]:
            if file is not None:
                yield name, file
