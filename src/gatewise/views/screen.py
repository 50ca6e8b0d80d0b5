"""What a verb writes to the screen and to ``log.txt``."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TextIO

from omegaconf import DictConfig
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from gatewise.runs.inside import open_in_place
from gatewise.runs.run import Run
from gatewise.settings import lines as shown_lines
from gatewise.settings import one_line
from gatewise.views.places import command, setting, short
from gatewise.views.plain import cell, plain_console

# Lightning's advice that does not apply here: batches are sliced from memory, runs may be short, the logged
# metrics of an epoch are already reduced over all processes, and a cluster's jobs do not need srun.
_IRRELEVANT = (
    ".*does not have many workers.*",
    ".*recommended to use .*sync_dist=True.*",
    ".*`srun` command is available on your system but is not used.*",
    ".*number of training batches.*smaller than the logging interval.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*resuming from a checkpoint that ended before the epoch ended.*",
    ".*LeafSpec.*is deprecated.*",
    ".*isinstance\\(treespec, LeafSpec\\).*",
)

EXAMPLES = ("speech/japanese_vowels", "series/sunspots", "text/king_james")


def quiet() -> None:
    """Keep the messages of libraries off the screen, except for warnings that apply here."""
    for message in _IRRELEVANT:
        warnings.filterwarnings("ignore", message)
    for name in (
        "pytorch_lightning",
        "lightning_fabric",
        "lightning",
        "pytorch_lightning.utilities.rank_zero",
    ):
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        # What is left goes to the root logger, and so to log.txt too, instead of directly to stderr.
        logger.handlers.clear()
        logger.propagate = True
    # A profiler is used for the sake of its report.
    logging.getLogger("pytorch_lightning.profilers").setLevel(logging.INFO)


class _AsText(logging.Formatter):
    """Shows what is not printable; a message of Gatewise's own is one line, others may have several."""

    def format(self, record: logging.LogRecord) -> str:
        return shown_lines(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        own = record.name.partition(".")[0] == "gatewise" and not getattr(record, "on_screen", False)
        record.message = one_line(record.message) if own else shown_lines(record.message)
        return super().formatMessage(record)


class _Screen(logging.StreamHandler):
    """Writes to the current standard output, which a progress bar may have replaced, or to ``stream``."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._given = stream

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "on_screen", False):
            self.stream = self._given or sys.stdout
            super().emit(record)


class _LogFile(logging.Handler):
    """Appends to a log file; where the disk is full it says so once, and goes on once there is room."""

    def __init__(self, path: Path, screen: logging.Handler) -> None:
        super().__init__()
        self.path, self._screen = path, screen
        self._file = open_in_place(path, os.O_WRONLY | os.O_APPEND)
        self._missing = 0
        self._is_torn = False
        self._is_told = False

    def emit(self, record: logging.LogRecord) -> None:
        gap = (
            f"({self._missing} lines are missing here: they could not be written)\n" if self._missing else ""
        )
        torn = "\n" if self._is_torn else ""
        try:
            text = self.format(record)
        except Exception:  # a library's message that does not fit its arguments
            self.handleError(record)
            return
        try:
            self._write(f"{torn}{gap}{text}\n".encode(errors="backslashreplace"))
            self._missing = 0
        except OSError as error:
            self._missing += text.count("\n") + 1
            if not self._is_told:
                self._is_told = True
                line = f"{self.path}: {error.strerror}: lines are missing in it until it can be written again"
                self._screen.handle(logging.LogRecord(__name__, logging.WARNING, "", 0, line, (), None))

    def _write(self, content: bytes) -> None:
        """Write all, or note that a line has ended in the middle."""
        left = memoryview(content)
        while left:
            left = left[os.write(self._file, left) :]
            self._is_torn = bool(left)

    def close(self) -> None:
        if self._file >= 0:
            with contextlib.suppress(OSError):  # a network's disk may be full at last
                os.close(self._file)
        self._file = -1
        super().close()


_log = logging.getLogger(__name__)


def show(*shown: RenderableType) -> None:
    """Print tables and lines as they are, and write them to ``log.txt`` of the run that is being logged."""
    for each in shown:
        plain_console(soft_wrap=isinstance(each, Text)).print(each)
        text = io.StringIO()
        wide = plain_console(file=text, width=120, soft_wrap=isinstance(each, Text))
        wide.print(each)
        lines = [line.rstrip() for line in text.getvalue().rstrip().split("\n")]
        if lines:
            _log.info("%s", "\n".join(lines if len(lines) == 1 else ["", *lines]), extra={"on_screen": True})


@contextlib.contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Log to the screen and, with times, to a run's ``log.txt``, including Python's warnings."""
    to_screen = _Screen()
    to_screen.setFormatter(_AsText("%(message)s"))
    to_file = _LogFile(path, to_screen)
    to_file.setFormatter(_AsText("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.INFO)
    root.addHandler(to_file)
    root.addHandler(to_screen)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(to_file)
        root.removeHandler(to_screen)
        root.setLevel(before)
        to_file.close()


@contextlib.contextmanager
def warnings_on_screen(stream: TextIO | None = None) -> Iterator[None]:
    """Show Gatewise's warnings during a prediction or an evaluation, on ``stream`` or else on stdout."""
    screen = _Screen(stream)
    screen.setFormatter(_AsText())
    screen.setLevel(logging.WARNING)
    logger = logging.getLogger("gatewise")
    logger.addHandler(screen)
    try:
        yield
    finally:
        logger.removeHandler(screen)


def print_head(run: Run, config: DictConfig, data: Mapping[str, str | int], cells: Collection[str]) -> None:
    """Print what is about to be trained, of which ``cells``, and on which data."""
    choices = {group: str(choice) for group, choice in run.choices().items()}
    choices["model"] += f" ({', '.join(cells)})" if cells else ""
    parts = [f"{group}={choices[group]}" for group in ("task", "data", "model", "optimizer", "trainer")]
    name = one_line(str(config.name))
    head = "  ".join([name, *map(one_line, parts), f"seed={config.seed}"])
    table = Table.grid(padding=(0, 2))
    for key, value in data.items():
        table.add_row(cell(key, "dim"), cell(f"{value:,}" if isinstance(value, int) else value))
    title = Text(head)
    title.stylize("bold", 0, len(name))
    show(title, table)


def print_places(run: Run) -> None:
    """Print the paths of the run directory and its pictures, and how to upload offline W&B data."""
    show(Text(""), Text.assemble("Run directory  ", (one_line(short(run.folder)), "bold")))
    show(*(cell(f"Picture        {short(picture)}") for picture in sorted(run.plots.glob("*.png"))))
    if any((run.folder / "wandb").glob("offline-run-*")):
        upload = command("sync", setting("run", run.folder))
        show(Text(f"W&B, offline   upload with: {upload}"))


def print_next_steps(run: Run) -> None:
    """Print what to try next."""
    chosen = run.choices()
    experiments = [name for name in EXAMPLES if name != chosen.get("experiment")]
    # A run of debug= is not the last one.
    this = setting("run", run.folder if chosen.get("debug") else "last")
    example = str(run.summary().get("example_input", "..."))
    words_or_file = setting("input", Path(example) if Path(example).is_file() else example)
    console = plain_console(soft_wrap=True)
    console.print("\nNext, try")
    for words in (
        ("evaluate", this),
        ("predict", this, words_or_file),
        ("train", f"experiment={experiments[0]}"),
    ):
        console.print(f"  {command(*words)}")
