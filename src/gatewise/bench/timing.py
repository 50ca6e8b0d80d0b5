"""Times of all contenders, measured in turns, and the speed of the machine's matrix product."""

from __future__ import annotations

import gc
import logging
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from gatewise.bench.case import DTYPES, Case
from gatewise.bench.contenders import BESIDE, GRAPH, KERAS, contender, operations

# A measurement repeats the call of one contender until it lasts this long: a single call of the smallest size
# is shorter than the noise of the clock and of the machine's other processes.
SECONDS_OF_A_MEASUREMENT = 0.02
MOST_CALLS = 1000


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
    of_lstm: float | None
    """For a cell that torch lacks: its time over that of the plain LSTM on the same engine, likewise."""
    peak_mib: float | None
    """Peak memory of a training step beyond weights and sequences, where it was asked for."""
    dtype: str
    lengths: str
    bidirectional: bool
    threads: int
    device: str


class Bench:
    """One run of the benchmark: contenders that cannot run a cell are left out, and the notes say why."""

    def __init__(self, rounds: int, progress: Callable[[str], None]) -> None:
        self.rounds, self.progress = rounds, progress
        self.notes: list[str] = []
        self.left_out: set[tuple[str, str]] = set()

    def timings(self, case: Case, names: list[str], works: list[str]) -> list[Timing]:
        """A row for each work and contender; the first of ``names`` is the reference."""
        peak = _matrix_peak(case)
        runners = {name: contender(case, name) for name in names if not self._is_left_out(case, name)}
        rows = []
        for work in works:
            runs = {name: runner.run(work) for name, runner in runners.items()}
            taken = self.in_turns(case, work, runs)
            flops = operations(case, work)
            for name, times in taken.items():
                if name.startswith(BESIDE):
                    continue
                seconds = statistics.median(times)
                speed = flops / seconds / 1e9
                beside = taken.get(BESIDE + name)
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
                        of_lstm=None if beside is None else _paired(times, beside),
                        peak_mib=None,
                        dtype=case.dtype,
                        lengths=case.lengths,
                        bidirectional=case.bidirectional,
                        threads=case.threads,
                        device=case.device,
                    )
                )
        return rows

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
            with self._logged(case.cell, name), self._failing(case.cell, name):
                run()
            if self._is_left_out(case, name):
                continue
            once = _seconds(run, 1, case.device)
            calls[name] = min(MOST_CALLS, max(1, math.ceil(SECONDS_OF_A_MEASUREMENT / max(once, 1e-9))))
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for round_ in range(self.rounds):
            gc.collect()
            # In alternating order, so that no contender always follows the same other one.
            for name in list(calls)[:: 1 if round_ % 2 == 0 else -1]:
                self.progress(f"{case.cell} {case.size} {work}: {name}, round {round_ + 1} of {self.rounds}")
                taken[name].append(_seconds(runs[name], calls[name], case.device))
        return taken

    @contextmanager
    def _failing(self, cell: str, name: str) -> Iterator[None]:
        """Leave out Keras, or a CUDA graph, where it fails; the others are still measured."""
        try:
            yield
        except Exception as error:
            if name not in (KERAS, GRAPH):
                raise
            self.left_out.add((cell, name))
            reason = next((line for line in str(error).splitlines() if line.strip()), "")
            self.notes.append(f"{name}: {cell} is left out ({type(error).__name__}: {reason})")

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


def _matrix_peak(case: Case) -> float:
    """GFLOP/s of torch's product of two square matrices: the best of twelve."""
    size = 1024 if case.device == "cpu" else 8192
    a, b = (torch.randn(size, size, device=case.device).to(DTYPES[case.dtype]) for _ in range(2))
    best = min(_seconds(lambda: torch.mm(a, b), 1, case.device) for _ in range(12))
    return 2 * size**3 / best / 1e9


def _paired(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def _seconds(run: Callable[[], Any], calls: int, device: str = "cpu") -> float:
    """Seconds per call, until the device has done its work, with garbage collection switched off."""
    gc.disable()
    try:
        _finish(device)
        started = time.perf_counter()
        for _ in range(calls):
            run()
        _finish(device)
        return (time.perf_counter() - started) / calls
    finally:
        gc.enable()


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
