"""What W&B is told of a training: what the config gives, else the environment, else Gatewise's own names."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from gatewise.runs.left_behind import own_folder
from gatewise.settings import choice, first_line, words

_log = logging.getLogger(__name__)

MODES = ("offline", "online", "disabled")
PROJECT = "gatewise"
ALONE = "train"
"""The job type of a training outside of a sweep."""
VARIABLES = {
    "mode": "WANDB_MODE",
    "project": "WANDB_PROJECT",
    "entity": "WANDB_ENTITY",
    "name": "WANDB_NAME",
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "tags": "WANDB_TAGS",
    "notes": "WANDB_NOTES",
    "id": "WANDB_RUN_ID",
}
"""The variable of W&B's that says what a setting of ``wandb`` leaves open."""
UNUSED = {
    "WANDB_DIR": "W&B's files are in the run directory",
    "WANDB_RESUME": "a training that is resumed goes on in its own W&B run",
}
SETTLED = (*VARIABLES.values(), *UNUSED, "WANDB_DISABLED")
"""Variables that a training's config stands for."""
STEP = "trainer/global_step"
"""What W&B calls the training step."""
_EARLIER_MODES = {"dryrun": "offline", "run": "online"}
_YES = ("true", "1", "yes", "y", "on", "t")
_LONGEST = 128
"""Characters that W&B allows in a name."""
_SECRET = re.compile("KEY|TOKEN|PASSWORD|SECRET")
"""Variables whose value is not shown."""
_FORBIDDEN = {"project": "/\\#?%:", "id": ":;,#?/'\\"}


@dataclass(frozen=True)
class Trial:
    """The place of a training in its sweep."""

    sweep: str
    """Name of the sweep: its folder among all sweeps."""
    number: int

    @classmethod
    def of(cls, job: DictConfig | None, sweeps_dir: str) -> Trial | None:
        """That of a training which a sweep has told its ``job``; None for a training by itself."""
        if job is None:
            return None
        folder, parent = Path(job.folder), Path(sweeps_dir).resolve()
        inside = folder.is_relative_to(parent) and len(str(folder.relative_to(parent))) <= _LONGEST
        return cls(str(folder.relative_to(parent)) if inside else folder.name, int(job.trial))


def check_environment(environment: Mapping[str, str]) -> None:
    """Raise ValueError, naming the variable, for what W&B would stumble over when it begins."""
    import wandb

    for name, value in environment.items():
        if name.startswith("WANDB_") and name not in SETTLED:
            try:
                wandb.Settings().update_from_env_vars({name: value})
                if name.endswith("_DIR"):
                    Path(value).expanduser()
            except (ValueError, RuntimeError, wandb.Error) as error:
                details: list[dict[str, Any]] = getattr(error, "errors", list)()
                reason = details[0]["msg"] if details else first_line(error)
                shown = name if _SECRET.search(name) else f"{name}={value}"
                raise ValueError(f"{shown}: W&B does not take it ({reason}); correct or unset it") from None


@contextlib.contextmanager
def with_cache() -> Iterator[None]:
    """With a folder that W&B's own process can write its log to: else it writes it to the terminal."""
    from wandb.env import CACHE_DIR

    before = os.environ.get(CACHE_DIR)
    if not _has_cache():
        with contextlib.suppress(OSError):
            os.environ[CACHE_DIR] = str(own_folder())
    try:
        yield
    finally:
        os.environ.pop(CACHE_DIR, None)
        if before is not None:
            os.environ[CACHE_DIR] = before


def _has_cache() -> bool:
    from wandb.env import get_cache_dir

    try:
        logs = get_cache_dir() / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=logs):
            return True
    except (OSError, RuntimeError):
        return False


def settle(
    config: DictConfig,
    choices: Mapping[str, str | None],
    environment: Mapping[str, str],
    trial: Trial | None = None,
) -> None:
    """Fill in what the W&B loggers of a config leave open, in place; warn of variables that are not used.

    Raises ValueError, naming the setting or the variable, for a value that W&B does not take.
    """
    for key, node in _loggers(config):
        _settle(config, node, key, choices, environment, trial)


def warn_of_environment(config: DictConfig, environment: Mapping[str, str]) -> None:
    """Warn of variables that a resumed training does not use: its W&B run stays as it is."""
    for key, node in _loggers(config):
        values = {name: _plain(node.get(name)) for name in VARIABLES}
        variables = _of_this_mode(_variables(environment), values["mode"])
        run_id = variables.pop("id", None)
        if run_id not in (None, values["id"]):
            _warn([f"{VARIABLES['id']}={run_id} is not used: {UNUSED['WANDB_RESUME']}"])
        _warn(_not_used(values, variables, key, "is this run's"))
        _warn(_never_used(values, environment))


def _loggers(config: DictConfig) -> list[tuple[str, DictConfig]]:
    return [
        (f"logger.{name}", node)
        for name, node in (config.get("logger") or {}).items()
        if isinstance(node, DictConfig) and str(node.get("_target_")).endswith(".wandb.make_logger")
    ]


def project(given: Any, environment: Mapping[str, str]) -> str:
    """The project that a setting, or the environment, names."""
    return str(given or _variables(environment).get("project") or PROJECT)


def entity(given: Any, environment: Mapping[str, str]) -> str | None:
    """The user or team that a setting, or the environment, names; None for one's default."""
    value = given or _variables(environment).get("entity")
    return None if value is None else str(value)


def _settle(
    config: DictConfig,
    node: DictConfig,
    key: str,
    choices: Mapping[str, str | None],
    environment: Mapping[str, str],
    trial: Trial | None,
) -> None:
    given = {name: _plain(node.get(name)) for name in VARIABLES}
    given = {name: value for name, value in given.items() if value is not None}
    given = {name: _checked(name, value, f"{_section(key)}.{name}") for name, value in given.items()}
    variables = _variables(environment)
    variables = _of_this_mode(variables, given.get("mode", variables.get("mode")))
    if trial is not None and "id" in variables:
        _warn(
            [f"WANDB_RUN_ID={variables.pop('id')} is not used: each training of a sweep is a run of its own"]
        )
    _warn(_not_used(given, {name: value for name, value in variables.items() if name in given}, key))
    left = {name: value for name, value in variables.items() if name not in given}
    values = {**given, **{name: _checked(name, left[name], VARIABLES[name]) for name in left}}
    _warn(_never_used(values, environment))
    own_tags = [] if trial is None or values.get("tags") == [] else [f"trial {trial.number}"]
    filled = {
        "mode": "offline",
        "project": PROJECT,
        "group": config.name if trial is None else trial.sweep,
        "job_type": ALONE if trial is None else f"trial {trial.number}",
        "name": _readable_name(config, choices, trial),
        **{name: value for name, value in values.items() if name != "tags"},
        "tags": list(dict.fromkeys([*values.get("tags", []), *own_tags])),
    }
    _write(config, node, filled)


def _write(config: DictConfig, node: DictConfig, values: Mapping[str, Any]) -> None:
    section = config.get("wandb")
    for part in (node, section):
        if isinstance(part, DictConfig):
            with open_dict(part):
                part.update(values)


def _plain(value: Any) -> Any:
    return (
        OmegaConf.to_container(value, resolve=True) if isinstance(value, (DictConfig, ListConfig)) else value
    )


def _variables(environment: Mapping[str, str]) -> dict[str, Any]:
    """What the environment says of each setting."""
    values: dict[str, Any] = {
        name: environment[variable] for name, variable in VARIABLES.items() if environment.get(variable)
    }
    if environment.get("WANDB_DISABLED", "").lower() in _YES:
        values["mode"] = "disabled"
    if "mode" in values:
        values["mode"] = _EARLIER_MODES.get(values["mode"], values["mode"])
    if "tags" in values:
        tags = [tag.strip() for tag in values["tags"].split(",")]
        values["tags"] = list(dict.fromkeys(filter(None, tags)))
    return values


def _of_this_mode(variables: dict[str, Any], mode: str | None) -> dict[str, Any]:
    """Without W&B nothing is of interest but whether to use it."""
    return {name: value for name, value in variables.items() if name == "mode" or mode != "disabled"}


def _section(key: str) -> str:
    """Where a user sets what is at ``key``."""
    return "wandb" if key == "logger.wandb" else key


def _checked(name: str, value: Any, place: str) -> Any:
    """The value as W&B takes it."""
    if name == "mode":
        return choice(place, value, MODES)
    if name == "tags":
        return list(words(place, value))
    text = str(value)
    forbidden = next((sign for sign in _FORBIDDEN.get(name, "") if sign in text), None)
    if forbidden is not None:
        raise ValueError(f"{place}={text}: W&B allows no {forbidden} in it; leave it out")
    if not text.strip() or (name == "id" and text != text.strip()):
        raise ValueError(f"{place}={text!r}: give a word, or null")
    if name != "notes" and len(text) > _LONGEST:
        raise ValueError(
            f"{place}={text[:20]}... has {len(text)} characters: W&B takes {_LONGEST}; shorten it"
        )
    return text


def _not_used(
    values: Mapping[str, Any], variables: Mapping[str, Any], key: str, won_because: str = "is given"
) -> Iterator[str]:
    """A line for each variable that says other than the setting, which wins."""
    for name, variable in variables.items():
        if values.get(name) != variable:
            won = "null" if values.get(name) is None else _shown(values[name])
            setting = f"{_section(key)}.{name}={won}"
            yield f"{VARIABLES[name]}={_shown(variable)} is not used: {setting} {won_because}"


def _never_used(values: Mapping[str, Any], environment: Mapping[str, str]) -> Iterator[str]:
    for variable, reason in UNUSED.items():
        if environment.get(variable) and values.get("mode") != "disabled":
            yield f"{variable}={environment[variable]} is not used: {reason}"


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _warn(lines: Iterable[str]) -> None:
    for line in lines:
        _log.warning(line)


def _readable_name(config: DictConfig, choices: Mapping[str, str | None], trial: Trial | None) -> str:
    """Experiment, model and seed; in a sweep the trial too."""
    what = [str(config.name), str(choices.get("model") or ""), f"seed {config.get('seed')}"]
    end = " ".join([*filter(None, what[1:]), *([] if trial is None else [f"trial {trial.number}"])])
    return f"{what[0][: _LONGEST - len(end) - 1]} {end}"
