"""``gatewise inspect``: what a trained run did with one input, step by step, as a page of its own."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich.text import Text

from gatewise import __version__
from gatewise.cli.threads import one_thread
from gatewise.config.build import class_of
from gatewise.config.check_run import ARRAYS, PAGES, LookedAt, input_file, looked_at, takes_words
from gatewise.config.outputs import Output, find_output
from gatewise.config.places import take_own_cache
from gatewise.data.module import SequenceDataModule
from gatewise.inspection.look import Look, check_memory, contributions_of, look
from gatewise.inspection.matching import match
from gatewise.inspection.one import one_of
from gatewise.inspection.own_data import OwnSteps, sample
from gatewise.nn import Recurrent, Stacked
from gatewise.nn.uncompiled import without_compiling
from gatewise.runs.run import Run
from gatewise.settings import first_line, one_line
from gatewise.tasks import Task
from gatewise.tasks.inspected import Inspected
from gatewise.training.parts import load_task, make_data, stored_config
from gatewise.views import screen
from gatewise.views.inspect.page import page
from gatewise.views.places import short
from gatewise.views.plain import cell, plain_console

LONGEST_INPUT = 2_000
"""Characters of the input that the page repeats."""
LONGEST_NAME = 40
"""Characters of an input by which two models of one name are told apart."""


@dataclass
class Subject:
    """A trained run and the input that it is looked at with."""

    run: Run
    task: Task
    trained: DictConfig
    named: LookedAt
    inspected: Inspected
    sequence: str
    """Which of a file with several, in words."""


def main(config: DictConfig) -> list[Look]:
    """Say in a few sentences what was found, and write the page; returns what was found of each model."""
    output = find_output("output", config.output, PAGES, only=True)
    arrays = find_output("arrays", config.arrays, ARRAYS, only=True)
    screen.quiet()
    with screen.warnings_on_screen(), one_thread():
        subjects = [_subject(config, named) for named in looked_at(config)]
        looks = [_look(subject) for subject in subjects]
        matching = _matching(config, subjects, looks)
    if len({look.values["name"] for look in looks}) < len(looks):  # one run, several inputs
        for each in looks:
            each.values["name"] += f": {one_line(each.values['input'])[:LONGEST_NAME]}"
    values = {
        "title": " and ".join(dict.fromkeys(look.values["name"] for look in looks)),
        "version": __version__,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "models": [look.values for look in looks],
        "matching": matching,
    }
    written = page(values)
    if output is not None and output.is_standard():  # whoever reads it wants that alone
        output.write(written)
    else:
        _say(looks)
        if output is not None:
            output.write(written)
            plain_console(soft_wrap=True).print(
                Text.assemble("\nPage   ", (one_line(short(output.path)), "bold"))
            )
    _write_arrays(looks, arrays, output)
    return looks


def _subject(config: DictConfig, named: LookedAt) -> Subject:
    run = Run.open(str(named.run), Path(config.paths.runs_dir), named.keys[0])
    trained = stored_config(run)
    take_own_cache(trained, config)
    task = load_task(run, config.checkpoint, trained).requires_grad_(False)
    inspected, of = _inspected(run, task, trained, named)
    without_compiling(inspected.encoder, int(inspected.lengths[0]))
    return Subject(run, task, trained, named, inspected, of)


def _inspected(run: Run, task: Task, trained: DictConfig, named: LookedAt) -> tuple[Inspected, str]:
    """The sequence that is named, as the task of a run reads it, and which of several it is in words."""
    _, key, sequence = named.keys
    source = input_file(str(named.input), takes_words(trained), key) or str(named.input)
    data = class_of(trained.data, "data")
    assert issubclass(data, SequenceDataModule)
    try:
        given = data.read_input(source, run.facts())
    except ValueError as error:
        if isinstance(source, Path):  # whose place the message names
            raise
        raise ValueError(f"{key}: {error}") from None
    chosen, of = one_of(given, named.sequence, sequence)
    inspected = task.inspected(chosen)
    if not isinstance(inspected.encoder, (Recurrent, Stacked)):
        kind = type(inspected.encoder).__name__
        raise ValueError(
            f"{short(run.folder)}: its model is {kind}, and only a Recurrent or a Stacked can be inspected"
        )
    try:
        check_memory(inspected)
    except ValueError as error:
        raise ValueError(f"{key}={one_line(str(named.input))[:60]}: {error}") from None
    return inspected, of


def _look(subject: Subject) -> Look:
    run, problems = subject.run, []
    own: Callable[[str], OwnSteps] | None = None
    try:
        data = make_data(subject.trained, run.facts())
        own = lambda state: sample(data, subject.task.inspected, state)  # noqa: E731
    except (ValueError, OSError) as error:
        problems.append(f"What the units follow in the run's own data is not shown: {first_line(error)}")
    found = look(subject.inspected, own, problems)
    found.values = {
        "name": _name(found.values, run),
        "run": str(run.folder),
        "task": type(subject.task).__name__,
        "input": str(subject.named.input)[:LONGEST_INPUT] + subject.sequence,
        **found.values,
    }
    return found


def _name(values: Mapping[str, Any], run: Run) -> str:
    """What a model is called over its pictures: short, since two stand side by side."""
    both = "bidirectional " if values["directions"] > 1 else ""
    return f"{both}{values['cell']}, {run.folder.name}"


def _matching(config: DictConfig, subjects: Sequence[Subject], looks: Sequence[Look]) -> Any:
    """Units of two runs that contribute alike to the answers for the first input; None for one run."""
    if len(subjects) < 2 or subjects[0].run.folder == subjects[1].run.folder:
        return None
    ours, theirs = (look.contributions for look in looks)
    problems = looks[1].values["problems"]
    if config.input2 is not None or config.sequence2 is not None:
        other = subjects[1]
        try:
            inspected, _ = _inspected(other.run, other.task, other.trained, subjects[0].named)
            theirs = contributions_of(inspected)
        except ValueError as error:
            problems.append(f"No unit can be matched: the second run cannot read the first input ({error})")
            return None
    steps = ours[0].shape[1], theirs[0].shape[1]
    if steps[0] != steps[1]:
        problems.append(
            f"No unit can be matched: the runs cut the input into {steps[0]} and {steps[1]} steps"
        )
        return None
    return [
        {
            "layer": [layer, layer],
            "direction": [direction, direction],
            "pairs": [
                [pair.first, pair.second, float(f"{pair.r:.3g}")]
                for pair in match(ours[layer][direction], theirs[layer][direction])
            ],
        }
        for layer in range(min(len(ours), len(theirs)))
        for direction in range(min(len(ours[layer]), len(theirs[layer])))
    ]


def _say(looks: Sequence[Look]) -> None:
    console = plain_console()
    for found in looks:
        console.print(Text(one_line(found.values["name"]), "bold"))
        for line in found.sentences:
            console.print(cell(line))
        for line in found.values["problems"]:
            console.print(cell(line))


def _write_arrays(looks: Sequence[Look], named: Output | None, output: Output | None) -> None:
    """Write all arrays where the user names a file, or beside a page that has not all units."""
    target = named
    if target is None and output is not None and not all(look.is_whole for look in looks):
        target = replace(output, path=output.path.with_suffix(".npz"))
        if output.is_standard() or (output.path.exists() and not output.path.is_file()):
            return
    if target is None:
        return
    values: dict[str, Any] = {}
    for number, found in enumerate(looks):
        prefix = "second_" if number else ""
        values |= {f"{prefix}{name}": array for name, array in found.arrays.items()}
    content = io.BytesIO()
    np.savez_compressed(content, **values)
    target.write(content.getvalue())
    with contextlib.suppress(BrokenPipeError):
        plain_console(soft_wrap=True).print(cell(f"Arrays {short(target.path)}"))
