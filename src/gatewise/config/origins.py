"""Which code a stored config may have run: a run directory may have come from anywhere, and brings none."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gatewise.launch.own_code import refuse_imports_from
from gatewise.runs.around import run_around
from gatewise.runs.references import leaves
from gatewise.settings.syntax import find, module_path

_OF_LIBRARIES = re.compile(
    r"gatewise\.(cells|nn|tasks|data)\.(\w+\.)*[A-Z]\w*"
    r"|gatewise\.training\.(display\.(EpochLines|LearningCurves|ResultTable)|model_table\.ModelTable"
    r"|inspect_gates\.InspectGates|progress\.EpochBar|mid_epoch\.TimedCheckpoint"
    r"|tensorboard\.RunTensorBoard|wandb\.make_logger"
    r"|averaging\.(ExponentialAverage|TriggeredAverage)|schedules\.DecayAfter)"
    r"|torch\.optim\.(\w+\.)*[A-Z]\w*"
    r"|pytorch_lightning\.((trainer|callbacks|loggers|profilers)\.(\w+\.)*[A-Z]\w*|Trainer)"
)
"""Parts of Gatewise, torch and Lightning."""
_CALLS_WHAT_IT_IS_GIVEN = "LambdaCallback"
"""A part of Lightning's that calls any other part with the trainer and the model."""
_OF_SWEEPS = re.compile(
    r"optuna\.(samplers|pruners)\.[A-Z]\w*"
    r"|hydra\._internal\.core_plugins\.\w+\.[A-Z]\w*|hydra_plugins\.(\w+\.)+[A-Z]\w*"
)
"""What a sweep is made of besides."""
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
BASES = """
gatewise.cells.cell.Cell gatewise.nn.recurrent.Recurrent gatewise.nn.stacked.Stacked
gatewise.tasks.task.Task gatewise.data.module.SequenceDataModule
gatewise.data.sound.augmentation.Augmentation
torch.optim.optimizer.Optimizer torch.optim.lr_scheduler.LRScheduler
torch.optim.lr_scheduler.ReduceLROnPlateau
pytorch_lightning.trainer.trainer.Trainer pytorch_lightning.callbacks.callback.Callback
pytorch_lightning.loggers.logger.Logger pytorch_lightning.profilers.profiler.Profiler
"""
"""What every part of an experiment derives from, named by the modules that define it."""


_KEYS = {
    "trainer": re.compile("trainer"),
    "profilers": re.compile(r"trainer\.profiler"),
    "callbacks": re.compile(r"callbacks\.[^.\[]+"),
    "loggers": re.compile(r"logger\.[^.\[]+"),
}
"""Where a part of each of Lightning's packages belongs: elsewhere it would be made before it is looked at."""
_ANYWHERE = re.compile(".*", re.DOTALL)
_LOGGERS_OF_FILES = (".CSVLogger", ".TensorBoardLogger")
"""Loggers of Lightning's that write files and send nothing."""


def check_origins(config: DictConfig, folder: Path) -> None:
    """Raise ValueError where a ``_target_`` of the config stored in ``folder`` is no part that may be run.

    It is decided without importing anything, as importing a module runs it. A part is

    - a class of Gatewise's, torch's or Lightning's by a list (``_OF_LIBRARIES``);
    - any other class whose source, read and not run, derives from a class of ``BASES``: one of an installed
      package, or of the user's own modules (in the working folder, on ``PYTHONPATH``, installed as editable).
      Where a base class of a user's own is made in a way that the source does not tell, it is believed.

    Whatever lies in a run directory, or is a link into one, is no part; and from now on nothing that lies in
    ``folder`` is imported in this process, by whichever way.
    """
    refuse_imports_from(folder)
    _check(config, folder / "config.yaml")


def check_servers(config: DictConfig, overrides: Sequence[str], place: Path, own: DictConfig) -> None:
    """Raise ValueError where a stored config, written in the file ``place``, sends something somewhere.

    That is a logger of a library's: the user's keys go there with what is logged, and it writes where it
    likes; and Lightning's registry of models. The user names it again among ``overrides``, or the config that
    is the user's ``own`` has it too.
    """
    given = {text.lstrip("+").partition("=")[0] for text in overrides}
    registry = OmegaConf.select(config, "trainer.model_registry")
    if registry is not None and not {"trainer", "trainer.model_registry"} & given:
        raise ValueError(
            f"{place}: trainer.model_registry={registry}: a run may not choose where its weights are sent: "
            f"give trainer.model_registry as well if you want that"
        )
    for key, node in nodes(config):
        target = str(node["_target_"])
        if target.startswith("gatewise.") or _of_lightning(target) != "loggers":
            continue
        is_given = key in given or f"{key}._target_" in given
        is_own = is_given or OmegaConf.select(own, f"{key}._target_") == target
        of_files = target.startswith("pytorch_lightning.") and target.endswith(_LOGGERS_OF_FILES)
        if not of_files and not is_own:
            raise ValueError(
                f"{place}: {key}._target_={target}: a run may not choose to send what is "
                f"logged: give {key}._target_={target} as well if you want that, or {key}=null"
            )
        for setting, value in leaves(node, key):
            if isinstance(value, str) and "://" in value and setting not in given:
                raise ValueError(
                    f"{place}: {setting}={value}: a run may not choose where your keys are "
                    f"sent: give this setting on the command line"
                )


def _of_lightning(target: str) -> str | None:
    """The package of Lightning's that a library's part belongs to; None for others, and for a user's own."""
    if target.startswith("pytorch_lightning."):
        return target.split(".")[1].lower()
    if target.startswith(("torch.", "gatewise.")):
        return None
    definition = find(target)
    if definition is None or _is_own(definition.module.path):
        return None
    names = (f"{owner.module.name}.{owner.name}" for owner in definition.ancestry())
    return next((name.split(".")[1] for name in names if name in BASES.split() and "lightning" in name), None)


def check_parts_of_sweep(config: DictConfig, place: Path) -> None:
    """As :func:`check_origins`, for what a sweep is carried out with; ``place`` is where that is written."""
    _check(config, place, of_sweep=True)


def _check(config: DictConfig, place: Path, of_sweep: bool = False) -> None:
    for key, node in nodes(config):
        target = node["_target_"]
        if of_sweep and isinstance(target, str) and _OF_SWEEPS.fullmatch(target):
            continue
        problem = _problem(target) if isinstance(target, str) else ""
        if problem is None and "_args_" in node and _OF_LIBRARIES.fullmatch(target):
            problem = "takes its settings by their names, and no _args_"
        if problem is None and not _KEYS.get(_of_lightning(target) or "", _ANYWHERE).fullmatch(key):
            problem = "belongs elsewhere: to trainer, trainer.profiler, callbacks.NAME or logger.NAME"
        if problem is not None:
            raise ValueError(not_a_part(key, str(target), place, problem))


def not_a_part(key: str, target: str, place: Path, problem: str = "") -> str:
    """The line about a ``_target_`` that an experiment is not made of."""
    problem = problem or (
        "not a cell, task, DataModule, optimizer, callback or logger; a run directory may name nothing else"
    )
    return f"{place}: {key}._target_={target}: {problem}"


def nodes(config: DictConfig) -> Iterator[tuple[str, dict[Any, Any]]]:
    """(key, node) of every node of a config that has a ``_target_``."""
    pending: list[tuple[str, Any]] = [("", OmegaConf.to_container(config))]
    while pending:
        key, node = pending.pop()
        if isinstance(node, dict):
            if "_target_" in node:
                yield key, node
            pending += [(f"{key}.{name}".lstrip("."), child) for name, child in node.items()]
        elif isinstance(node, list):
            pending += [(f"{key}[{index}]", child) for index, child in enumerate(node)]


def _problem(target: str) -> str | None:
    """Why a ``_target_`` may not be run; an empty text for what is plainly no part, None for a part."""
    package = target.partition(".")[0]
    module, _, name = target.rpartition(".")
    if not _NAME.fullmatch(target) or ".__" in f".{target}" or package in sys.stdlib_module_names:
        return ""
    if name == _CALLS_WHAT_IT_IS_GIVEN:
        return ""
    if package == "gatewise" and not _OF_LIBRARIES.fullmatch(target):
        return ""
    if _OF_LIBRARIES.fullmatch(target):
        # Its module is one of the package's files, and not what one of them has imported.
        return None if module_path(module) is not None else ""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError) as error:
        return str(error)
    if spec is None:
        return f"No module named {package!r}; looked in {searched()}: {_WAY}"
    path = module_path(module)
    if path is None:
        places = spec.submodule_search_locations or ()
        if any(Path(place, *module.split(".")[1:]).exists() for place in places):
            return ""
        return f"No module named {module!r}; looked in {searched()}: {_WAY}"
    run = run_around(path)
    if run is not None:
        return _in_a_run(path, run)
    definition = find(target)
    if definition is None:
        return f"{module} defines no class {name}" if path.suffix == ".py" else ""
    owners = list(definition.ancestry())
    for owner in owners:
        if (run := run_around(owner.module.path)) is not None:
            return _in_a_run(owner.module.path, run)
    if any(f"{owner.module.name}.{owner.name}" in BASES.split() for owner in owners):
        return None
    return None if definition.has_unreadable_base() and _is_own(definition.module.path) else ""


def _in_a_run(path: Path, run: str) -> str:
    return f"{path} lies in the run directory {run}, and nothing of a run directory is run"


_WAY = "give the command in the folder that holds it and conf/, or add it to PYTHONPATH"


def _is_own(path: Path) -> bool:
    """Whether a file is the user's own, and no part of Python or of an installed package."""
    library = find_spec("os")
    of_python = None if library is None or library.origin is None else Path(library.origin).parent
    return "-packages" not in str(path) and (of_python is None or not path.is_relative_to(of_python))


def searched() -> str:
    """Where modules of the user's own are looked for."""
    own = [place or str(Path.cwd()) for place in sys.path if "-packages" not in place]
    own = [
        place for place in own if not place.startswith((sys.prefix, sys.base_prefix)) and Path(place).is_dir()
    ]
    return ", ".join(["the installed packages", *dict.fromkeys(own)])
