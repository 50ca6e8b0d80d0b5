"""What can be wrong with what is asked of a trained run, known before torch and Lightning are imported."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from gatewise.config.build import given, target_of
from gatewise.config.data_files import check_files
from gatewise.config.origins import check_origins
from gatewise.config.outputs import Output, find_output
from gatewise.config.places import are_names
from gatewise.runs.opened import check_settings_of
from gatewise.runs.run import Run
from gatewise.settings import SettingError, choice, closest, suggestion, whole_number
from gatewise.settings.checks import flag, not_negative, shown
from gatewise.settings.declared import check_settings, declared

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
STANDARD_INPUT = "-"
"""As the input of a prediction: the lines of the standard input."""
STREAMED = ("text", "jsonl")
"""Formats of what is read as it comes."""
_LIKE_A_FILE = re.compile(
    r"\S+\.(txt|text|md|csv|tsv|json|jsonl|log|tokens|html|xml|conll|iob2?|bio|ts|npz|npy|gz|zip)",
    re.IGNORECASE,
)


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
        check_decided(given(config.data), given(data), declaration.attribute("decided") or ())
        folders = [config.paths.work_dir, config.paths.data_dir]
        named = {"folders": folders, **given(config.data), "package": data.get("package")}
        tested = tuple(name for name in declaration.files if name.startswith("test_") and named.get(name))
        # Test files of their own are all that is read.
        check_files(named, tested if tested and config.split == "test" else declaration.files)


def check_backtest(config: DictConfig) -> None:
    """Raise ValueError for a run that does not forecast, or settings that it cannot be backtested with."""
    whole_number("origins", config.origins)
    if config.step is not None:
        whole_number("step", config.step)
    flag("refit", config.refit)
    run = _check_run(config)
    trained = run.config()
    if run.facts().kind != "series":
        raise ValueError(f"run={config.run}: was trained on {run.facts().summary}: backtest takes a forecast")
    _check_changed(config.task, target_of(trained.task), "an evaluation")
    data = given(config.data)
    of_split = ("split_rows", "split_dates", "test_steps", "left_out_steps", "test_file")
    for name in (*of_split, *(() if config.refit else ("lookback", "horizon"))):
        if name in data:
            why = "the origins say what is tested" if name in of_split else "that is for refit=true"
            raise SettingError(f"data.{name}: leave it out: {why}")
    if config.trainer and not config.refit:
        raise SettingError("trainer: its settings are for refit=true")
    _check_given(data, target_of(trained.data), "data")
    _check_given(given(config.trainer), target_of(trained.trainer), "trainer")
    named = {**given(trained.data), **data}
    if are_names(data):
        named["folders"] = [config.paths.work_dir, config.paths.data_dir]
    declaration = declared(target_of(trained.data))
    if declaration is not None:
        check_files({**named, "test_file": None}, declaration.files)


def check_decided(changed: Mapping[Any, Any], trained: Mapping[Any, Any], decided: tuple[str, ...]) -> None:
    """Raise SettingError for a setting that would need another vocabulary, or others of a run's facts."""
    for name in decided:
        if name in changed and name in trained and changed[name] != trained[name]:
            now, before = (shown(settings[name]) for settings in (changed, trained))
            raise SettingError(
                f"data.{name}: got {now}, but the run was trained with {before}, and its vocabulary is made "
                f"for that: leave the setting out, or train another run"
            )


def check_prediction(config: DictConfig) -> None:
    """Raise ValueError for an input, output or run directory that there is not, or a wrong setting."""
    output = find_output("output", config.output, PREDICTIONS)
    lines = takes_lines(config.input)
    form = format_of(output, config.format, lines)
    trained = _check_run(config).config()
    if flag("stream", config.stream):
        _check_stream(config, output, trained)
        return
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
    file = input_file(str(config.input), takes_words(trained), may_be_folder=takes_folders(trained))
    if file is not None and output is not None and output.path.exists() and output.path.samefile(file):
        raise ValueError(f"{output.setting}: is the input: name another file")


def _check_stream(config: DictConfig, output: Output | None, trained: DictConfig) -> None:
    """Raise ValueError where what is given cannot be read as it comes."""
    _check_changed(config.task, target_of(trained.task), "a prediction")
    not_negative("wait", config.wait)
    if output is not None:
        raise ValueError("stream=true writes to the standard output: leave output out, or redirect it")
    if config.format not in (None, *STREAMED):
        raise ValueError(f"format={config.format}: stream=true writes {' or '.join(STREAMED)}")
    if config.input is None:
        raise SettingError(f"input: stream=true reads sound from a file, or from input={STANDARD_INPUT}")
    if config.input != STANDARD_INPUT:
        input_file(str(config.input), may_be_words=False)
    elif sys.stdin is not None and sys.stdin.isatty():
        raise ValueError(
            f"input={STANDARD_INPUT}: the standard input is a terminal: pipe 16-bit samples into it, as in "
            f"arecord -t raw -f S16_LE -c 1 -r RATE | gatewise predict input={STANDARD_INPUT} stream=true"
        )


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


def check_drawing(config: DictConfig) -> None:
    """Raise ValueError for a run that there is not, or that does not read strokes, or for a wrong port."""
    whole_number("port", config.port)
    found = _check_run(config)
    data = declared(target_of(found.config().data))
    if data is None or not data.attribute("reads_strokes"):
        raise ValueError(
            f"run={config.run}: was trained on {found.facts().summary}: draw takes a run that was trained on "
            f"pen strokes, as by experiment=strokes/pendigits"
        )


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
        check_files({**given(config.data), "folders": [config.paths.work_dir]}, declaration.files)


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


def takes_folders(trained: DictConfig) -> bool:
    """Whether a run predicts for all files of a folder as well."""
    data = declared(target_of(trained.data))
    return data is not None and bool(data.attribute("takes_folders"))


def input_file(
    given: str, may_be_words: bool, key: str = "input", may_be_folder: bool = False
) -> Path | None:
    """The file that the setting ``key`` names, or None for words; ValueError where there is no such file.

    With ``may_be_folder`` it may name a folder too.
    """
    # A long text cannot be a file name: the system would refuse to look.
    path = Path(os.path.expanduser(given))  # noqa: PTH111 - Path.expanduser raises for ~nobody
    if len(given) < 1000 and "\n" not in given and is_file(path):
        return path
    folder = len(given) < 1000 and given.strip() not in ("", ".") and is_file(path, folder=True)
    if folder and may_be_folder:
        return path
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


def _check_run(config: DictConfig, key: str = "run") -> Run:
    run = Run.open(str(config[key]), Path(config.paths.runs_dir), key)
    check_origins(run.config(), run.folder)
    check_settings_of(run)
    run.checkpoint(choice("checkpoint", config.checkpoint, CHECKPOINTS))
    return run
