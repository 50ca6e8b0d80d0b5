"""Hydra's, OmegaConf's and YAML's errors as one line that names the setting and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from posixpath import join
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    GrammarParseError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from gatewise.config.naming import config_file
from gatewise.config.users_files import not_utf8
from gatewise.config.written import place, users_files
from gatewise.settings import SettingError, closest, first_line, suggestion

KINDS = {int: "a whole number", float: "a number", bool: "true or false"}
MAY_BE_WORDS = ("trainer.devices", "trainer.deterministic")
"""Settings that are a number or flag in our files and take words as well."""
OF_WORDS = ("wandb", "paths")
"""Sections without a number or flag."""


@dataclass(frozen=True)
class Composition:
    """What was being composed: where to look for the settings that the user may have meant."""

    loader: ConfigLoader
    config_name: str
    overrides: list[str]

    def groups(self) -> list[str]:
        """Every config group but Hydra's own, such as ``model`` or ``experiment/text``."""
        top = [name for name in self.loader.list_groups("") if name != "hydra"]
        return [group for name in top for group in all_groups(self.loader, name)]

    def choices(self, group: str) -> list[str]:
        """What may stand after ``group=``, with the choices of its sub-folders (``text/sentiment``)."""
        files = self.loader.get_group_options(group, ObjectType.CONFIG)
        folders = self.loader.get_group_options(group, ObjectType.GROUP)
        nested = [f"{name}/{choice}" for name in folders for choice in self.choices(f"{group}/{name}")]
        return sorted({*files, *nested})

    def settings(self, wrong: str) -> list[str]:
        """Dotted path of every setting and section, composed without the override of the key ``wrong``.

        Hydra's own are among them only where ``wrong`` is one.
        """
        rest = [text for text in self.overrides if text.lstrip("+~").partition("=")[0] != wrong]
        config = self.composed(rest)
        if config is None:
            # More than one is wrong: keep those that can be composed, groups first, as the other settings may
            # belong to what they choose.
            kept: list[str] = []
            for override in sorted(rest, key=lambda text: "." in text.partition("=")[0]):
                if self.composed([*kept, override]) is not None:
                    kept.append(override)
            config = self.composed(kept)
        found = [] if config is None else paths(OmegaConf.to_container(config))
        of_hydra = wrong.startswith("hydra")
        return [path for path in found if of_hydra or path.split(".")[0] != "hydra"]

    def check_types(self, config: DictConfig, overrides: list[str]) -> None:
        """Raise SettingError where an override gives words to a setting whose own value is a number or flag.

        Whoever builds from the setting checks it too, but only after the seconds that importing torch takes.
        """
        words = {}
        for override in overrides:
            key, _, _ = override.partition("=")
            value = OmegaConf.select(config, key, throw_on_missing=False) if key[:1] not in "+~" else None
            if isinstance(value, str) and key not in MAY_BE_WORDS and not self._is_no_number(key):
                words[key] = value
        if not words:
            return
        without = self.composed([text for text in overrides if text.partition("=")[0] not in words])
        for key, value in words.items():
            kind = str if without is None else type(OmegaConf.select(without, key))
            if kind in KINDS:
                raise SettingError(f"{key} must be {KINDS[kind]}, got {value!r}")

    def _is_no_number(self, key: str) -> bool:
        """Whether ``key`` has a value in its config file that is none of KINDS: composing shows no more."""
        section, _, name = key.partition(".")
        if section in OF_WORDS or not HydraConfig.initialized():
            return section in OF_WORDS
        choices = HydraConfig.get().runtime.choices
        path = f"{section}/{choices[section]}" if section in choices else self.config_name
        values = OmegaConf.to_container(config_file(self.loader, path))
        assert isinstance(values, dict)
        name = name if section in choices else key
        return name in values and type(values[name]) not in KINDS

    def composed(self, overrides: list[str]) -> DictConfig | None:
        """The config with these overrides, Hydra's section too; None where it cannot be composed."""
        try:
            # As in a sweep, which may leave a group without a choice.
            return self.loader.load_configuration(
                self.config_name, overrides, RunMode.MULTIRUN, validate_sweep_overrides=False
            )
        except Exception:
            return None


def all_groups(loader: ConfigLoader, group: str) -> list[str]:
    """``group`` and every config group below it that has a choice."""
    own = [group] if loader.get_group_options(group, ObjectType.CONFIG) else []
    below = [all_groups(loader, f"{group}/{name}") for name in loader.list_groups(group)]
    return [*own, *(name for names in below for name in names)]


REQUIRED = ("task", "data", "model", "optimizer", "trainer")
"""Groups without a choice of which there is nothing to run."""


def explain(error: BaseException, composition: Composition | None = None) -> str | None:
    """One line about ``error``, or None where it is a bug and not what a user wrote."""
    if str(error).startswith("Config group override must be a string") and composition is not None:
        return _no_choice(first_line(error), composition)
    if isinstance(error, UnicodeDecodeError) and composition is not None:
        return not_utf8(error, composition.loader)
    if isinstance(error, InstantiationException):
        return None if error.__cause__ is not None else first_line(error)
    if isinstance(error, OverrideParseException):
        return _unreadable(error, composition)
    if isinstance(error, MissingConfigException):
        return _no_such_choice(error, composition)
    if isinstance(error, HydraException):
        return _composition_error(error, composition)
    if isinstance(error, OmegaConfBaseException):
        return _omegaconf_error(error)
    plugin = re.match(r"Unknown plugin class : 'hydra_plugins\.(hydra_\w+)\.", str(error))
    if plugin is not None:
        package = plugin[1].replace("_", "-")
        return f"hydra.launcher: takes {package}, which is not installed here: pip install {package}"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}:{mark.line + 1}: {error.problem}"
    return first_line(error) if isinstance(error, yaml.YAMLError) else None


def required(key: str) -> str:
    """The line about a setting that has no value yet."""
    return f"{key}: a value is required, e.g. {key}=..."


def _unreadable(error: OverrideParseException, composition: Composition | None) -> str:
    override = error.override
    if "=" not in override:
        return f"{override}: settings are written key=value{suggestion(_completed(override, composition))}"
    for left, right in ("[]", "{}", "()"):
        if override.count(left) != override.count(right):
            return f"{override}: every {left} needs its {right}"
    if "NoneType is incompatible" in error.message and (within := re.search(r"=choice\((.*)\)$", override)):
        key = override.partition("=")[0]
        return f"{override}: choice(...) takes no null; values with null are listed: {key}={within[1]}"
    lines = [
        line for line in error.message.splitlines() if not line.startswith(("Error parsing", "See http"))
    ]
    reason = lines[0].strip() if lines and "LexerNoViable" not in lines[0] else "not understood"
    return f"{override}: {reason} (a value with special characters needs quotes: 'key=\"value\"')"


def _completed(word: str, composition: Composition | None) -> str | None:
    """``key=value`` that a lone ``word`` may have stood for."""
    if composition is None:
        return None
    for group in composition.groups():
        if word in composition.choices(group):
            return f"{group}={word}"
    near = closest(word, [*composition.settings(word), *composition.groups()])
    return None if near is None else f"{near}=..."


def _no_such_choice(error: MissingConfigException, composition: Composition | None) -> str:
    missing = error.missing_cfg_file
    if missing is None or composition is None:
        return first_line(error)
    for override in composition.overrides:
        key, _, values = override.lstrip("+~").partition("=")
        group = key.partition("@")[0]
        choice = missing.removeprefix(f"{group}/")
        if choice != missing and choice in re.split(r"[][(),'\"\s]+", values):
            choices = composition.choices(group)
            near = suggestion(closest(choice, choices)) or "."
            listed = f" Choices: {', '.join(choices)}" if choices else ""
            return f"{key}={choice}: no such choice{near}{listed}"
    for written in users_files(composition.loader):
        for made in written.choices:
            if join(made.group, made.name) == missing:
                choices = composition.choices(made.group)
                near = suggestion(closest(made.name, choices)) or "."
                listed = f" Choices: {', '.join(choices)}" if choices else ""
                where = place(written.path, made.line)
                return f"{where}: {made.group}={made.name}: no such choice{near}{listed}"
    # Named in the defaults list of a file of Gatewise's: Hydra's first line says which.
    return first_line(error).rstrip(".")


def _misspelt_choice(composition: Composition | None) -> str | None:
    """The line about the first ``group=word`` that is none: without -m, Hydra names a list first."""
    if composition is None:
        return None
    groups = composition.groups()
    for override in composition.overrides:
        group, _, value = override.partition("=")
        if group in groups and re.fullmatch(r"[\w/-]+", value) and value != "null":
            choices = composition.choices(group)
            if value not in choices:
                near = suggestion(closest(value, choices)) or "."
                return f"{group}={value}: no such choice{near} Choices: {', '.join(choices)}"
    return None


def _no_choice(message: str, composition: Composition) -> str:
    """The line about ``group=null`` and ``group=3``."""
    groups = composition.groups()
    for override in composition.overrides:
        group, _, value = override.lstrip("+").partition("=")
        if group in groups and value not in composition.choices(group):
            none = "" if group in REQUIRED else f", or leave it out with ~{group}"
            return f"{group}={value}: choose one of {', '.join(composition.choices(group))}{none}"
    return message


def _unknown_setting(key: str, message: str, composition: Composition | None) -> str:
    addition = re.search(r"use (\+.+)$", message)
    if "No match in the defaults list" in message:
        return f"{key}: nothing is chosen of this group; add it with +{key}=..."
    kind = "no such setting" if "." in key else "no such group or setting"
    if composition is None:
        return f"{key}: {kind}"
    settings = composition.settings(key)
    near = closest(
        key, [path for path in (*settings, *composition.groups()) if not key.startswith(f"{path}.")]
    )
    parent = key.rpartition(".")[0]
    siblings = [path for path in settings if path.rpartition(".")[0] == parent]
    hint = suggestion(near)
    if near is None and siblings:
        hint = f"; {parent} has {', '.join(path[len(parent) :].lstrip('.') for path in siblings)}"
        hint = hint if parent else f"; there are {', '.join(siblings)}"
    return f"{key}: {kind}{hint}" + (f" ({addition[1]} would add it)" if addition and parent else "")


def _group_is_named(group: str, composition: Composition) -> str:
    """``file:line: `` where a user's file overrides a group that there is not; else nothing."""
    if any(text.lstrip("+~").partition("=")[0] == group for text in composition.overrides):
        return ""
    for written in users_files(composition.loader):
        for choice in written.choices:
            if choice.group == group:
                return f"{place(written.path, choice.line)}: "
    return ""


def _composition_error(error: HydraException, composition: Composition | None) -> str:
    message = str(error)
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if match := re.match(r"(?:In '.*?': )?Could not override '([^'@]+)'", message):
        where = "" if composition is None else _group_is_named(match[1], composition)
        if where and composition is not None:
            return f"{where}{match[1]}: no such group{suggestion(closest(match[1], composition.groups()))}"
        return _unknown_setting(match[1], message, composition)
    if (match := re.match(r"In '(.+?)': \w+ raised while composing", message)) and composition is not None:
        for written in users_files(composition.loader):
            if not written.path.with_suffix("").as_posix().endswith(f"/{match[1]}"):
                continue
            if written.kind != "mapping":
                what = "a list" if written.kind == "sequence" else "a word"
                return f"{place(written.path, written.start)}: must hold settings (key: value), got {what}"
            at = re.search(r"full_key: (\S+)", message)
            number = next((n for name, n in written.lines.items() if at and at[1].endswith(name)), 1)
            return f"{place(written.path, number)}: {lines[1] if len(lines) > 1 else message}"
    if match := re.match(r"You must specify '([^']+)'", message):
        return f"{match[1]}: a choice is required, e.g. {match[1]}={(lines[2:] or ['...'])[0]}. " + (
            f"Choices: {', '.join(lines[2:])}"
        )
    if match := re.match(r"Ambiguous value for argument '([^=]*)=(.*)'$", lines[0] if lines else ""):
        key, values = match[1], match[2]
        if misspelt := _misspelt_choice(composition):
            return misspelt
        return f"{key}={values}: a list is written {key}=[{values}]; add -m to sweep over the values"
    if match := re.match(r"Sweep parameters '(.*)' requires", message):
        if misspelt := _misspelt_choice(composition):
            return misspelt
        return f"{match[1]}: add -m to sweep over the values"
    if match := re.match(r"Could not delete (?:from config\. )?'(.+)'( does not exist|\. No match)", message):
        names = [] if composition is None else [*composition.settings(match[1]), *composition.groups()]
        return f"~{match[1]}: there is nothing to remove{suggestion(closest(match[1], names))}"
    if match := re.match(r"Could not append to config\. An item is already at '([^']+)'", message):
        return f"+{match[1]}: the setting is there already; write {match[1]}=... without the +"
    cause = error.__cause__
    if match := re.match(r"Error merging override (.+)", message):
        return f"{match[1]}: {first_line(cause) if cause else 'not possible'}"
    if isinstance(cause, OmegaConfBaseException) and not lines:
        return _omegaconf_error(cause) or first_line(cause)
    return " ".join(
        line for line in lines if not line.startswith(("Config search path", "provider="))
    ) or repr(error)


def _omegaconf_error(error: OmegaConfBaseException) -> str | None:
    unset = re.search(r"[Mm]issing mandatory value: (\S+)", str(error))
    if unset:
        return required(unset[1])
    if isinstance(error, MissingMandatoryValue):
        return required(error.full_key or "a setting")
    if isinstance(error, (InterpolationResolutionError, GrammarParseError, ValidationError)):
        return f"{error.full_key}: {first_line(error)}" if error.full_key else first_line(error)
    if isinstance(error, ConfigAttributeError) and error.full_key in REQUIRED:
        return f"{error.full_key}: choose one with {error.full_key}=..."
    # A key that is not there, asked for by code: a bug.
    return None


def paths(node: Any, prefix: str = "") -> Iterator[str]:
    """Dotted path of everything in nested dictionaries."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from paths(value, f"{prefix}{key}.")
