"""Which metrics a training will have measured, known before it begins; and what monitors others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig

from gatewise.config.build import target_of
from gatewise.config.sections import parts_of
from gatewise.settings import SettingError, closest, suggestion
from gatewise.settings.declared import declared, is_part

SPLITS = ("train", "val")
_OWN = ("gatewise.", "pytorch_lightning.")
_OF_A_RUN = ("epoch", "epochs", "step", "seed", "parameters", "training_seconds", "wall_seconds", "processes")
"""What a run's row of metrics and its summary have beside the task's metrics."""


def check_monitors(config: DictConfig) -> None:
    """Raise SettingError for a monitor that the config's task is known not to measure."""
    names = _declared(config)
    if names is not None:
        check_monitored(config, names)


def check_objectives(config: DictConfig, objectives: Sequence[str]) -> None:
    """Raise SettingError for an objective of a sweep that the config's task is known not to measure."""
    names = _declared(config)
    if names is None or not _only_own_callbacks(config):
        return
    known = [*_measured(names, config), *_OF_A_RUN]
    for name in objectives:
        if name not in known and not name.startswith("lr-"):
            raise SettingError(_unmeasured("sweep.objectives", name, known))


def check_monitored(config: DictConfig, names: Sequence[str]) -> None:
    """Raise SettingError for a monitor that is no metric where the task measures ``names`` and the loss.

    A callback of the user's own may log anything; where there is one, nothing is sure.
    """
    if not _only_own_callbacks(config):
        return
    known = _measured(names, config)
    for key, monitor in _monitors(config):
        if monitor in known or str(monitor).startswith("lr-") or monitor in ("epoch", "step"):
            continue
        of_task = config.task.get("monitor")
        if key != "task.monitor" and monitor == of_task and str(monitor).partition("/")[0] not in SPLITS:
            key = "task.monitor"
        if str(monitor).startswith("val/") and config.trainer.get("limit_val_batches") == 0:
            raise SettingError(
                f"trainer.limit_val_batches=0: nothing is validated, and {key}={monitor} needs it: give "
                f"batches to validate on, or leave out what monitors it"
            )
        raise SettingError(_unmeasured(key, monitor, known))


def _declared(config: DictConfig) -> tuple[str, ...] | None:
    """The metrics that Gatewise's own task names; None for a task of the user's, which is asked once made."""
    target = str(config.task.get("_target_"))
    task = declared(target) if target.startswith("gatewise.") else None
    names = None if task is None else task.attribute("measured")
    return names or None


def _measured(names: Sequence[str], config: DictConfig) -> list[str]:
    splits = SPLITS[:1] if config.trainer.get("limit_val_batches") == 0 else SPLITS
    return [f"{split}/{name}" for split in splits for name in ("loss", *names)]


def _only_own_callbacks(config: DictConfig) -> bool:
    callbacks = [node for _, node in (config.get("callbacks") or {}).items() if is_part(node)]
    return all(target_of(node).startswith(_OWN) for node in callbacks)


def _monitors(config: DictConfig) -> Iterator[tuple[str, Any]]:
    """(key, monitor) of the task, where an epoch's validation is what chooses, and of every callback."""
    if config.trainer.get("limit_val_batches") != 0 and "monitor" in config.task:
        yield "task.monitor", config.task.monitor
    scheduler = config.get("scheduler")
    if is_part(scheduler) and target_of(scheduler).endswith("ReduceLROnPlateau"):
        yield "task.monitor", config.task.get("monitor", "val/loss")
    for key, _, node in parts_of(config):
        if key.startswith("callbacks.") and is_part(node) and node.get("monitor") is not None:
            yield f"{key}.monitor", node.monitor


def validation_monitored(config: DictConfig) -> str | None:
    """``callbacks.NAME.monitor=val/...`` of the first callback that a validation's metric is for."""
    for key, monitor in _monitors(config):
        if key.startswith("callbacks.") and str(monitor).startswith("val/"):
            return f"{key}={monitor}"
    return None


def _unmeasured(key: str, name: Any, known: Sequence[str]) -> str:
    near = suggestion(closest(str(name), known)) if len(str(name)) < 100 else ""
    return f"{key}={str(name)[:100] or repr('')}: is not measured{near or '.'} There are {', '.join(known)}"
