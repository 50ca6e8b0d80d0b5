"""A process of its own for what only a fresh one can show: memory at its peak, and a first call.

``python -m gatewise.bench.process`` answers one question, asked as JSON on its command line, as JSON.
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

# Each larger tensor is asked of the system and given back to it, so that what a process holds is what its
# tensors hold: else freed memory stays with the process, and a peak fits into what was free before.
_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
MIB = 2**20


class Start(NamedTuple):
    """Seconds to the first gradients of a fresh process, for a few short sequences; a row of the CSV file."""

    cell: str
    contender: str
    imports: float
    """Of gatewise.nn, torch being there."""
    compiling: float
    """The first training step without anything kept from before."""
    cached: float
    """The first training step of a later process: median."""
    second: float
    """The second training step of that process: median."""
    beyond_torch: float
    """``cached`` beyond the first training step of torch.nn: of the same cell, or of its LSTM."""


def peak_of_step(case: Case, name: str) -> float:
    """MiB that the first training step on the case's size takes beyond weights and sequences, at its peak.

    In a fresh process that has done a step on a tiny batch, so that imports, compiled code and the libraries'
    own memory are there. Linux tells the most that was ever resident (VmHWM), which is set back (clear_refs)
    right before the step; elsewhere it is the peak of the whole process (ru_maxrss) beyond that before the
    step, which hides what fits below an earlier peak. JAX compiles for each size, which counts.
    """
    return float(_ask({"question": "memory", "case": case.values(), "name": name})["mib"])


def start(case: Case, name: str, rounds: int) -> Start:
    """Seconds of the first steps of ``name``, over a few short sequences, each in a fresh process."""
    few = replace(case, size=Size(8, 4, case.size.inputs, case.size.hidden))
    torchs = few if case.cell in TORCH_CELLS else replace(few, cell="LSTM")
    question = {"question": "start", "case": few.values(), "name": name}
    reference = {"question": "start", "case": torchs.values(), "name": TORCH}
    with tempfile.TemporaryDirectory(prefix="gatewise-bench-") as folder:
        first = _ask(question, XDG_CACHE_HOME=folder)
        later, theirs = [], []
        for _ in range(rounds):
            later.append(_ask(question, XDG_CACHE_HOME=folder))
            theirs.append(_ask(reference)["first"])
    cached = statistics.median(answer["first"] for answer in later)
    return Start(
        cell=case.cell,
        contender=name,
        imports=statistics.median(answer["imports"] for answer in later),
        compiling=first["first"],
        cached=cached,
        second=statistics.median(answer["second"] for answer in later),
        beyond_torch=cached - statistics.median(theirs),
    )


def _ask(question: dict[str, Any], **environment: str) -> dict[str, float]:
    words = [sys.executable, "-m", "gatewise.bench.process", json.dumps(question)]
    done = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, **_ENVIRONMENT, **environment}
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words[1:])}\n{done.stderr}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _memory(case: Case, name: str) -> dict[str, float]:
    from gatewise.bench.contenders import contender

    contender(replace(case, size=Size(2, 1, case.size.inputs, case.size.hidden)), name).train()
    measured = contender(case, name)
    gc.collect()
    before = _forget_peak()
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


def _forget_peak() -> int:
    """Bytes resident now; from here on the peak is counted anew, where the system can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return _peak()


def _peak() -> int:
    """The most bytes that were resident."""
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
