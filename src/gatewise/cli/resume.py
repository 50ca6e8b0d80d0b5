"""What may change when a training is taken up again."""

from __future__ import annotations

import logging

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from gatewise.runs.files import write_text
from gatewise.runs.run import Run

_log = logging.getLogger(__name__)

CHANGEABLE = ("trainer", "callbacks", "logger", "wandb", "threads", "test")
"""First words of the settings that a resumed training may change: how it runs, not what it is."""
IGNORED = ("resume", "sweep", "hydra", "paths")


def with_overrides(run: Run, overrides: list[str]) -> bool:
    """Put the settings given with ``resume=`` into the run's config.

    Those it was started with may be repeated. Returns whether any differs from what it was.

    Raises ValueError for one that would make it another training (``model=gru``, ``optimizer.lr=1``).
    """
    config, before = run.config(), run.config()
    choices, repeated = run.choices(), run.overrides()
    for text, override in zip(overrides, OverridesParser.create().parse_overrides(overrides), strict=True):
        key = override.key_or_group
        first = key.split(".")[0]
        if text in repeated or first in IGNORED:
            continue
        if override.is_delete() or override.is_sweep_override():
            raise ValueError(f"{text}: a resumed run takes plain settings, like trainer.max_epochs=50")
        was = choices[key] if key in choices else OmegaConf.select(config, key)
        if override.value() == was:
            continue
        if key in choices or first not in CHANGEABLE:
            raise ValueError(
                f"{text}: the run was started with {key}={was}, and only settings of {', '.join(CHANGEABLE)} "
                f"may change when it is resumed; leave {key} out, or start a new run"
            )
        OmegaConf.update(config, key, override.value(), force_add=override.is_add())
    planned, epochs = OmegaConf.select(config, "scheduler.T_max"), config.trainer.max_epochs
    if planned is not None and epochs > planned:
        _log.warning(
            "scheduler.T_max stays %s epochs: past them the learning rate of scheduler=cosine rises again",
            planned,
        )
    write_text(run.folder / "config.yaml", OmegaConf.to_yaml(config))
    return bool(config != before)
