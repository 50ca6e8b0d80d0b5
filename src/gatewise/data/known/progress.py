"""What is shown of a download: a line at its begin, and on a terminal a bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gatewise.settings import one_line


def tell(line: str) -> None:
    """Print one line on stderr, as what a command prints may be read by another."""
    print(f"gatewise: {one_line(line)}", file=sys.stderr, flush=True)


@contextmanager
def bar(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal, which is told how many bytes of ``total`` there are; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    # Imported here: looking for a file is no reason to.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    name, size = TextColumn("{task.description}", markup=False), DownloadColumn(binary_units=True)
    console = Console(stderr=True)
    with Progress(
        name, BarColumn(), size, TimeRemainingColumn(), console=console, transient=True
    ) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)
