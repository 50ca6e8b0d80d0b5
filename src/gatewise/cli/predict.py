"""``gatewise predict``: apply a trained run to new input, from its directory alone."""

from __future__ import annotations

import contextlib
import errno
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from gatewise.cli.lines import Ask, answer_lines, talk
from gatewise.cli.streaming import read_as_it_comes
from gatewise.config.build import class_of
from gatewise.config.check_run import (
    PICTURE,
    PREDICTIONS,
    STANDARD_INPUT,
    format_of,
    input_file,
    takes_folders,
    takes_lines,
    takes_words,
)
from gatewise.config.outputs import SCREEN, Output, find_output
from gatewise.data.module import SequenceDataModule
from gatewise.kinds.kind import Input
from gatewise.launch.streams import stdout_error
from gatewise.runs.run import Run
from gatewise.tasks import Task
from gatewise.tasks.answer import Answer, Line
from gatewise.training.parts import load_task, stored_config
from gatewise.views import screen
from gatewise.views.pictures.report import drawn
from gatewise.views.places import short
from gatewise.views.plain import cell, plain_console
from gatewise.views.tables import print_answer
from gatewise.views.written_answers import LineWriter, as_lines, written


def main(config: DictConfig) -> pd.DataFrame | None:
    """Show, or write as text, CSV or JSON, what a run predicts; returns the table, None for lines."""
    if config.stream:
        _stream(config)
        return None
    output = find_output("output", config.output, PREDICTIONS)
    form: Any = format_of(output, config.format, takes_lines(config.input))
    if form is not None and output is None:
        output = find_output("output", SCREEN, PREDICTIONS)
    run, trained, task, data = _loaded(config)
    facts = run.facts()
    settings: dict[str, Any] = OmegaConf.to_container(config.data)  # type: ignore[assignment]
    with torch.inference_mode():
        if not takes_lines(config.input):
            path = input_file(str(config.input), takes_words(trained), may_be_folder=takes_folders(trained))
            is_shown = output is None or not output.is_standard()  # else whoever reads it wants that alone
            with screen.warnings_on_screen(sys.stdout if is_shown else sys.stderr):
                read: Callable[..., Input] = data.read_input
                given = read(path or str(config.input), facts, **settings)
                return _answer(task, given, form, output, is_shown, run.title)

        def ask(texts: Sequence[str]) -> Sequence[Line]:
            return task.answer_lines(data.read_lines(texts, facts))

        if config.input is None and output is None and sys.stdin.isatty() and sys.stdout.isatty():
            with screen.warnings_on_screen():
                talk(ask, f"{short(run.folder)}: write a text; an empty line ends")
        else:
            _answer_lines(ask, data.lines_at_once, form or "text", output)
    return None


def _loaded(config: DictConfig) -> tuple[Run, DictConfig, Task, type[SequenceDataModule]]:
    """(The run, its config with the settings of this prediction, its trained task, the class of its data)."""
    run = Run.open(str(config.run), Path(config.paths.runs_dir))
    trained = stored_config(run)
    with open_dict(trained):
        trained.task = OmegaConf.merge(trained.task, config.task)
    screen.quiet()
    task = load_task(run, config.checkpoint, trained)
    data = class_of(trained.data, "data")
    assert issubclass(data, SequenceDataModule)
    return run, trained, task, data


def _stream(config: DictConfig) -> None:
    run, _, task, data = _loaded(config)
    source = None if config.input == STANDARD_INPUT else input_file(str(config.input), may_be_words=False)
    with torch.inference_mode():
        reader, frames = task.streamed(), data.read_stream(run.facts())
        read_as_it_comes(reader, frames, source, float(config.wait), config.format or "text")


def _answer(
    task: Task, given: Input, form: Any, output: Output | None, is_shown: bool, title: str
) -> pd.DataFrame | None:
    table: pd.DataFrame | None = None
    content: str | bytes = ""
    if form == "text":
        content = as_lines(task.answer_lines(given))
    else:
        answer = task.answer(given)
        answer.check_finite()
        table = answer.table
        if is_shown:
            print_answer(answer)
        if form == PICTURE:
            content = _picture(answer, output, title)
        elif form is not None:
            content = written(answer, form)
    if output is not None:
        output.write(content)
        if is_shown:
            plain_console(soft_wrap=True).print(cell(f"written to {output.path}"))
    return table


def _picture(answer: Answer, output: Output | None, title: str) -> bytes:
    if answer.picture is None:
        assert output is not None
        raise ValueError(f"{output.setting}: this run's answers are no picture: name a table, as in .csv")
    return drawn(*answer.picture, title)


def _answer_lines(ask: Ask, most: int, form: Any, output: Output | None) -> None:
    """Answer every line of the standard input; ValueError, after the last, where some could not be."""
    # What the vocabulary lacks is a column of the answer; a warning about every line would be too many.
    logging.disable(logging.WARNING)
    try:
        with _line_writer(form, output) as writer:
            failed = answer_lines(sys.stdin.buffer, ask, most, writer)
            writer.close()
    finally:
        logging.disable(logging.NOTSET)
    if failed:
        raise ValueError(f"{failed} line(s) could not be answered; their place is left empty")


@contextlib.contextmanager
def _line_writer(form: Any, output: Output | None) -> Iterator[LineWriter]:
    if output is not None and not output.is_standard():
        with output.pieces() as write:
            yield LineWriter(form, write, lambda: True)
        return
    stdout = sys.stdout.buffer

    def flush() -> bool:
        stdout.flush()
        lost = stdout_error()
        if lost is not None and lost.errno != errno.EPIPE:
            raise lost
        return lost is None

    yield LineWriter(form, stdout.write, flush)
    flush()
