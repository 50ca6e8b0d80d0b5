"""What can follow on the command line of a verb: options, groups, choices, settings and files."""

from __future__ import annotations

from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.plugins.completion_plugin import CompletionPlugin
from omegaconf import DictConfig, OmegaConf

from gatewise.cli.options import NAMES
from gatewise.cli.words import ACTIONS, OF_SETS
from gatewise.config.compose import hydra_session
from gatewise.config.explain import Composition
from gatewise.data.known.sets import PIP_SETS, SETS


def candidates(config_name: str, before: list[str], last: str) -> list[str]:
    """Every word that may stand in place of ``last`` behind the words ``before`` of a verb's command line."""
    if last.startswith("-"):
        return [name for name in NAMES if name.startswith(last)]
    settings = [word for word in before if "=" in word or word.startswith("~")]
    key, equals, value = last.partition("=")
    if value.startswith((".", "/")):
        return [f"{key}={path}" for path in CompletionPlugin.complete_files(value)]
    with hydra_session(config_name) as loader:
        composition = Composition(loader, config_name, settings)
        config = composition.composed(settings)
        if config is None:
            return []
        if equals:
            choices = composition.choices(key.lstrip("+").partition("@")[0])
            words = [f"{key}={choice}" for choice in choices or _values(config, key)]
        else:
            words = [*_groups(loader, key), *_keys(OmegaConf.to_container(config), key)]
    return sorted(word for word in words if word.startswith(last))


def data_words(before: list[str], last: str) -> list[str]:
    """What ``gatewise data`` does, or the sets it is to be done with, where ``last`` begins one of them."""
    words = [word for word in before if "=" not in word and not word.startswith("-")]
    known = ACTIONS if not words else [*SETS, *PIP_SETS] if words[0] in OF_SETS else ()
    return [word for word in known if word.startswith(last)]


def _groups(loader: ConfigLoader, word: str) -> list[str]:
    """The groups beside the one that ``word`` begins to name: ``model=``, ``experiment/``, ``~model``."""
    sign = word[:1] if word[:1] in ("+", "~") else ""
    parent = word[len(sign) :].rpartition("/")[0]
    words = []
    for name in loader.list_groups(parent):
        group = f"{parent}/{name}" if parent else name
        files, folders = loader.get_group_options(group), loader.list_groups(group)
        end = ("/" if folders else "=") if not (files and folders) and sign != "~" else ""
        words.append(f"{sign}{group}{end}")
    return words


def _keys(values: Any, word: str) -> list[str]:
    """The settings beside the one that ``word`` begins to name: ``model.``, ``model.hidden_size=``."""
    section, dot, _ = word.rpartition(".")
    for name in section.split(".") if section else ():
        values = values.get(name) if isinstance(values, dict) else None
    if not isinstance(values, dict):
        return []
    return [
        f"{section}{dot}{name}{'.' if isinstance(v, (dict, list)) else '='}" for name, v in values.items()
    ]


def _values(config: DictConfig, key: str) -> list[str]:
    """The value that a setting has, as it is written."""
    value = OmegaConf.select(config, key)
    if value is None or OmegaConf.is_config(value):
        return []
    return [str(value).lower() if isinstance(value, bool) else str(value)]
