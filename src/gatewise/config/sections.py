"""What kind of part each section of a training takes, and whether a ``_target_`` is one; nothing imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig

from gatewise.settings import SettingError
from gatewise.settings.declared import is_part
from gatewise.settings.syntax import Definition, find


@dataclass(frozen=True)
class Kind:
    """A kind of part: how it is called, and the classes that it derives from."""

    name: str
    section: str | None = None
    """What a base class of Gatewise's says by its attribute ``section``."""
    bases: tuple[str, ...] = ()
    """Full names of base classes of a library."""

    def has(self, definition: Definition) -> bool | None:
        """Whether a class is of this kind; None where its source alone does not tell."""
        is_readable = True
        for owner in definition.ancestry():
            if f"{owner.module.name}.{owner.name}" in self.bases:
                return True
            section = _section(owner) if owner.module.name.startswith("gatewise.") else None
            if section is not None:
                return bool(section == self.section)
            found = [base for base in owner.bases() if base.name not in _PLAIN]
            named = [
                base for base in getattr(owner.node, "bases", ()) if getattr(base, "id", None) not in _PLAIN
            ]
            is_readable &= len(found) >= len(named)
        return False if is_readable else None


_PLAIN = ("object", "ABC", "Generic", "Protocol")
"""Base classes that make no part of anything."""


def _section(owner: Definition) -> Any:
    for statement in owner.node.body:
        target = getattr(statement, "target", None) or next(iter(getattr(statement, "targets", ())), None)
        if getattr(target, "id", None) == "section":
            return getattr(getattr(statement, "value", None), "value", None)
    return None


CELL = Kind("a cell, such as gatewise.cells.LSTM", "cell")
PROFILER = Kind("a profiler of Lightning's", None, ("pytorch_lightning.profilers.profiler.Profiler",))
CALLBACK = Kind("a callback of Lightning's", None, ("pytorch_lightning.callbacks.callback.Callback",))
LOGGER = Kind("a logger of Lightning's", None, ("pytorch_lightning.loggers.logger.Logger",))
SAMPLER = Kind("a sampler of Optuna's", None, ("optuna.samplers._base.BaseSampler",))
PRUNER = Kind("a pruner of Optuna's", None, ("optuna.pruners._base.BasePruner",))
KINDS = {
    "task": Kind("a Task", "task"),
    "data": Kind("a SequenceDataModule", "data"),
    "model": Kind("a Recurrent, such as gatewise.nn.Recurrent", "model"),
    "optimizer": Kind("an optimizer of torch's", None, ("torch.optim.optimizer.Optimizer",)),
    "scheduler": Kind(
        "a learning-rate scheduler of torch's",
        None,
        ("torch.optim.lr_scheduler.LRScheduler", "torch.optim.lr_scheduler.ReduceLROnPlateau"),
    ),
    "trainer": Kind("pytorch_lightning.Trainer", None, ("pytorch_lightning.trainer.trainer.Trainer",)),
}
"""The kind of part that each section with one part takes."""
ONLY_CLASSES = ("task", "data", "trainer", "callbacks")
"""Sections for which a function that makes the part does not do."""
_KNOWN = {
    "optimizer": ("torch.optim.Adam", "torch.optim.AdamW", "torch.optim.SGD"),
    "scheduler": ("torch.optim.lr_scheduler.ConstantLR",),
    "trainer": ("pytorch_lightning.Trainer",),
    "callbacks": tuple(
        f"pytorch_lightning.callbacks.{name}"
        for name in ("ModelCheckpoint", "EarlyStopping", "LearningRateMonitor", "Timer")
    ),
}
"""What files of ``conf/`` name, so that the source of a library is not read for it."""


def kind_of(key: str) -> Kind:
    """The kind of part that belongs at a key, such as ``model.cell`` or ``callbacks.timer``."""
    others = {"model.cell": CELL, "trainer.profiler": PROFILER}
    if key in others:
        return others[key]
    section = key.partition(".")[0]
    return {**KINDS, "callbacks": CALLBACK, "logger": LOGGER}[section]


def parts_of(config: DictConfig) -> Iterator[tuple[str, Kind, Any]]:
    """(key, the kind that belongs there, the node) of every part of a training's config.

    Raises SettingError where callbacks or loggers are no settings by name.
    """
    for key, kind in KINDS.items():
        if key != "scheduler" or config.get(key) is not None:
            yield key, kind, getattr(config, key)
    if _takes_a_cell(config.get("model")):
        yield "model.cell", CELL, config.model.get("cell")
    trainer = config.get("trainer")
    if isinstance(trainer, DictConfig) and is_part(trainer.get("profiler")):
        yield "trainer.profiler", PROFILER, trainer.profiler
    for section, kind in (("callbacks", CALLBACK), ("logger", LOGGER)):
        nodes = config.get(section)
        if nodes is None:
            continue
        if not isinstance(nodes, DictConfig):
            shown = repr(list(nodes) if isinstance(nodes, ListConfig) else nodes)
            raise SettingError(
                f"{section}={shown}: must hold parts by name, as in {section}.mine._target_=...; ~"
                f"{section} leaves all of them out"
            )
        for name, node in nodes.items():
            if node is not None:
                yield f"{section}.{name!s}", kind, node


def _takes_a_cell(model: Any) -> bool:
    if not is_part(model) or "cell" not in model:
        return False
    definition = find(str(model["_target_"]))
    return definition is not None and KINDS["model"].has(definition) is True


def check_kind(key: str, kind: Kind, target: str) -> None:
    """Raise SettingError where the ``_target_`` at ``key`` is known to be no part of this kind."""
    if target in _KNOWN.get(key.partition(".")[0], ()):
        return
    package, _, name = target.partition(".")
    if not name:
        raise SettingError(f"{key}._target_={target}: must be module.Class, {kind.name}")
    if package in sys.stdlib_module_names:
        raise SettingError(f"{key}._target_={target}: is not {kind.name}")
    definition = find(target)
    if definition is None:
        return
    is_class = hasattr(definition.node, "bases")
    if not is_class and key.partition(".")[0] not in ONLY_CLASSES:
        return  # what it makes is looked at once it is made
    if not is_class or kind.has(definition) is False:
        raise SettingError(f"{key}._target_={target}: is not {kind.name}")
