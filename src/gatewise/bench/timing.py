"""Times of all contenders, measured in turns, beside the limits of the machine."""

from __future__ import annotations

import gc
import logging
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from gatewise.bench.budget import Budget
from gatewise.bench.case import Case
from gatewise.bench.clock import host_seconds, kernel_seconds, seconds_of
from gatewise.bench.contenders import BESIDE, FLASHRNN, Contender, contender, may_fail
from gatewise.bench.counts import bytes_moved, operations
from gatewise.bench.deviation import difference
from gatewise.bench.limits import Limits, limits, matrix_peak

# A measurement repeats the call of one contender until it lasts this long: a single call of the smallest size
# is shorter than the noise of the clock and of the machine's other processes.
SECONDS_OF_A_MEASUREMENT = 0.02
MOST_CALLS = 1000
SHARE_OF_BUILDING = 0.25
"""FlashRNN's compiler may take this share of the seconds that a benchmark has."""


class Timing(NamedTuple):
    """The time of one contender for one step of training or inference; a row of the CSV file."""

    cell: str
    size: str
    work: str
    contender: str
    milliseconds: float
    """Median over the rounds."""
    speedup: float
    """How many times as fast as the reference, torch.nn or the loop: median over the rounds."""
    gigaflops: float
    share_of_peak: float
    peak_gigaflops: float
    """Speed of torch's product of two square matrices on as many threads, measured right before."""
    gigabytes: float
    """GB/s of the bytes that have to move at least once."""
    share_of_copy: float
    copy_gigabytes: float
    """GB/s of a large copy, measured in the same run."""
    of_lstm: float | None
    """For a cell that torch lacks: its time over that of the plain LSTM on the same engine, likewise."""
    peak_mib: float | None
    """Peak memory of a training step beyond weights and sequences, where it was asked for."""
    host_milliseconds: float | None
    """On a GPU: the time in which the host starts one step."""
    kernel_milliseconds: float | None
    """On a GPU: the time in which it is at work in one step, by torch's profiler."""
    dtype: str
    lengths: str
    bidirectional: bool
    threads: int
    device: str
    rounds: int
    """Rounds that were measured: fewer than asked for where the time was used up."""


class Bench:
    """One run of the benchmark: contenders that cannot run a cell are left out, and the notes say why."""

    def __init__(self, rounds: int, progress: Callable[[str], None], budget: Budget | None = None) -> None:
        self.rounds, self.progress, self.budget = rounds, progress, budget or Budget()
        self.notes: list[str] = []
        self.left_out: set[tuple[str, str]] = set()
        self.fewest_rounds = rounds
        self._limits: Limits | None = None
        self._building = 0.0

    def limits(self, case: Case) -> Limits:
        """The machine's limits, measured at the first call."""
        if self._limits is None:
            self.progress("limits of the machine")
            self._limits = limits(case.device, case.dtype)
        return self._limits

    def timings(self, case: Case, names: list[str], works: list[str]) -> list[Timing]:
        """A row for each work and contender; the first of ``names`` is the reference."""
        self.budget.begin()  # building and checking take time, too
        copy, peak = self.limits(case).copy, matrix_peak(case.device, case.dtype)
        runners = self._runners(case, names)
        rows = []
        for work in works:
            self.budget.begin()
            runs = {name: runner.run(work) for name, runner in runners.items()}
            taken = self.in_turns(case, work, runs)
            flops, moved = operations(case, work), bytes_moved(case, work)
            for name, times in taken.items():
                if name.startswith(BESIDE):
                    continue
                seconds = statistics.median(times)
                speed, bandwidth = flops / seconds / 1e9, moved / seconds / 1e9
                beside = taken.get(BESIDE + name)
                host, kernels = _on_gpu(runs[name]) if case.device == "cuda" else (None, None)
                rows.append(
                    Timing(
                        cell=case.cell,
                        size=str(case.size),
                        work=work,
                        contender=name,
                        milliseconds=1000 * seconds,
                        speedup=_paired(taken[names[0]], times),
                        gigaflops=speed,
                        share_of_peak=speed / peak,
                        peak_gigaflops=peak,
                        gigabytes=bandwidth,
                        share_of_copy=bandwidth / copy,
                        copy_gigabytes=copy,
                        of_lstm=None if beside is None else _paired(times, beside),
                        peak_mib=None,
                        host_milliseconds=host,
                        kernel_milliseconds=kernels,
                        dtype=case.dtype,
                        lengths=case.lengths,
                        bidirectional=case.bidirectional,
                        threads=case.threads,
                        device=case.device,
                        rounds=len(times),
                    )
                )
        return rows

    def _runners(self, case: Case, names: list[str]) -> dict[str, Contender]:
        """The contenders that can run the case and have the loop's results."""
        runners = {}
        for name in names:
            if self._is_left_out(case, name):
                continue
            self.progress(f"{case.cell} {case.size}: {name} is checked")
            if name == FLASHRNN and self._has_built_enough(case):
                continue
            started = time.perf_counter()
            with self._logged(case.cell, name), self._failing(case, name):
                wrong = difference(case, name)
                if wrong is None:
                    runners[name] = contender(case, name)
                else:
                    self.notes.append(f"{name}: {_where(case)} is left out ({wrong})")
            if name == FLASHRNN:
                self._building += time.perf_counter() - started
        return runners

    def _has_built_enough(self, case: Case) -> bool:
        seconds = self.budget.seconds
        enough = seconds is not None and self._building > SHARE_OF_BUILDING * seconds
        if enough:
            self.notes.append(
                f"{FLASHRNN}: {_where(case)} is left out (its compiler has taken {self._building:.0f} s; "
                "what is built is kept, run again for the next sizes)"
            )
        return enough

    def _is_left_out(self, case: Case, name: str) -> bool:
        """Whether this engine cannot run the cell; the LSTM beside it is then left out as well."""
        return not {(case.cell, name), (case.cell, name.removeprefix(BESIDE))}.isdisjoint(self.left_out)

    def in_turns(self, case: Case, work: str, runs: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
        """Seconds per call of each contender in each round, after two calls that do not count."""
        calls = {}
        for name, run in runs.items():
            if self._is_left_out(case, name):
                continue
            self.progress(f"{case.cell} {case.size} {work}: {name} starts")
            with self._logged(case.cell, name), self._failing(case, name):
                run()
                if not self._is_left_out(case, name):
                    once = seconds_of(run, 1, case.device)
                    calls[name] = min(
                        MOST_CALLS, max(1, math.ceil(SECONDS_OF_A_MEASUREMENT / max(once, 1e-9)))
                    )
        calls = {name: count for name, count in calls.items() if not self._is_left_out(case, name)}
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for round_ in range(self.rounds):
            if round_ > 0 and self.budget.part_is_over:
                self.fewest_rounds = min(self.fewest_rounds, round_)
                break
            gc.collect()
            # In alternating order, so that no contender always follows the same other one.
            for name in list(calls)[:: 1 if round_ % 2 == 0 else -1]:
                self.progress(f"{case.cell} {case.size} {work}: {name}, round {round_ + 1} of {self.rounds}")
                taken[name].append(seconds_of(runs[name], calls[name], case.device))
        return taken

    @contextmanager
    def _failing(self, case: Case, name: str) -> Iterator[None]:
        """Note why a library or a CUDA graph fails; the others are still measured."""
        try:
            yield
        except Exception as error:
            if not may_fail(name):
                raise
            reason = next((line for line in str(error).splitlines() if line.strip()), "")
            self.notes.append(f"{name}: {_where(case)} is left out ({type(error).__name__}: {reason})")

    @contextmanager
    def _logged(self, cell: str, name: str) -> Iterator[None]:
        """Note what an engine logs, and leave it out where it logs that another engine runs instead."""
        lines: list[str] = []
        handler = logging.Handler(logging.INFO)
        handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
        log = logging.getLogger("gatewise.engine")
        level = log.level
        log.setLevel(logging.INFO)
        log.addHandler(handler)
        try:
            yield
        finally:
            log.removeHandler(handler)
            log.setLevel(level)
        self.notes += [line for line in lines if line not in self.notes]
        if name != "auto" and any(line.startswith(f"engine={name.removeprefix(BESIDE)}:") for line in lines):
            self.left_out.add((cell, name))


def _where(case: Case) -> str:
    return f"{case.cell} {case.size}, {case.lengths} lengths,"


def _on_gpu(run: Callable[[], Any]) -> tuple[float, float | None]:
    """Milliseconds of the host and of the kernels for one step."""
    kernels = kernel_seconds(run)
    return 1000 * host_seconds(run), None if kernels is None else 1000 * kernels


def _paired(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))
