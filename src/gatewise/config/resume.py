"""What may change when a training is resumed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from gatewise.config.explain import KINDS, MAY_BE_WORDS, paths
from gatewise.config.places import check_places, take_own_cache
from gatewise.runs.metrics import read_metrics
from gatewise.runs.reading import is_there
from gatewise.runs.references import has_references
from gatewise.runs.run import Run
from gatewise.settings import choice, closest, first_line, suggestion, whole_number
from gatewise.settings.libraries import GIVEN_TO_TRAINER

_log = logging.getLogger(__name__)

SECTIONS = ("trainer", "callbacks", "logger", "wandb")
CHANGEABLE = (*SECTIONS, "threads", "test")
"""First words of the settings that a resumed training may change: how it runs, not what it is."""
EPOCHS = "trainer.max_epochs"
SOURCES = ("last", "best")
IGNORED = ("resume", "resume_from", "sweep", "hydra", "paths")


def resumed_config(run: Run, overrides: list[str], own: DictConfig | None = None) -> DictConfig:
    """The run's config with the settings given with ``resume=``; nothing is written.

    Those that it has already may be repeated. ``own`` is what the user's command composes by itself.

    Raises ValueError for one that would make it another training (``model=gru``, ``optimizer.lr=1``), or
    where the run's own would write outside of its directory.
    """
    config, before = as_resumed(run.config()), run.config()
    take_own_cache(config, own)
    choices, repeated, ignored = run.choices(), run.overrides(), _given_by_gatewise(before)
    given = []
    for text, override in zip(overrides, OverridesParser.create().parse_overrides(overrides), strict=True):
        key = override.key_or_group
        first = key.split(".")[0]
        if first in IGNORED:
            continue
        given.append(key)
        if key in ignored and not override.is_delete() and override.value() == OmegaConf.select(before, key):
            continue
        was = choices[key] if key in choices else OmegaConf.select(config, key)
        # What came from the environment is not in the run, and has to be given again.
        is_open = has_references(_plain(was))
        fixed = (key in choices or first not in CHANGEABLE) and not is_open
        # What cannot change, or is gone, is still as it was asked for.
        if text in repeated and (fixed or override.is_delete()) and not is_open:
            continue
        if override.is_sweep_override() or (override.is_delete() and _has(config, key)):
            raise ValueError(f"{text}: a resumed run takes plain settings, like trainer.max_epochs=50")
        if override.is_delete():
            if near := closest(key, paths(OmegaConf.to_container(before))):
                raise ValueError(f"{text}: the run has no {key}{suggestion(near)}")
            continue
        value = override.value()
        if value == was and (_has(config, key) or key in choices):
            _tell_logger(config, key)
            continue
        if not override.is_add() and not _has(before, key) and key not in choices:
            raise ValueError(f"{text}: {_unknown(key, before)}")
        if fixed or (key in SECTIONS and not isinstance(value, dict)):
            raise ValueError(
                f"{text}: the run was started with {key}={_plain(was)}, and only settings of "
                f"{', '.join(CHANGEABLE)} may change when it is resumed; leave {key} out, or start a new run"
            )
        _check_kind(key, value, was)
        try:
            OmegaConf.update(config, key, value, force_add=override.is_add() or key in ignored)
        except OmegaConfBaseException as error:
            raise ValueError(f"{text}: {first_line(error)}; leave it out, or start a new run") from None
        _tell_logger(config, key)
    _check_epochs(config, before)
    check_places(run.folder, config, given, own)
    return config


def as_resumed(stored: DictConfig) -> DictConfig:
    """A run's config without the settings of ``trainer`` that Gatewise gives itself.

    A user's were taken, and ignored, before they were refused.
    """
    config = stored.copy()
    with open_dict(config):
        for key in _given_by_gatewise(stored):
            del config.trainer[key.removeprefix("trainer.")]
    return config


def warn_of_given(stored: DictConfig) -> None:
    """Warn that settings of a run are not used, now as before."""
    if ignored := _given_by_gatewise(stored):
        _log.warning("%s: not used, now as before: Gatewise gives its own", ", ".join(ignored))


def _given_by_gatewise(stored: DictConfig) -> list[str]:
    return [f"trainer.{name}" for name in GIVEN_TO_TRAINER if name in stored.trainer]


def check_resumable(run: Run, config: DictConfig, source: object) -> None:
    """Raise ValueError where a resume with this config would lose epochs, or has nothing to start from.

    ``source`` is ``last`` or ``best``, the checkpoint that it starts from.
    """
    choice("resume_from", source, SOURCES)
    rows = read_metrics(run.metrics_file)
    if source == "best":
        run.checkpoint("best")
    elif not is_there(run.checkpoints / "last.ckpt"):
        others = any(run.checkpoints.glob("**/*.ckpt"))
        # A training that was killed as its first epoch ended has a row, and no checkpoint yet.
        if others or len(rows) > 1 or (rows and run.state() in ("done", "pruned")):
            way = "resume_from=best goes on from the best checkpoint, without the epochs after it"
            way = way if others else "start a new run"
            raise ValueError(
                f"resume={run.folder}: {run.checkpoints.name}/last.ckpt is missing, and training from the "
                f"start would drop the {len(rows)} epochs of metrics.csv: {way}"
            )
    most, done = config.trainer.get("max_epochs"), int(rows[-1]["epoch"]) if rows else 0
    if source == "last" and isinstance(most, int) and -1 < most < done:
        raise ValueError(f"{EPOCHS}={most}: the run has {done} epochs already; give more to go on with it")


def resumes(overrides: Sequence[str]) -> bool:
    """Whether a command line of ``train`` goes on with one run, and so is about the settings of that run."""
    given = {text.lstrip("+").partition("=")[0]: text.partition("=")[2] for text in overrides}
    of_a_sweep = any(key.partition(".")[0] == "sweep" for key in given)
    return given.get("resume", "null") not in ("null", "") and not of_a_sweep


def is_ignored(text: str) -> bool:
    """Whether an override is about no setting of the run that is resumed."""
    return text.lstrip("+~").partition("=")[0].split(".")[0].split("/")[0] in IGNORED


def _unknown(key: str, config: DictConfig) -> str:
    """The line about a setting that the run has not, with the one that may be meant."""
    settings = list(paths(OmegaConf.to_container(config)))
    parent = key.rpartition(".")[0]
    siblings = [path for path in settings if path.rpartition(".")[0] == parent and "_target_" not in path]
    hint = suggestion(closest(key, settings))
    if not hint and parent and siblings:
        hint = f"; {parent} has {', '.join(path.rpartition('.')[2] for path in siblings)}"
    added = f" (+{key}=... would add it)" if parent and key.split(".")[0] in SECTIONS else ""
    return f"the run was started without {key}{hint}{added}"


def _check_kind(key: str, value: Any, was: Any) -> None:
    """Raise ValueError for words in place of a number or flag."""
    if isinstance(value, str) and type(was) in KINDS and key not in (*MAY_BE_WORDS, EPOCHS):
        raise ValueError(f"{key} must be {KINDS[type(was)]}, got {value!r}")


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _has(config: DictConfig, key: str) -> bool:
    nothing = object()
    return OmegaConf.select(config, key, default=nothing) is not nothing


def _tell_logger(config: DictConfig, key: str) -> None:
    """Where ``wandb.X`` was set, set ``logger.wandb.X``: in a stored config it refers to it no more."""
    section, _, name = key.partition(".")
    logger: Any = OmegaConf.select(config, "logger.wandb")
    if section != "wandb" or not isinstance(logger, DictConfig):
        return
    for setting in [name] if name else list(config.wandb):
        if setting in logger:
            logger[setting] = config.wandb[setting]


def warn_of_schedule(config: DictConfig) -> None:
    """Warn where a resumed training goes on after its schedule has ended."""
    epochs, planned = config.trainer.get("max_epochs"), OmegaConf.select(config, "scheduler.T_max")
    if isinstance(planned, int) and epochs is not None and (epochs > planned or epochs == -1):
        _log.warning(
            "scheduler.T_max stays %s epochs: past them the learning rate of scheduler=cosine rises again",
            planned,
        )


def _check_epochs(config: DictConfig, before: DictConfig) -> None:
    """Raise ValueError for a ``trainer.max_epochs`` that is no number."""
    epochs = config.trainer.get("max_epochs")
    if epochs is not None or before.trainer.get("max_epochs") is not None:
        whole_number(EPOCHS, epochs, least=-1)
