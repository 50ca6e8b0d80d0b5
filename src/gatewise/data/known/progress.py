"""What is shown of a download: a line at its begin, and on a terminal how far it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gatewise.settings import one_line

_MIB = 2**20


def tell(line: str) -> None:
    """Print one line on stderr, as what a command prints may be read by another."""
    print(f"gatewise: {one_line(line)}", file=sys.stderr, flush=True)


@contextmanager
def bar(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A line on the terminal, which is told how many bytes of ``total`` there are; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    shown = ""

    def show(done: int) -> None:
        nonlocal shown
        of = f" of {total / _MIB:.1f} MiB, {done / total:.0%}" if total else " MiB"
        line = one_line(f"{what}  {done / _MIB:.1f}{of}")
        if line != shown:
            print("\r", one_line(line.ljust(len(shown))), sep="", end="", file=sys.stderr, flush=True)
            shown = line

    try:
        yield show
    finally:
        sys.stderr.write(f"\r{' ' * len(shown)}\r")
