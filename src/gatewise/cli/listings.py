"""What a verb prints instead of doing its work: its help, and the config it would run with."""

from __future__ import annotations

import copy
import string
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from gatewise.cli.options import options_help
from gatewise.config.check_run import changeable_settings
from gatewise.config.explain import Composition, all_groups
from gatewise.config.written import comments, used_files, with_comments
from gatewise.settings import SettingError, lines, one_line


def print_help(loader: ConfigLoader, config_name: str, overrides: list[str], resolve: bool) -> None:
    """Print the page that the config's ``hydra.help`` describes: groups, choices and settings."""
    config = _composed(loader, config_name, overrides)
    composition = Composition(loader, config_name, overrides)
    groups = sorted({group.partition("@")[0] for group in config.hydra.runtime.choices})
    choices = {group: composition.choices(group) for group in groups if not group.startswith("hydra/")}
    settings = _without_hydra(config)
    what = {"predict": "a prediction", "evaluate": "an evaluation", "backtest": "an evaluation"}.get(
        config_name
    )
    if what is not None and not settings.task:
        settings.task = changeable_settings(str(settings.run), Path(settings.paths.runs_dir), what)
    text = OmegaConf.to_yaml(settings, resolve=resolve)
    text = with_comments(text, comments(used_files(loader, config_name, overrides)))
    _print_text(_filled(config.hydra.help.template, APP_CONFIG_GROUPS=_lines(choices), CONFIG=text))


def print_hydra_help(loader: ConfigLoader, overrides: list[str]) -> None:
    """Print the page of ``hydra.hydra_help``: the options, and the groups of Hydra's own."""
    config = _composed(loader, None, overrides)
    groups = sorted(all_groups(loader, "hydra"))
    choices = {group: sorted(loader.get_group_options(group)) for group in groups}
    settings = OmegaConf.to_yaml(_hydra_alone(config))
    _print_text(
        _filled(config.hydra.hydra_help.template, HYDRA_CONFIG_GROUPS=_lines(choices), CONFIG=settings)
    )


def print_config(
    loader: ConfigLoader,
    config_name: str,
    overrides: list[str],
    kind: str,
    section: str | None,
    resolve: bool,
) -> None:
    """Print the ``job``'s config, that of ``hydra``, or ``all``, as YAML.

    Raises SettingError where there is no such section.
    """
    config = _composed(loader, config_name, overrides)
    wanted = {"job": _without_hydra, "hydra": _hydra_alone}.get(kind, copy.deepcopy)(config)
    if section in (None, "_global_"):
        part = wanted
    else:
        nothing: Any = object()
        try:
            part = OmegaConf.select(wanted, section, default=nothing)
        except Exception:  # its parser stumbles over what is no name
            part = nothing
        if part is nothing:
            raise SettingError(f"--package {section}: there is no such setting in the config")
    if not OmegaConf.is_config(part):
        print("null" if part is None else one_line(str(part)))
        return
    if resolve:
        OmegaConf.resolve(part)
    header = "" if part is wanted else f"# @package {one_line(str(section))}\n"
    print(f"{header}{_yaml(part)}", end="")


def _print_text(text: str) -> None:
    print(lines(text))


def _yaml(part: Any) -> str:
    """A config as YAML; where it has what is not printable, in YAML's own escapes."""
    text: str = OmegaConf.to_yaml(part)
    if text.replace("\n", "").isprintable():
        return text
    return yaml.dump(OmegaConf.to_container(part), allow_unicode=False, sort_keys=False)


def _composed(loader: ConfigLoader, config_name: str | None, overrides: list[str]) -> DictConfig:
    config = loader.load_configuration(config_name, overrides, RunMode.RUN)
    # Values may refer to ${hydra:...}.
    HydraConfig.instance().set_config(config)
    OmegaConf.set_readonly(config.hydra, None)
    return config


def _filled(template: str, **texts: str) -> str:
    others = {"APP_CONFIG_GROUPS": "", "HYDRA_CONFIG_GROUPS": ""}
    return string.Template(template).substitute({"FLAGS_HELP": options_help(), **others, **texts})


def _lines(choices: dict[str, list[str]]) -> str:
    return "".join(
        f"{one_line(group)}: {one_line(', '.join(names))}\n" for group, names in choices.items() if names
    )


def _without_hydra(config: DictConfig) -> DictConfig:
    settings = copy.deepcopy(config)
    with open_dict(settings):
        del settings["hydra"]
    return settings


def _hydra_alone(config: DictConfig) -> DictConfig:
    alone = copy.deepcopy(config)
    with open_dict(alone):
        for key in [key for key in alone if key != "hydra"]:
            del alone[key]
    with open_dict(alone.hydra):
        del alone.hydra["hydra_help"]
        del alone.hydra["help"]
    return alone
