"""Measurements that need a fresh process: peak memory, and the time of a first call.

``python -m gatewise.bench.process`` takes one question as JSON on its command line and prints the answer as
JSON.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from gatewise.bench.case import TORCH, TORCH_CELLS, Case, Size
from gatewise.launch.own_code import python

# Larger tensors are allocated from the system and returned to it, so that a process holds what its tensors
# hold. Otherwise freed memory would stay with the process and hide a peak.
_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
MIB = 2**20


class Start(NamedTuple):
    """Seconds to the first gradients of a fresh process, for a few short sequences; a row of the CSV file."""

    cell: str
    contender: str
    imports: float
    """Importing gatewise.nn after torch."""
    compiling: float
    """The first training step with an empty cache."""
    cached: float
    """The first training step of a later process: median."""
    second: float
    """The second training step of that process: median."""
    beyond_torch: float
    """``cached`` minus the first training step of torch.nn with the same cell, or with its LSTM."""


def peak_of_step(case: Case, name: str) -> float:
    """Peak memory, in MiB, of the first training step of the case's size, beyond weights and sequences.

    Measured in a fresh process after a step on a tiny batch, so that imports, compiled code and the
    libraries' own memory are there already. On Linux it is the peak resident size (VmHWM), reset (clear_refs)
    right before the step. Elsewhere it is by how much the step raises the peak of the process (ru_maxrss),
    which misses what fits below an earlier peak. JAX compiles for each size, which counts.
    """
    return float(_ask({"question": "memory", "case": case.values(), "name": name})["mib"])


def start(case: Case, name: str, rounds: int) -> Start:
    """Seconds of the first steps of a contender over a few short sequences, each in a fresh process."""
    few = replace(case, size=Size(8, 4, case.size.inputs, case.size.hidden))
    few_of_torch = few if case.cell in TORCH_CELLS else replace(few, cell="LSTM")
    question = {"question": "start", "case": few.values(), "name": name}
    reference = {"question": "start", "case": few_of_torch.values(), "name": TORCH}
    with tempfile.TemporaryDirectory(prefix="gatewise-bench-") as folder:
        first = _ask(question, XDG_CACHE_HOME=folder)
        later, of_torch = [], []
        for _ in range(rounds):
            later.append(_ask(question, XDG_CACHE_HOME=folder))
            of_torch.append(_ask(reference)["first"])
    cached = statistics.median(answer["first"] for answer in later)
    return Start(
        cell=case.cell,
        contender=name,
        imports=statistics.median(answer["imports"] for answer in later),
        compiling=first["first"],
        cached=cached,
        second=statistics.median(answer["second"] for answer in later),
        beyond_torch=cached - statistics.median(of_torch),
    )


def _ask(question: dict[str, Any], **environment: str) -> dict[str, float]:
    words = python("gatewise.bench.process", json.dumps(question))
    done = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, **_ENVIRONMENT, **environment}
    )
    if done.returncode != 0:
        raise RuntimeError(f"gatewise.bench.process {words[-1]}\n{done.stderr}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _memory(case: Case, name: str) -> dict[str, float]:
    from gatewise.bench.contenders import contender

    contender(replace(case, size=Size(2, 1, case.size.inputs, case.size.hidden)), name).train()
    measured = contender(case, name)
    gc.collect()
    before = _reset_peak()
    measured.train()
    return {"mib": (_peak() - before) / MIB}


def _start(case: Case, name: str) -> dict[str, float]:
    started = time.perf_counter()
    from gatewise.bench.contenders import contender

    imports = time.perf_counter() - started
    measured = contender(case, name)
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        measured.train()
        seconds.append(time.perf_counter() - started)
    return {"imports": imports, "first": seconds[0], "second": seconds[1]}


def _reset_peak() -> int:
    """Resets the peak where the system can, and returns the bytes that are resident now (or the peak)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return _peak()


def _peak() -> int:
    """Peak resident size, in bytes."""
    try:
        return _status("VmHWM")
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{key}:"))
    return 1024 * int(line.split()[1])


def _main() -> None:
    import torch

    question = json.loads(sys.argv[1])
    case = Case.of(question["case"])
    torch.set_num_threads(case.threads)
    answer = {"memory": _memory, "start": _start}[question["question"]](case, question["name"])
    print(json.dumps(answer))


if __name__ == "__main__":
    _main()
