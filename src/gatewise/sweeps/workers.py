"""Where trainings of a sweep run: in this process, in several beside it, or by a launcher of Hydra's."""

from __future__ import annotations

import contextlib
import gc
import io
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

from hydra.core.utils import JobReturn, JobStatus, env_override
from hydra.plugins.launcher import Launcher

from gatewise.launch.devices import share
from gatewise.launch.own_code import OutsideOfRuns
from gatewise.settings import one_line
from gatewise.sweeps.jobs import FAILED, KILLED, Job, Outcome, Training, carry_out, outcome
from gatewise.sweeps.slurm import SlurmJobs

GRACE_SECONDS = 30.0
"""For a training to write down where it was interrupted."""


class Workers(Protocol):
    """Takes jobs while it has room, and gives back what came of them."""

    def room(self) -> int:
        """How many jobs it takes now."""
        ...

    def start(self, job: Job) -> None:
        """Take a job."""
        ...

    def wait(self) -> Iterator[tuple[Job, Outcome]]:
        """Wait until at least one job has ended, and give those that have."""
        ...

    def stop(self) -> None:
        """Interrupt what runs, as Ctrl-C would, and end."""
        ...


class InThisProcess:
    """One job after the other, here: what is imported once is there for all."""

    def __init__(self, training: Training, objectives: Sequence[str] | None) -> None:
        self._training, self._objectives = training, objectives
        self._next: Job | None = None

    def room(self) -> int:
        return int(self._next is None)

    def start(self, job: Job) -> None:
        self._next = job

    def wait(self) -> Iterator[tuple[Job, Outcome]]:
        job, self._next = self._next, None
        assert job is not None
        yield job, carry_out(self._training, job, self._objectives)

    def stop(self) -> None:
        pass


class ByLauncher:
    """Batches for a launcher of Hydra's (SLURM, Ray, joblib), which decides where each job runs."""

    def __init__(
        self,
        launcher: Launcher,
        objectives: Sequence[str] | None,
        at_once: int,
        slurm: SlurmJobs | None = None,
    ) -> None:
        self._launcher, self._objectives, self._at_once = launcher, objectives, at_once
        self._slurm = slurm
        self._batch: list[Job] = []
        self._launched = 0

    def room(self) -> int:
        return self._at_once - len(self._batch)

    def start(self, job: Job) -> None:
        self._batch.append(job)

    def wait(self) -> Iterator[tuple[Job, Outcome]]:
        batch, self._batch = self._batch, []
        reasons: list[str | None] = [None] * len(batch)
        failed = ""
        try:
            returned = self._launch([job.overrides for job in batch])
            for index, job_return in enumerate(returned):
                reasons[index] = _failure(job_return)
        except Exception as failure:
            # One job that the cluster lost may take the launcher's whole answer with it.
            failed = f"the launcher failed: {type(failure).__name__}: {failure}"
            print(f"gatewise: {one_line(failed)}", file=sys.stderr, flush=True)
        self._launched += len(batch)
        for job, reason in zip(batch, reasons, strict=True):
            begun = (job.run / "config.yaml").is_file()
            yield (
                job,
                Outcome(KILLED, failed) if failed and not begun else outcome(job, self._objectives, reason),
            )

    def _launch(self, overrides: list[list[str]]) -> Sequence[JobReturn]:
        if self._slurm is None:
            return self._launcher.launch(overrides, self._launched)
        self._slurm.begin()
        with self._slurm.watched():
            try:
                return self._launcher.launch(overrides, self._launched)
            except KeyboardInterrupt:
                # SLURM would go on without the sweep.
                self._slurm.cancel()
                raise

    def stop(self) -> None:
        pass


def _failure(job_return: JobReturn) -> str | None:
    """Why a launcher's job failed; None where it did not."""
    if job_return.status != JobStatus.FAILED:
        return None
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # Hydra prints a line of its own
            error = job_return.return_value  # raises what the job raised
    except Exception as failure:
        error = failure
    # A ValueError says by itself what is wrong.
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


class Pool:
    """Jobs side by side, each in a process that is kept for the next one.

    They are forked from a server that has imported everything and computed nothing. They end when this
    process does, however it ends.
    """

    def __init__(self, training: Training, objectives: Sequence[str] | None, size: int) -> None:
        self._training, self._objectives = training, objectives
        self._environments = [{**os.environ, **share(slot, size)} for slot in range(size)]
        self._context: Any = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([training.module])
        # OpenMP reads its share once, in the server; Python looks for modules where the server starts first.
        with env_override(share(0, size)), OutsideOfRuns():
            forkserver.ensure_running()
        self._slots: list[_Worker | None] = [None] * size

    def room(self) -> int:
        return sum(worker is None or worker.job is None for worker in self._slots)

    def start(self, job: Job) -> None:
        slot = next(i for i, worker in enumerate(self._slots) if worker is None or worker.job is None)
        worker = self._slots[slot] or _Worker(
            self._context, self._training, self._objectives, self._environments[slot]
        )
        self._slots[slot] = worker
        worker.give(job)

    def wait(self) -> Iterator[tuple[Job, Outcome]]:
        busy = {w.connection: i for i, w in enumerate(self._slots) if w is not None and w.job is not None}
        for connection in wait(list(busy)):
            slot = busy[connection]  # type: ignore[index]
            worker = self._slots[slot]
            assert worker is not None
            assert worker.job is not None
            job = worker.job
            result = worker.take()
            if result.state == KILLED:
                self._slots[slot] = None
            yield job, result

    def stop(self) -> None:
        workers = [worker for worker in self._slots if worker is not None]
        for worker in workers:
            worker.interrupt()
        end = time.monotonic() + GRACE_SECONDS
        for worker in workers:
            worker.end(max(0.0, end - time.monotonic()))
        self._slots = [None] * len(self._slots)


class _Worker:
    """One process of the pool."""

    def __init__(
        self, context: Any, training: Training, objectives: Sequence[str] | None, environment: dict[str, str]
    ) -> None:
        self.job: Job | None = None
        self.connection: Connection
        self.connection, end_of_process = context.Pipe()
        self._process = context.Process(
            target=_work, args=(end_of_process, training, objectives, environment, str(Path.cwd()))
        )
        self._process.start()
        end_of_process.close()

    def give(self, job: Job) -> None:
        self.job = job
        # Where the process is gone already, take() says so.
        with contextlib.suppress(BrokenPipeError):
            self.connection.send(job)

    def take(self) -> Outcome:
        self.job = None
        try:
            answer: Outcome = self.connection.recv()
            return answer
        except (EOFError, OSError):
            self._process.join()
            return Outcome(KILLED, _ended_by(self._process.exitcode))

    def interrupt(self) -> None:
        self.connection.close()  # an idle one ends by that
        if self.job is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGINT)

    def end(self, patience_seconds: float) -> None:
        self._process.join(patience_seconds)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _ended_by(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed (SIGKILL: by someone, or by the system as memory ran out)"
    return (
        f"its process was killed by {signal.Signals(-code).name}"
        if code < 0
        else f"its process ended with {code}"
    )


def _work(
    connection: Connection,
    training: Training,
    objectives: Sequence[str] | None,
    environment: dict[str, str],
    folder: str,
) -> None:
    """The life of one process of the pool."""
    # A terminal's Ctrl-C reaches the sweep alone, which passes it on.
    os.setsid()
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    settled = False
    with contextlib.suppress(EOFError, KeyboardInterrupt, BrokenPipeError):
        while True:
            job: Job = connection.recv()
            try:
                answer = carry_out(training, job, objectives)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                answer = Outcome(FAILED, f"{type(error).__name__}: {error}")
            connection.send(answer)
            if not settled:
                # What the first job imported and keeps need not be looked through for garbage again.
                gc.collect()
                gc.freeze()
                settled = True


def _end_with_the_sweep() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
