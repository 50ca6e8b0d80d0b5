"""Signals that request a graceful stop: what a training has is kept, and it ends as interrupted."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol

# What systems and schedulers send before they kill: kill, systemd, Kubernetes and scancel; SLURM's --signal;
# a limit of CPU seconds.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGXCPU)
LAUNCHERS_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)
"""Those that a launcher (submitit) may have its own handler for, which ends the process."""

PATIENCE_SECONDS = 20.0
"""How long a training step may take to its end; of the half a minute that most schedulers leave."""

Handler = Callable[[int, FrameType | None], object]


class Stopped(KeyboardInterrupt):
    """A training that a signal stopped; ``exit_code`` is what shells report of it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.exit_code = 128 + signal.Signals[name]


def end_before_limit() -> None:
    """From now on, end with an error where the CPU seconds of ``ulimit -t`` run out, shortly before a kill.

    A training that :func:`stoppable` runs ends its step first.
    """
    if signal.getsignal(signal.SIGXCPU) != signal.SIG_DFL or not _is_main_thread():
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard != resource.RLIM_INFINITY:
        before = max(1, hard - min(max(1, hard // 4), int(PATIENCE_SECONDS)))
        soft = before if soft == resource.RLIM_INFINITY else min(soft, before)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
    signal.signal(signal.SIGXCPU, _out_of_time)


def _out_of_time(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise Stopped(signal.Signals(number).name)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class Training(Protocol):
    """What can stop by itself after the step that it is in."""

    stopping: bool
    """Whether it has begun to."""

    def request_stop(self, number: int) -> bool:
        """Request it for the signal ``number``; False where there is no step to wait for."""
        ...


class Stop:
    """Which signal requested the stop of a training, if any did, and what comes of it."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.training: Training | None = None
        """The training whose step is waited for, while it runs."""
        self.launcher: Callable[[], object] | None = None
        """What a launcher does for the signal once the training has stopped."""
        self._timer: threading.Timer | None = None
        self._deadline: float | None = None
        self._ended = False

    def handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """End the training: after its step where one runs, else at once, as on a second Ctrl-C."""
        if self._ended:
            return
        if self._deadline is None:
            self.name = None if number == signal.SIGINT else signal.Signals(number).name
            if self._postponed(number):
                return
        elif number != signal.SIGINT and self._waits():
            return
        self._ended = True
        raise KeyboardInterrupt

    def hand_on(self, launchers: Handler, number: int, frame: FrameType | None) -> None:
        """As :meth:`handle`, for a launcher's signal: its handler is called once the training has ended."""
        if self._deadline is None and self._postponed(number):
            self.launcher = functools.partial(launchers, number, frame)
        elif self._deadline is None or not self._waits():
            launchers(number, frame)

    def _postponed(self, number: int) -> bool:
        if self.training is None or not self.training.request_stop(number):
            return False
        self._deadline = time.monotonic() + PATIENCE_SECONDS
        self._timer = threading.Timer(PATIENCE_SECONDS, os.kill, (os.getpid(), number))
        self._timer.daemon = True
        self._timer.start()
        return True

    def _waits(self) -> bool:
        """Whether the step may still take its time, or its checkpoint is being written."""
        assert self._deadline is not None
        stopping = self.training is not None and self.training.stopping
        return stopping or time.monotonic() < self._deadline

    def learn(self, number: int) -> None:
        """Take up the signal that another process of the training was sent, where this one was not."""
        if self._deadline is None and self.name is None and number not in (0, signal.SIGINT):
            self.name = signal.Signals(number).name

    def close(self) -> None:
        """Wait no longer."""
        if self._timer is not None:
            self._timer.cancel()


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """Within the body the signals, and Ctrl-C, raise KeyboardInterrupt; further ones do nothing.

    A training that the :class:`Stop` is given ends its step first. A signal that is ignored (``nohup``) or
    has a handler already stays as it is, but for a launcher's, whose handler is called after that step.
    Outside of the main thread Python handles none.
    """
    stop = Stop()
    before: dict[signal.Signals, Handler | int | None] = {}
    if _is_main_thread():
        for number in (*SIGNALS, *LAUNCHERS_SIGNALS, signal.SIGINT):
            existing = signal.getsignal(number)
            default = signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler
            # That of a sweep, which this training is a part of.
            is_a_stops = isinstance(getattr(existing, "__self__", None), Stop)
            handler: Handler | None = None
            is_free = existing in (default, _out_of_time) and number != signal.SIGUSR2
            if is_free or is_a_stops:
                handler = stop.handle
            elif number in LAUNCHERS_SIGNALS and callable(existing):
                handler = functools.partial(stop.hand_on, existing)
            if handler is not None:
                before[number] = existing
                signal.signal(number, handler)
    try:
        yield stop
    finally:
        stop.close()
        for number, handler_before in before.items():
            signal.signal(number, handler_before)
