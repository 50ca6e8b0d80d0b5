"""What may change when a training is resumed."""

from __future__ import annotations

import logging
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gatewise.runs.run import Run
from gatewise.settings import whole_number

_log = logging.getLogger(__name__)

SECTIONS = ("trainer", "callbacks", "logger", "wandb")
CHANGEABLE = (*SECTIONS, "threads", "test")
"""First words of the settings that a resumed training may change: how it runs, not what it is."""
IGNORED = ("resume", "sweep", "hydra", "paths")


def resumed_config(run: Run, overrides: list[str]) -> DictConfig:
    """The run's config with the settings given with ``resume=``; nothing is written.

    Those that it has already may be repeated.

    Raises ValueError for one that would make it another training (``model=gru``, ``optimizer.lr=1``).
    """
    config, before = run.config(), run.config()
    choices, repeated = run.choices(), run.overrides()
    for text, override in zip(overrides, OverridesParser.create().parse_overrides(overrides), strict=True):
        key = override.key_or_group
        first = key.split(".")[0]
        if first in IGNORED:
            continue
        fixed = key in choices or first not in CHANGEABLE
        # What cannot change, or is gone, is still as it was asked for.
        if text in repeated and (fixed or override.is_delete()):
            continue
        if override.is_sweep_override() or (override.is_delete() and _has(config, key)):
            raise ValueError(f"{text}: a resumed run takes plain settings, like trainer.max_epochs=50")
        if override.is_delete():
            continue
        value = override.value()
        was = choices[key] if key in choices else OmegaConf.select(config, key)
        if value == was and (_has(config, key) or key in choices):
            _tell_logger(config, key)
            continue
        if fixed or (key in SECTIONS and not isinstance(value, dict)):
            raise ValueError(
                f"{text}: the run was started with {key}={was}, and only settings of {', '.join(CHANGEABLE)} "
                f"may change when it is resumed; leave {key} out, or start a new run"
            )
        try:
            OmegaConf.update(config, key, value, force_add=override.is_add())
        except OmegaConfBaseException:
            raise ValueError(
                f"{text}: the run was started without {key}; leave it out, or start a new run"
            ) from None
        _tell_logger(config, key)
    _check_epochs(config, before)
    return config


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
        whole_number("trainer.max_epochs", epochs, least=-1)
