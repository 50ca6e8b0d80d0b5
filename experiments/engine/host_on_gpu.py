"""What the host adds to a training step's kernels on a GPU, with autograd's own thread and without.

Prints a table in Markdown: ``python experiments/engine/host_on_gpu.py``. One layer, (T, B, H) = (128, 64,
128), as many inputs; microseconds of an eager step and of the same step as a CUDA graph, which is what its
kernels take: medians of rounds in turns. ``gatewise train`` runs backward passes without autograd's thread.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from gatewise.bench.case import TORCH, Case, Size
from gatewise.bench.contenders import GRAPH, contender

ROUNDS, STEPS = 11, 40


def microseconds(step: Callable[[], Any]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / STEPS * 1e6


def timed(case: Case, name: str) -> list[float]:
    """Of a step with autograd's thread, without, and of its kernels."""
    eager, graph = contender(case, name).train, contender(case, name + GRAPH).train
    for step in (eager, eager, graph):
        microseconds(step)
    found: list[list[float]] = [[], [], []]
    for _ in range(ROUNDS):
        for own_thread, times in zip((True, False), found, strict=False):
            with torch.autograd.set_multithreading_enabled(own_thread):
                times.append(microseconds(eager))
        found[2].append(microseconds(graph))
    return [statistics.median(times) for times in found]


def main() -> None:
    print("| cell, dtype, engine | step | without autograd's thread | its kernels |")
    print("|---|---|---|---|")
    for dtype in ("bfloat16", "tf32"):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = dtype == "tf32"
        for cell in ("LSTM", "GRU"):
            for name in (TORCH, "cuda"):
                case = Case(cell, Size(128, 64, 128, 128), dtype, "full", device="cuda")
                times = " | ".join(f"{time:.0f}" for time in timed(case, name))
                print(f"| {cell}, {dtype}, {name} | {times} |", flush=True)


if __name__ == "__main__":
    main()
