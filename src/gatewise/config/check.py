"""What can be wrong with a command that is known before the seconds of importing torch and Lightning."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf

from gatewise.config.build import check_node, given, target_of
from gatewise.config.monitors import check_monitors
from gatewise.config.origins import check_origins, check_servers
from gatewise.config.outputs import Output, find_output
from gatewise.config.resume import check_resumable, resumed_config
from gatewise.config.sections import check_kind, parts_of
from gatewise.config.sizes import check_sizes
from gatewise.data.files import find_file, get_if_known
from gatewise.launch.devices import most_threads, usable_cores
from gatewise.launch.ranks import number_of_processes
from gatewise.runs.config_files import check_storable
from gatewise.runs.folders import check_name, check_parent
from gatewise.runs.inside import check_inside
from gatewise.runs.opened import check_history_of, check_settings_of
from gatewise.runs.references import as_given, check_filled, note
from gatewise.runs.run import Run
from gatewise.settings import SettingError, choice, closest, flag, optional, suggestion, whole_number
from gatewise.settings.checks import seed
from gatewise.settings.declared import check_settings, declared, is_part, located
from gatewise.settings.libraries import SHORT_PRECISIONS
from gatewise.settings.rules import apply_rules
from gatewise.settings.syntax import Definition

SPLITS = ("test", "validation")
CHECKPOINTS = ("best", "last")
SCORES = (".json",)
"""Suffix of the output of an evaluation."""
PICTURE = "picture"
PREDICTIONS = {
    **{".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "text"},
    **{".conll": "conll", ".png": PICTURE},
}
"""Suffixes of the output of a prediction, and the format of each."""
PAGES, ARRAYS = (".html",), (".npz",)
"""Suffixes of what an inspection writes."""
SECTIONS = (
    *("task", "data", "model", "optimizer", "scheduler", "trainer"),
    *("callbacks", "logger", "paths", "wandb"),
)
"""Sections that a training reads; others may stand beside them, unless they look like one of these."""
STANDARD_INPUT = "-"
"""As the input of a prediction: the lines of the standard input."""
LEFT_OUT = ("callbacks", "logger", "scheduler")
"""Sections that a training does without."""
_LIKE_A_FILE = re.compile(
    r"\S+\.(txt|text|md|csv|tsv|json|jsonl|log|tokens|html|xml|conll|iob2?|bio|ts|npz|npy|gz|zip)",
    re.IGNORECASE,
)


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


def check_evaluation(config: DictConfig) -> None:
    """Raise ValueError for a split, checkpoint, output or run directory that there is not."""
    choice("split", config.split, SPLITS)
    find_output("output", config.output, SCORES)
    trained = _check_run(config).config()
    _check_changed(config.task, target_of(trained.task), "an evaluation")
    data = trained.data
    declaration = declared(target_of(data))
    if declaration is not None and config.data:
        _check_given(config.data, target_of(data), "data")
        folders = [config.paths.work_dir, config.paths.data_dir]
        named = {**given(config.data), "folders": folders, "package": data.get("package")}
        tested = tuple(name for name in declaration.files if name.startswith("test_") and named.get(name))
        # Test files of their own are all that is read.
        _check_files(named, tested if tested and config.split == "test" else declaration.files)


def check_prediction(config: DictConfig) -> None:
    """Raise ValueError for an input, output or run directory that there is not, or a wrong setting."""
    output = find_output("output", config.output, PREDICTIONS)
    lines = takes_lines(config.input)
    form = format_of(output, config.format, lines)
    trained = _check_run(config).config()
    task = declared(target_of(trained.task))
    if form == "conll" and task is not None and not task.attribute("tags_words"):
        raise ValueError("format=conll is for the tags of words: this run's answers have none")
    _check_changed(config.task, target_of(trained.task), "a prediction")
    _check_reading(config, target_of(trained.data))
    if lines and not takes_words(trained):
        if config.input is None:
            raise SettingError("input: a value is required, e.g. input=...")
        raise ValueError(f"input={STANDARD_INPUT}: this run predicts from files alone: name one")
    if lines:
        return
    file = input_file(str(config.input), takes_words(trained))
    if file is not None and output is not None and output.path.exists() and output.path.samefile(file):
        raise ValueError(f"{output.setting}: is the input: name another file")


def takes_lines(given: object) -> bool:
    """Whether what is given as the input of a prediction is the lines of the standard input, or a talk."""
    return given is None or given == STANDARD_INPUT


def format_of(output: Output | None, wanted: Any, lines: bool) -> str | None:
    """The format in which an output is written, or else the answer printed; None: as a table on the screen.

    Raises ValueError for a format that there is not, or that the output's name or an answer in ``lines``
    contradicts.
    """
    named = None if output is None else PREDICTIONS.get(output.suffix)
    if wanted is not None:
        choice("format", wanted, dict.fromkeys(PREDICTIONS.values()))
        if named not in (None, wanted):
            assert output is not None
            raise ValueError(f"format={wanted}: {output.setting} is the name of {named}: change one")
    form: str | None = wanted or named or (None if output is None else "csv")
    if lines and form == "json":
        raise ValueError("a JSON file is one list, which cannot grow line by line: write JSONL or CSV")
    if form == PICTURE and (lines or named is None):
        raise ValueError("a picture is drawn of words or a file, as in output=picture.png")
    if lines and form == "conll":
        raise ValueError("format=conll has several lines for a sentence: write text, JSONL or CSV")
    return form


class LookedAt(NamedTuple):
    """One run and input that an inspection is of, and the settings that say so."""

    run: str
    input: str
    sequence: Any
    keys: tuple[str, str, str]
    """Names of the three settings."""


def looked_at(config: DictConfig) -> list[LookedAt]:
    """The run and input of an inspection, and what is put beside it, if anything."""
    keys = ("run", "input", "sequence")
    run, given, sequence = (key if config[f"{key}2"] is None else f"{key}2" for key in keys)
    found = [LookedAt(config.run, config.input, config.sequence, keys)]
    if (run, given, sequence) != keys:
        found.append(LookedAt(config[run], config[given], config[sequence], (run, given, sequence)))
    return found


def check_inspection(config: DictConfig) -> None:
    """Raise ValueError for an input, output or run that there is not, or that does not fit the others."""
    wanted = {"output": PAGES, "arrays": ARRAYS}
    outputs = [find_output(key, config[key], takes, only=True) for key, takes in wanted.items()]
    subjects = looked_at(config)
    runs = [_check_run(config, subject.keys[0]) for subject in subjects]
    kinds = [found.facts().summary for found in runs]
    if config.input2 is None and len(set(kinds)) > 1:
        raise ValueError(
            f"run2={config.run2}: was trained on {kinds[1]}, but run={config.run} on {kinds[0]}: give it an "
            f"input of its own with input2=..."
        )
    for subject, found in zip(subjects, runs, strict=True):
        _, key, sequence = subject.keys
        file = input_file(str(subject.input), takes_words(found.config()), key)
        whole_number(sequence, subject.sequence)
        for output in outputs:
            if output and file and is_file(output.path) and output.path.samefile(file):
                raise ValueError(f"{output.setting}: is the input: name another file")


CHANGEABLE = {"a prediction": "answer_settings", "an evaluation": "evaluation_settings"}
"""Where a task names the settings that may be changed for what a verb does."""


def _check_changed(settings: Any, target: str, what: str) -> None:
    """Raise SettingError for a setting of the task that may not be changed, or for a wrong value."""
    allowed = _changeable(target, what)
    for name in given(settings):
        if name not in allowed:
            near = suggestion(closest(name, allowed))
            listed = f" It has: {', '.join(allowed)}" if allowed else " It has none."
            raise SettingError(f"task.{name}: no such setting of {what}{near or '.'}{listed}")
    _check_given(given(settings), target, "task")


def _check_reading(config: DictConfig, target: str) -> None:
    """Raise SettingError for a setting that a run's data does not take when it reads an input."""
    data = declared(target)
    reader = "" if data is None else str(data.attribute("input_reader") or "")
    declaration = declared(reader) if reader else None
    # The first two are the path and the facts.
    allowed = () if declaration is None else declaration.parameters[2:]
    for name in given(config.data):
        if name not in allowed:
            near = suggestion(closest(name, allowed))
            listed = f" It has: {', '.join(allowed)}" if allowed else " It has none."
            raise SettingError(f"data.{name}: no such setting of a prediction{near or '.'}{listed}")
    if declaration is not None:
        _check_given(given(config.data), reader, "data")
        _check_files({**given(config.data), "folders": [config.paths.work_dir]}, declaration.files)


def _changeable(target: str, what: str) -> tuple[str, ...]:
    task = declared(target)
    return () if task is None else task.attribute(CHANGEABLE[what]) or ()


def changeable_settings(run: str, runs_dir: Path, what: str) -> dict[str, Any]:
    """The settings of a run's task that may be changed, as trained; none where there is no such run."""
    with contextlib.suppress(ValueError, OSError):
        task = Run.open(run, runs_dir).config().task
        return {name: task[name] for name in _changeable(target_of(task), what) if name in task}
    return {}


def _check_given(settings: Mapping[Any, Any], target: str, key: str) -> None:
    """Raise SettingError for settings that a run's class cannot take in place of its own."""
    try:
        check_settings(target, dict(settings), key)
    except ValueError as error:
        raise SettingError(str(error)) from None


def takes_words(trained: DictConfig) -> bool:
    """Whether a run predicts from words as well as from a file."""
    data = declared(target_of(trained.data))
    return data is not None and bool(data.attribute("takes_words"))


def input_file(given: str, may_be_words: bool, key: str = "input") -> Path | None:
    """The file that the setting ``key`` names, or None for words; ValueError where there is no such file."""
    # A long text cannot be a file name: the system would refuse to look.
    path = Path(os.path.expanduser(given))  # noqa: PTH111 - Path.expanduser raises for ~nobody
    if len(given) < 1000 and "\n" not in given and is_file(path):
        return path
    folder = len(given) < 1000 and given.strip() not in ("", ".") and is_file(path, folder=True)
    if folder and (not may_be_words or "/" in given):  # a word may be called as a folder is
        raise ValueError(f"{key}={given}: is a folder: give a file in it")
    if not may_be_words or _LIKE_A_FILE.fullmatch(given):
        raise ValueError(f"{key}={given}: there is no such file")
    return None


def is_file(path: Path, folder: bool = False) -> bool:
    """Whether there is such a file, or folder; a name that no system takes is none."""
    try:
        return path.is_dir() if folder else path.is_file()
    except (OSError, ValueError):
        return False


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


def _check_run(config: DictConfig, key: str = "run") -> Run:
    run = Run.open(str(config[key]), Path(config.paths.runs_dir), key)
    check_origins(run.config(), run.folder)
    check_settings_of(run)
    run.checkpoint(choice("checkpoint", config.checkpoint, CHECKPOINTS))
    return run


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
        _check_files(given(config.data), data.files)


def get_known_files(config: DictConfig) -> None:
    """Download the known sets that the data's files are of, where they are not here yet."""
    data = declared(target_of(config.data)) if is_part(config.data) else None
    settings = given(config.data)
    for name, file in _files(settings, () if data is None else data.files):
        get_if_known(file, settings.get("folders", ()), f"data.{name}")


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


def _check_files(data: Mapping[str, Any], settings: tuple[str, ...]) -> None:
    for name, file in _files(data, settings):
        find_file(file, data.get("folders", ()), f"data.{name}", data.get("package"))


def _files(data: Mapping[str, Any], settings: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """(the setting, one file that it names), of each of these settings."""
    for name in settings:
        files = data.get(name)
        for file in files if isinstance(files, ListConfig) else [files]:
            if file is not None:
                yield name, file
