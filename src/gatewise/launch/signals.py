"""Signals that ask a training to end: what it has is kept, and it ends as interrupted."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

# What systems and schedulers send before they kill: kill, systemd, Kubernetes and scancel; SLURM's --signal.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A training that a signal stopped; ``exit_code`` is what shells report of it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.exit_code = 128 + signal.Signals[name]


class Stop:
    """Which signal asked for the end, if any did."""

    name: str | None = None


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """Within the body the signals raise KeyboardInterrupt, as Ctrl-C does; further ones do nothing.

    A signal that someone else handles already, and one that is ignored (``nohup``), stays as it is. Outside
    of the main thread Python handles none.
    """
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if stop.name is None:
            stop.name = signal.Signals(number).name
            raise KeyboardInterrupt

    ours = threading.current_thread() is threading.main_thread()
    taken = [number for number in SIGNALS if ours and signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
