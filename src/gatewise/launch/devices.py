"""Which GPUs and how many CPU threads each of several jobs gets that run side by side on one machine."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Mapping, Sequence

_A_GPU = re.compile(r"\d+|(GPU|MIG)-[\w/-]+")


def share(slot: int, slots: int) -> dict[str, str]:
    """Environment variables for the job in place ``slot`` of ``slots`` that run at the same time here.

    They have to be set before the job's process imports torch: neither CUDA nor OpenMP reads them again. A
    queue longer than ``slots`` gives a place to the next job when one has ended.

    Raises ValueError where there is no such place.
    """
    return assigned(slot, slots, visible_gpus(os.environ), usable_cores())


def assigned(slot: int, slots: int, gpus: Sequence[str], cores: int) -> dict[str, str]:
    """As :func:`share`, on a machine with these GPUs (as ``CUDA_VISIBLE_DEVICES`` names them) and cores.

    As many GPUs as go round, to each place its own; where places outnumber them, places take turns to share
    one. Without GPUs nothing is said about them.
    """
    if not 0 <= slot < slots:
        raise ValueError(f"place {slot} of {slots} jobs side by side: places count from 0 to {slots - 1}")
    mine = gpus[slot * len(gpus) // slots : (slot + 1) * len(gpus) // slots]
    if len(gpus) < slots:
        mine = [gpus[slot % len(gpus)]] if gpus else []
    threads = max(1, (slot + 1) * cores // slots - slot * cores // slots)
    variables = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return {"CUDA_VISIBLE_DEVICES": ",".join(mine), **variables} if gpus else variables


def visible_gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The GPUs that CUDA would find, found without starting it: what a fork starts with cannot be undone.

    Those of ``CUDA_VISIBLE_DEVICES``, up to the first that is none, as CUDA reads it; else what
    ``nvidia-smi`` lists.
    """
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return tuple(str(index) for index in range(_installed_gpus()))
    found = []
    for name in chosen.split(","):
        if not _A_GPU.fullmatch(name.strip()):
            break
        found.append(name.strip())
    return tuple(found)


@functools.cache
def _installed_gpus() -> int:
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return 0
    # "GPU 0: NVIDIA H100 (UUID: ...)"; the parts of a divided one are indented below it.
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def most_threads() -> int:
    """Threads of one process that are not clearly more than this machine can run."""
    return max(64, 4 * usable_cores())


def most_processes() -> int:
    """Processes of one training on CPUs that are not clearly more than this machine can run."""
    return max(16, 4 * usable_cores())


def most_jobs() -> int:
    """Trainings side by side that are not clearly more than this machine can run, with GPUs or without."""
    return max(32, 4 * usable_cores())


def usable_cores() -> int:
    """CPU cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
