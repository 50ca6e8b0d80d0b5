"""What a sweep that is resumed may do: its directory may have come from anywhere.

Its plan and its copies of config files say what is trained. Where that is written, what is sent and which
commands a cluster runs is the user's to say, by their own files and on the command line.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gatewise.config.origins import check_parts_of_sweep, check_servers
from gatewise.config.places import check_places
from gatewise.launch.own_code import refuse_imports_from
from gatewise.runs.around import run_around
from gatewise.runs.inside import is_inside
from gatewise.runs.references import CONSENT, consented, leaves, names_in
from gatewise.settings import first_line
from gatewise.settings.syntax import module_path

_RUN_BY_HYDRA = ("hydra.callbacks", "hydra.job_logging", "hydra.hydra_logging", "hydra.job.env_set")
"""Settings of Hydra's whose classes it makes, or that say what a process loads."""
_LAUNCHER = "hydra.launcher"
_OF_LAUNCHERS = ("_target_", "name", "partition", "account", "qos", "constraint")
"""Settings of a launcher that may be a word; others hold commands, folders and addresses."""


@dataclass(frozen=True)
class ResumedSweep:
    """The sweep in ``folder``, resumed by a command line with the overrides ``given``.

    ``own`` is what the user's own files and that command line compose, with the section ``hydra``.
    """

    folder: Path
    given: tuple[str, ...]
    own: DictConfig

    @property
    def _plan(self) -> Path:
        return self.folder / "sweep.yaml"

    def check(self, config: DictConfig) -> None:
        """Raise ValueError where the config that carries out the sweep would run or write something else.

        It is composed from the sweep's own files. By settings of its section ``hydra`` code is run as well.
        From now on nothing that lies in the sweep's folder is imported.
        """
        refuse_imports_from(self.folder)
        self._check(config, _resolved(config, whole=False))

    def check_training(self, config: DictConfig) -> None:
        """Raise ValueError where one of its trainings, as composed, would run, write or send else."""
        self._check(config, _resolved(config, whole=True))

    def _check(self, config: DictConfig, resolved: DictConfig) -> None:
        """``resolved`` is the config as plain values: resolvers make parts of what is written as text."""
        self._check_what_runs(config, resolved)
        if config.get("resume") is not None:
            raise ValueError(
                f"{self._plan}: resume={config.resume}: a training of a sweep goes on with its own run "
                f"alone; the file was edited: remove that"
            )
        check_servers(resolved, self.given, self._plan, self.own)
        job = OmegaConf.select(config, "sweep.job")
        run = self.folder if job is None else Path(str(job.run))
        check_places(run, resolved, self._keys(), self.own, self._plan)

    def _check_what_runs(self, config: DictConfig, resolved: DictConfig) -> None:
        for key in _RUN_BY_HYDRA:
            value, users = OmegaConf.select(config, key), OmegaConf.select(self.own, key)
            if value and value != users:
                raise self._not_its_own(key, value, "may run code")
        self._check_launcher(config)
        self._check_environment(config)
        check_parts_of_sweep(config, self._plan)
        check_parts_of_sweep(resolved, self._plan)
        written = {"paths.runs_dir": "runs", "paths.cache_dir": "prepared texts", "data.cache_dir": "they"}
        for key, what in written.items():
            place = OmegaConf.select(resolved, key)
            users = OmegaConf.select(self.own, f"paths.{key.partition('.')[2]}")
            if place not in (None, users) and not is_inside(Path(str(place)), self.folder):
                raise self._not_its_own(key, place, f"{what} would be written there")

    def _check_launcher(self, config: DictConfig) -> None:
        """The sweep may choose a launcher and what it asks a cluster for: no command, folder or address."""
        launcher = OmegaConf.select(config, _LAUNCHER)
        if launcher is None or str(launcher.get("_target_")).endswith(".BasicLauncher"):
            return
        values = OmegaConf.to_container(launcher, resolve=True)
        for key, value in leaves(values):
            is_word = isinstance(value, str) and re.fullmatch(r"[\w.-]*", value) and key in _OF_LAUNCHERS
            is_plain = value is None or isinstance(value, (bool, int, float)) or is_word
            if is_plain and "[" not in key:
                continue
            place = f"{_LAUNCHER}.{key}"
            if value in ([], {}, "auto") or value == OmegaConf.select(self.own, place):
                continue
            if key == "submitit_folder" and self._is_users_folder(str(value)):
                continue
            raise self._not_its_own(place, value, "may run something, or write or connect elsewhere")

    def _is_users_folder(self, place: str) -> bool:
        sweeps_dir = Path(str(OmegaConf.select(self.own, "paths.sweeps_dir")))
        # Not in the sweep's: submitit unpickles what it finds there.
        return is_inside(Path(place), sweeps_dir) and not is_inside(Path(place), self.folder)

    def _check_environment(self, config: DictConfig) -> None:
        """What the user's secrets hold is read where their own config names them, or they allow it."""
        asked = names_in(config)
        written = " ".join(self.given)
        allowed = consented() | set(names_in(self.own))
        for name, key in asked.items():
            if name not in allowed and not re.search(rf"oc\.env:\s*{name}\b", written):
                raise ValueError(
                    f"{self._plan}: {key} reads the environment variable {name}, and a sweep's directory may "
                    f"be a stranger's: set {CONSENT}={name} to have it read"
                )

    def _keys(self) -> list[str]:
        return [text.lstrip("+").partition("=")[0] for text in self.given]

    def _not_its_own(self, key: str, value: Any, why: str) -> ValueError:
        shown = OmegaConf.to_container(value) if isinstance(value, (DictConfig, ListConfig)) else value
        return ValueError(
            f"{self.folder}: {key}={shown!s}: {why}, and a sweep's directory may be a stranger's: give it "
            f"again on the command line"
        )


def _resolved(config: DictConfig, whole: bool) -> DictConfig:
    """The plain values of a config, without sections that refer to what is not there, which nothing takes.

    Of a ``whole`` config that holds for those below ``hydra`` alone; ValueError for another section.
    """
    values: dict[str, Any] = {"hydra": {}}
    for name in map(str, config):
        if name == "hydra":
            for key in map(str, config.hydra):
                with contextlib.suppress(OmegaConfBaseException):
                    values[name][key] = _plain(config.hydra, key)
            continue
        try:
            values[name] = _plain(config, name)
        except OmegaConfBaseException as error:
            if whole:
                raise ValueError(f"{name}: {first_line(error)}") from None
    return OmegaConf.create(values)


def _plain(config: DictConfig, key: str) -> Any:
    child = None if OmegaConf.is_missing(config, key) else config[key]
    return OmegaConf.to_container(child, resolve=True) if OmegaConf.is_config(child) else child


def check_packages(overrides: Sequence[str], folder: Path) -> None:
    """Raise ValueError where configs would be read from what is no installed package: it is imported."""
    for text in overrides:
        for name in re.findall(r"pkg://([^,'\"\]\s]*)", text):
            path = module_path(name)
            is_package = path is not None and path.name == "__init__.py" and run_around(path) is None
            if not is_package or name.partition(".")[0] in sys.stdlib_module_names:
                raise ValueError(
                    f"{folder}: {text}: pkg://{name} is no package of configs: give it on the command line"
                )
