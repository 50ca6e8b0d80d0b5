"""What can be wrong with a training, known before the seconds of importing torch and Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from gatewise.config.build import check_node, given, target_of
from gatewise.config.data_files import check_files, get_known_files
from gatewise.config.monitors import check_monitors
from gatewise.config.origins import check_origins, check_servers
from gatewise.config.resume import check_resumable, resumed_config
from gatewise.config.sections import check_kind, parts_of
from gatewise.config.sizes import check_sizes
from gatewise.launch.devices import most_threads, usable_cores
from gatewise.launch.ranks import number_of_processes
from gatewise.runs.config_files import check_storable
from gatewise.runs.folders import check_name, check_parent
from gatewise.runs.inside import check_inside
from gatewise.runs.opened import check_history_of, check_settings_of
from gatewise.runs.references import as_given, check_filled, note
from gatewise.runs.run import Run
from gatewise.settings import SettingError, closest, flag, optional, suggestion, whole_number
from gatewise.settings.checks import seed
from gatewise.settings.declared import declared, is_part, located
from gatewise.settings.libraries import SHORT_PRECISIONS
from gatewise.settings.rules import apply_rules
from gatewise.settings.syntax import Definition

SECTIONS = (
    *("task", "data", "model", "optimizer", "scheduler", "trainer"),
    *("callbacks", "logger", "paths", "wandb"),
)
"""Sections that a training reads; others may stand beside them, unless they look like one of these."""
LEFT_OUT = ("callbacks", "logger", "scheduler")
"""Sections that a training does without."""


def check_training(config: DictConfig) -> None:
    """Raise ValueError for a training that cannot be, or a run that cannot be resumed as it is asked for."""
    hydra = HydraConfig.get()
    _check_says_something(config, as_given(hydra.overrides.task))
    check_parent("paths.runs_dir", config.paths.runs_dir, last=config.resume is None)
    if config.resume is None:
        check_name(config.name, Path(config.paths.runs_dir))
        # The trainings of a sweep find what was downloaded as it began.
        check_parts(config, group_choices(), download=config.sweep.job is None)
        note(config)
        check_storable(config)
        return
    note(config)
    run = Run.open(config.resume, Path(config.paths.runs_dir), "resume")
    check_inside(run.folder)
    stored = run.config()
    check_origins(stored, run.folder)
    check_settings_of(run)
    check_servers(stored, as_given(hydra.overrides.task), run.folder / "config.yaml", config)
    check_history_of(run)
    resumed = resumed_config(run, as_given(hydra.overrides.task), config)
    check_resumable(run, resumed, config.get("resume_from"))
    check_filled(resumed, f"resume={config.resume}")
    check_storable(resumed)
    if run.state() != "done" or resumed != run.config():
        check_parts(resumed, run.choices())


def _check_says_something(config: DictConfig, overrides: list[str]) -> None:
    """Raise SettingError for ``model={}`` and ``callbacks=[]``, which Hydra takes without a word."""
    choices = group_choices()
    for override in overrides:
        key, _, value = override.partition("=")
        if value.replace(" ", "") not in ("{}", "[]") or key[:1] in "+~":
            continue
        if key in choices or key in SECTIONS[:8] or is_part(OmegaConf.select(config, key)):
            way = f"; ~{key} leaves it out" if key in LEFT_OUT else ""
            raise SettingError(f"{key}={value}: says nothing: choose one, or give its settings{way}")


def group_choices() -> dict[str, str | None]:
    """The group choices of the job that runs, without Hydra's own."""
    chosen = HydraConfig.get().runtime.choices
    return {group: choice for group, choice in chosen.items() if "hydra/" not in group}


def _check_fit(config: DictConfig, choices: Mapping[str, str | None]) -> None:
    """Raise ValueError, naming both choices, where a task cannot use a DataModule's kind of data."""
    task, data = declared(target_of(config.task)), declared(target_of(config.data))
    takes = None if task is None else task.attribute("facts_type")
    gives = None if data is None else data.attribute("facts_type")
    if isinstance(takes, Definition) and isinstance(gives, Definition) and not gives.is_subclass_of(takes):
        took, given_kind = (
            (str(k.attribute("summary")), f"{k.module.name}.{k.name}") for k in (takes, gives)
        )
        raise ValueError(misfit(choices, took, given_kind))


def misfit(choices: Mapping[str, str | None], takes: tuple[str, str], gives: tuple[str, str]) -> str:
    """The line about a task that takes another kind of data than it is given.

    Of each kind: how it describes itself, and its class, which is named where both use the same words.
    """
    alike = takes[0] == gives[0]
    taken, given_kind = (f"{words} ({name})" if alike else words for words, name in (takes, gives))
    return (
        f"task={choices.get('task')} takes {taken}, but data={choices.get('data')} gives {given_kind}: "
        f"choose a task or data that fit, or an experiment=... that has both"
    )


def check_parts(config: DictConfig, choices: Mapping[str, str | None], download: bool = False) -> None:
    """Raise ValueError for a setting of a training that cannot be, or that does not fit the others.

    Where all else is right, known files that are not here are downloaded, if they may be.
    """
    for section in map(str, config):
        meant = closest(section, SECTIONS)
        if section not in SECTIONS and meant is not None:
            raise SettingError(f"{section}: no such section{suggestion(meant)}")
    flag("test", config.test)
    seed("seed", config.seed)
    _check_threads(config.threads)
    parts = list(parts_of(config))
    for key, kind, node in parts:
        if is_part(node) and isinstance(node["_target_"], str):
            check_kind(key, kind, target_of(node))
    for key, _, node in parts:
        check_node(node, key, ("input_size",) if key == "model" else ())
    _check_together(config)
    if config.trainer.get("accelerator") == "cpu":
        number_of_processes(config.trainer)
    check_sizes(config)
    check_monitors(config)
    _check_fit(config, choices)
    task, data = declared(target_of(config.task)), declared(target_of(config.data))
    if task is not None:
        try:
            apply_rules(task.rules, {**given(config.model), **given(config.task)})
        except ValueError as error:
            raise SettingError(located(str(error), "task")) from None
    if data is not None:
        if download:
            get_known_files(config)
        check_files(given(config.data), data.files)


def _check_threads(threads: Any) -> None:
    """Raise ValueError for a number of threads that this machine cannot run: torch would crash."""
    if optional(whole_number)("threads", threads) is not None and threads > most_threads():
        raise SettingError(
            f"threads={threads}: {usable_cores()} cores are usable here; give at most {most_threads()}"
        )


def _check_together(config: DictConfig) -> None:
    """Raise SettingError for settings of Lightning's that contradict each other."""
    trainer = config.trainer
    for what in ("epochs", "steps"):
        least, most = trainer.get(f"min_{what}"), trainer.get(f"max_{what}")
        if least is not None and most is not None and -1 < most < least:
            raise SettingError(
                f"trainer.min_{what}={least} is more than trainer.max_{what}={most}: give no more"
            )
    for name in ("max_epochs", "max_steps", "limit_train_batches"):
        if trainer.get(name) == 0:
            raise SettingError(f"trainer.{name}=0: nothing is trained: give 1 or more")
    precision = SHORT_PRECISIONS.get(str(trainer.get("precision")), str(trainer.get("precision")))
    clips = trainer.get("gradient_clip_val") is not None
    if precision.endswith("-mixed") and clips and (config.get("optimizer") or {}).get("fused") is True:
        raise SettingError(
            f"optimizer.fused=true: Lightning clips no gradients with it at trainer.precision={precision}: "
            f"set it to false, or trainer.gradient_clip_val to null"
        )
    if trainer.get("max_time") is not None:
        for name, node in (config.get("callbacks") or {}).items():
            if node is not None and target_of(node).endswith(".Timer"):
                raise SettingError(
                    f"trainer.max_time: Lightning takes none beside callbacks.{name}: give "
                    f"+callbacks.{name}.duration={trainer.max_time}"
                )
