"""The name of a run that the user gives none: its experiment, or its task and data, and its files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.plugins.config_source import ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from gatewise.runs.references import as_given
from gatewise.settings.declared import declared

DECISIVE = ("task", "data")
"""The groups whose choices a run is called by where they are not its experiment's."""
DEBUG = "debug"
"""The first folder of the runs that a preset of ``debug`` makes."""
_MOST = 60
"""Characters of a file's name that show in the name of a run."""


class NamingLoader:
    """Hydra's loader of configs, which also fills in ``name``; in all else it is the loader it was given."""

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._loader, name)

    def load_configuration(
        self, config_name: str | None, overrides: list[str], run_mode: RunMode, **settings: Any
    ) -> DictConfig:
        """As Hydra's, with the run's name."""
        config = self._loader.load_configuration(config_name, overrides, run_mode, **settings)
        return self._named(config, config_name)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """As Hydra's, with the run's name."""
        config = self._loader.load_sweep_config(master_config, sweep_overrides)
        return self._named(config, master_config.hydra.job.config_name)

    def _named(self, config: DictConfig, config_name: str | None) -> DictConfig:
        if "name" in config and set(DECISIVE) <= set(config.hydra.runtime.choices):
            name = _name(self._loader, config, config_name)
            with read_write(config), open_dict(config):
                config.name = name
        return config


def _name(loader: ConfigLoader, config: DictConfig, config_name: str | None) -> Any:
    given = as_given(config.hydra.overrides.task)
    overrides = OverridesParser.create().parse_overrides(given)
    chosen = config.hydra.runtime.choices
    experiment = chosen.get("experiment")
    preset = config_file(loader, f"experiment/{experiment}") if experiment else OmegaConf.create()
    own = preset.get("name") or experiment
    name = OmegaConf.to_container(config, resolve=False)["name"]  # type: ignore[index,call-overload]
    if not any(item.key_or_group == "name" for item in overrides) and name in (None, own):
        deciding = [item for item in overrides if item.key_or_group in DECISIVE]
        name = own
        if own is None or (deciding and _differs(loader, config, config_name, given, deciding)):
            name = "/".join(_choice(group, chosen[group], deciding) for group in DECISIVE)
        stem = _files(loader, config, preset)
        name = name if stem is None else f"{name}/{stem}"
    if not chosen.get("debug") or not isinstance(name, str):
        return name
    parts = PurePath(name).parts
    # A name that cannot be is refused later, as it was given.
    return name if ".." in parts or parts[:1] in ((DEBUG,), ("/",)) else f"{DEBUG}/{name}"


def config_file(loader: ConfigLoader, path: str) -> DictConfig:
    """What one config file says by itself, as Hydra would find it; nothing where there is none."""
    sources: Sequence[ConfigSource] = loader.get_sources()
    for source in sources:
        if source.is_config(path):
            values = source.load_config(path).config
            return values if isinstance(values, DictConfig) else OmegaConf.create()
    return OmegaConf.create()


def _differs(
    loader: ConfigLoader,
    config: DictConfig,
    config_name: str | None,
    given: Sequence[str],
    deciding: Sequence[Override],
) -> bool:
    """Whether the choices on the command line are others than those that the experiment makes."""
    words = {item.input_line for item in deciding}
    rest = [text for text in given if text not in words]
    try:
        alone = loader.load_configuration(
            config_name, rest, RunMode.MULTIRUN, validate_sweep_overrides=False
        ).hydra.runtime.choices
    except Exception:  # settings of what was chosen now have no place
        groups = [text for text in rest if "." not in text.partition("=")[0]]
        alone = loader.load_configuration(
            config_name, groups, RunMode.MULTIRUN, validate_sweep_overrides=False
        ).hydra.runtime.choices
    chosen = config.hydra.runtime.choices
    return any(
        _choice(group, chosen.get(group), deciding) != str(alone.get(group)).replace("/", "_")
        for group in DECISIVE
    )


def _choice(group: str, chosen: object, deciding: Sequence[Override]) -> str:
    """The choice of a group as a folder's name; several that a sweep tries are joined."""
    for item in deciding:
        if item.key_or_group == group and item.is_sweep_override():
            values = item.value()
            if isinstance(values, ChoiceSweep):
                return "+".join(str(value).replace("/", "_") for value in values.list)
    return str(chosen).replace("/", "_")


def _files(loader: ConfigLoader, config: DictConfig, preset: DictConfig) -> str | None:
    """The user's own files among the settings of the data, as a folder's name; None where there are none.

    A file that the preset of the data or the experiment names is a part of what these are called.
    """
    data = OmegaConf.to_container(config, resolve=False).get("data")  # type: ignore[union-attr]
    if not isinstance(data, Mapping) or not isinstance(data.get("_target_"), str):
        return None
    declaration = declared(data["_target_"])
    said = [config_file(loader, f"data/{config.hydra.runtime.choices.data}"), preset.get("data") or {}]
    for setting in () if declaration is None else declaration.files:
        files = list(_names(data.get(setting)))
        if files and not any(list(_names(_plain(values, setting))) == files for values in said):
            return _stem(files[0]) + (f"+{len(files) - 1}" if len(files) > 1 else "")
    return None


def _plain(values: Any, setting: str) -> Any:
    plain = OmegaConf.to_container(values, resolve=False) if OmegaConf.is_config(values) else values
    return plain.get(setting) if isinstance(plain, Mapping) else None


def _names(value: Any) -> Iterator[str]:
    """The file or files that a setting names; none where it names none yet, or refers to another setting."""
    for name in value if isinstance(value, list) else [value]:
        if isinstance(name, str) and name != "???" and "${" not in name:
            yield name


def _stem(file: str) -> str:
    """A file's name without folder and suffix, as plain as the name of a folder should be."""
    words = re.sub(r"[^\w.+-]+", "_", PurePath(file).stem).strip("._")
    return words[:_MOST] or "file"
