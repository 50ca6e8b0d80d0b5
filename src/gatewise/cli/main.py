"""The ``gatewise`` command: choose a verb, and import nothing heavy before one is chosen."""

from __future__ import annotations

import errno
import gc
import logging
import sys
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewise import __version__
from gatewise.cli.completion import main as complete
from gatewise.cli.errors import code_of_stdout, guarded
from gatewise.cli.words import gathered, in_quotes
from gatewise.launch.alone import stand_alone
from gatewise.launch.imports import import_to_stay
from gatewise.launch.limits import check_limits
from gatewise.launch.matplotlib_settings import import_matplotlib
from gatewise.launch.own_code import leave_out_runs
from gatewise.launch.signals import end_before_limit
from gatewise.launch.streams import open_standard_streams, outlast_readers, say, stdout_error
from gatewise.launch.surroundings import settle_surroundings
from gatewise.settings import SettingError, UsageError, closest, first_line, suggestion
from gatewise.settings.shown import show_warnings_as_text

if TYPE_CHECKING:
    from omegaconf import DictConfig


class Verb(NamedTuple):
    """What ``gatewise NAME`` runs."""

    module: str
    """Module whose ``main`` does the work; imported only when there is work to do."""
    config: str | None
    """Primary config that ``main`` is given, or None where ``main`` takes the words of the command line."""
    help: str
    check: str | None = None
    """Module and function of ``gatewise.config`` that find what is wrong before ``module`` is imported."""
    as_typed: tuple[str, ...] = ()
    """Settings whose value is text of the user's, with the commas and quotes it may have."""
    keeps: bool = False
    """Whether what it prints is less than what it does, and not worth to fail for."""
    open_sections: tuple[str, ...] = ()
    """Sections that take any setting, which Hydra wants to be written with a ``+``."""
    words: str | None = None
    """Setting that holds the words which are no setting and no option, as a list."""


VERBS: dict[str, Verb] = {
    "train": Verb(
        "gatewise.cli.train",
        "train",
        "train a model and keep the run in a directory",
        "check.check_training",
        as_typed=("resume", "sweep.resume"),
        keeps=True,
    ),
    "evaluate": Verb(
        "gatewise.cli.evaluate",
        "evaluate",
        "measure a finished run on its test data",
        "check_run.check_evaluation",
        as_typed=("run", "output"),
        open_sections=("data", "task"),
    ),
    "backtest": Verb(
        "gatewise.cli.backtest",
        "backtest",
        "forecast from several origins, with or without refit",
        "check_run.check_backtest",
        as_typed=("run",),
        open_sections=("data", "task", "trainer"),
    ),
    "predict": Verb(
        "gatewise.cli.predict",
        "predict",
        "apply a finished run to new data",
        "check_run.check_prediction",
        as_typed=("input", "run", "output"),
        open_sections=("data", "task"),
    ),
    "compare": Verb(
        "gatewise.cli.compare",
        "compare",
        "put runs side by side: a table, and a page to look at",
        as_typed=("output",),
        words="runs",
        keeps=True,
    ),
    "inspect": Verb(
        "gatewise.cli.inspect",
        "inspect",
        "look inside the gates of a finished run: a page for one input",
        "check_run.check_inspection",
        as_typed=("input", "input2", "run", "run2", "output", "arrays"),
        keeps=True,
    ),
    "draw": Verb(
        "gatewise.cli.draw",
        "draw",
        "write with mouse or finger, and see what a finished run makes of it",
        "check_run.check_drawing",
        as_typed=("run",),
        keeps=True,
    ),
    "sync": Verb(
        "gatewise.cli.sync",
        "sync",
        "upload the W&B data of runs that were trained offline",
        as_typed=("run",),
        keeps=True,
    ),
    "data": Verb(
        "gatewise.cli.data",
        "data",
        "list, download and show the sets of data that are known by name",
        words="words",
    ),
    "bench": Verb("gatewise.cli.bench", None, "measure speed side by side: bench training, bench engine"),
    "completion": Verb("gatewise.cli.completion", None, "print the tab completion of bash, zsh or fish"),
}

EXAMPLES = """\
  gatewise train experiment=series/sunspots model=gru
  gatewise train -m optimizer.lr=0.001,0.01 seed=1,2,3
  gatewise evaluate run=last"""


def help_text() -> str:
    """The verbs, one line each, and how to go on from there."""
    verbs = "\n".join(f"  {name:<12}{verb.help}" for name, verb in VERBS.items())
    return (
        "Usage: gatewise VERB [SETTING=VALUE ...] [OPTION ...]\n\n"
        f"Verbs:\n{verbs}\n\n"
        f"Examples:\n{EXAMPLES}\n\n"
        "gatewise VERB --help lists what a verb can be composed of; gatewise --version prints the version."
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line ``argv`` (default: that of the process) and return its exit code."""
    open_standard_streams()
    show_warnings_as_text()
    words = sys.argv[1:] if argv is None else argv
    leave_out_runs(words)
    gc.disable()  # until the work begins nearly all that is made stays
    try:
        return guarded(lambda: _dispatch(words))
    finally:
        gc.enable()
        if argv is None:
            gc.freeze()  # the process ends, and need not look through a hundred thousand objects once more


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(help_text())
        return 0
    name, *rest = words
    if name == "--version":
        print(f"gatewise {__version__}")
        return 0
    verb = VERBS.get(name)
    if verb is None:
        near = suggestion(closest(name, VERBS))
        raise UsageError(f"{name}: no such verb{near} (gatewise --help lists them)")
    if name == "completion":
        return complete(rest, {name: verb.config for name, verb in VERBS.items()})
    stand_alone(name)
    for line in settle_surroundings():
        say(f"gatewise: {line}")
    if verb.config is None:
        gc.enable()
        return int(import_module(verb.module).main(rest))
    from gatewise.cli.verb import run_verb

    if verb.words is not None:
        rest = gathered(rest, verb.words)
    rest = [_quoted(word) if word.partition("=")[0] in verb.as_typed else word for word in rest]
    rest = [_opened(word, verb.open_sections) for word in rest]
    code = run_verb(verb.config, rest, partial(_run, verb))
    lost = stdout_error()
    if code != 0 or lost is None:
        return code
    return _code_of_lost_lines(lost, verb.keeps or any(word.startswith("output=") for word in rest))


def _code_of_lost_lines(lost: OSError, keeps: bool) -> int:
    """The exit code of a verb that worked, but not all of whose lines could be printed.

    Where it ``keeps`` what it is for in files, nothing else is lost.
    """
    if not keeps:
        return code_of_stdout(lost)
    if lost.errno != errno.EPIPE:
        say(f"gatewise: stdout: {lost.strerror}: all was done, but not all of its lines could be printed")
    return 0


def _quoted(word: str) -> str:
    """A setting whose value Hydra's grammar takes as one string, whatever is in it."""
    key, equals, value = word.partition("=")
    nothing = value == "null" and key != "input"
    if not equals or nothing or (value[:1] in ("'", '"') and value[-1:] == value[:1] and len(value) > 1):
        return word
    return f"{key}={in_quotes(value)}"


def _opened(word: str, sections: tuple[str, ...]) -> str:
    """A setting of a section that takes any, as Hydra wants it; SettingError where it gives none."""
    key, equals, value = word.partition("=")
    if key.partition(".")[0] not in sections:
        return word
    if "." not in key and equals and not value.lstrip().startswith("{"):
        raise SettingError(f"{word}: give its settings, as in {key}.NAME=VALUE")
    return f"++{word}"


def _run(verb: Verb, config: DictConfig) -> Any:
    if verb.check is not None:
        file, _, function = verb.check.partition(".")
        getattr(import_module(f"gatewise.config.{file}"), function)(config)
        check_limits()
        import_matplotlib()
    # The work is not lost where `| head` has read enough, nor where a library cannot log.
    outlast_readers()
    logging.raiseExceptions = False
    end_before_limit()
    # Imported here, after the config was composed and checked: a wrong setting must not wait for torch.
    module = _imported(verb.module)
    gc.enable()
    return module.main(config)


def _imported(name: str) -> ModuleType:
    """The module. Raises ValueError where a library refuses to be imported, by a variable that it reads."""
    try:
        return import_to_stay(name)
    except (ValueError, FileExistsError, NotADirectoryError, PermissionError) as error:
        raise ValueError(
            f"a library cannot be imported ({first_line(error)}): see whether a variable of the environment "
            f"sets it up, such as TORCH_LOGS; GATEWISE_TRACEBACK=1 shows which library it is"
        ) from error
