"""What can be wrong with a command that is known before the seconds of importing torch and Lightning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig

from gatewise.config.build import check_node, given, target_of
from gatewise.config.resume import resumed_config
from gatewise.data.files import find_file
from gatewise.kinds.kind import Facts
from gatewise.kinds.text import TextFacts
from gatewise.launch.ranks import number_of_processes
from gatewise.runs.folders import check_name
from gatewise.runs.run import Run
from gatewise.settings import SettingError, choice, flag, optional_whole_number, whole_number
from gatewise.settings.ranges import OURS, check_together, located

SPLITS = ("test", "validation")
CHECKPOINTS = ("best", "last")
_LIKE_A_FILE = re.compile(
    r"\S+\.(txt|text|md|csv|tsv|json|jsonl|log|tokens|html|xml|ts|npz|npy|gz|zip)", re.IGNORECASE
)


def check_training(config: DictConfig) -> None:
    """Raise ValueError for a training that cannot be, or a run that cannot be resumed as it is asked for."""
    hydra = HydraConfig.get()
    if config.resume is None:
        check_name(config.name)
        _check_parts(config, group_choices())
        return
    run = Run.open(config.resume, Path(config.paths.runs_dir), "resume")
    resumed = resumed_config(run, list(hydra.overrides.task))
    if run.state() != "done":
        _check_parts(resumed, run.choices())


def group_choices() -> dict[str, str | None]:
    """The group choices of the job that runs, without Hydra's own."""
    chosen = HydraConfig.get().runtime.choices
    return {group: choice for group, choice in chosen.items() if "hydra/" not in group}


def check_evaluation(config: DictConfig) -> None:
    """Raise ValueError for a split, checkpoint, output or run directory that there is not."""
    choice("split", config.split, SPLITS)
    run = _check_run(config)
    data = run.config().data
    declared = OURS.get(target_of(data))
    if declared is not None and config.data:
        folders = [config.paths.work_dir, config.paths.data_dir]
        named = {**given(config.data), "folders": folders, "package": data.get("package")}
        tested = tuple(name for name in declared.files if name.startswith("test_") and named.get(name))
        # Test files of their own are all that is read.
        _check_files(named, tested if tested and config.split == "test" else declared.files)


def check_prediction(config: DictConfig) -> None:
    """Raise ValueError for numbers out of range, or an input, output or run directory that there is not."""
    whole_number("top_k", config.top_k)
    whole_number("length", config.length, least=0)
    run = _check_run(config)
    words = isinstance(run.facts(), TextFacts)
    input_file(str(config.input), words)


def input_file(given: str, may_be_words: bool) -> Path | None:
    """The file that ``input=`` names, or None for words; ValueError where there is no such file."""
    # A long text cannot be a file name: the system would refuse to look.
    if len(given) < 1000 and "\n" not in given and Path(given).expanduser().is_file():
        return Path(given).expanduser()
    if not may_be_words or _LIKE_A_FILE.fullmatch(given):
        raise ValueError(f"input={given}: there is no such file")
    return None


def output_path(output: object) -> Path | None:
    """The file that ``output=`` names, or None; ValueError where it cannot be written there."""
    if output is None:
        return None
    path = Path(str(output)).expanduser()
    if path.is_dir():
        raise ValueError(f"output={output}: is a folder: name a file in it")
    if not path.parent.is_dir():
        raise ValueError(f"output={output}: there is no folder {path.parent}: make it first")
    return path


def check_fit(takes: type[Facts], gives: type[Facts], choices: Mapping[str, str | None]) -> None:
    """Raise ValueError, naming both choices, where a task cannot use a DataModule's kind of data."""
    if not issubclass(gives, takes):
        raise ValueError(
            f"task={choices.get('task')} takes {takes.summary}, but "
            f"data={choices.get('data')} gives {gives.summary}: "
            f"choose a task or data that fit, or an experiment=... that has both"
        )


def _check_run(config: DictConfig) -> Run:
    output_path(config.output)
    run = Run.open(str(config.run), Path(config.paths.runs_dir))
    run.config()
    run.checkpoint(choice("checkpoint", config.checkpoint, CHECKPOINTS))
    return run


def _check_parts(config: DictConfig, choices: Mapping[str, str | None]) -> None:
    flag("test", config.test)
    whole_number("seed", config.seed, least=0)
    optional_whole_number("threads", config.threads)
    for part in ("task", "data", "model", "optimizer", "trainer"):
        check_node(getattr(config, part), part, ("input_size",))
    if config.get("scheduler") is not None:
        check_node(config.scheduler, "scheduler")
    for section in ("callbacks", "logger"):
        for name, node in (config.get(section) or {}).items():
            if node is not None:
                check_node(node, f"{section}.{name}")
    if config.trainer.get("accelerator") == "cpu":
        number_of_processes(config.trainer)
    task, data = OURS.get(target_of(config.task)), OURS.get(target_of(config.data))
    if task is not None and data is not None:
        check_fit(task.facts, data.facts, choices)
    if task is not None:
        try:
            check_together(task.with_model, {**given(config.model), **given(config.task)})
        except ValueError as error:
            raise SettingError(located(str(error), "task")) from None
    if data is not None:
        _check_files(given(config.data), data.files)


def _check_files(data: Mapping[str, Any], settings: tuple[str, ...]) -> None:
    for name in settings:
        files = data.get(name)
        for file in files if isinstance(files, ListConfig) else [files]:
            if file is not None:
                find_file(file, data.get("folders", ()), f"data.{name}", data.get("package"))
