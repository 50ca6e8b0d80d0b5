"""The time of a call, of the host that starts it, and of the kernels that it starts."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch

STEPS = 5
"""Steps of which the host's time is the median."""


def seconds_of(run: Callable[[], Any], calls: int, device: str = "cpu") -> float:
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


def host_seconds(run: Callable[[], Any]) -> float:
    """Seconds in which a GPU's host starts one step, from an idle GPU until the call returns."""
    taken = []
    gc.disable()
    try:
        for _ in range(STEPS):
            _finish("cuda")
            started = time.perf_counter()
            run()
            taken.append(time.perf_counter() - started)
        _finish("cuda")
    finally:
        gc.enable()
    return statistics.median(taken)


def kernel_seconds(run: Callable[[], Any]) -> float | None:
    """Seconds in which a GPU is at work in one step; None where its profiler sees no kernel."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], acc_events=True) as profiler:
        run()
        _finish("cuda")
    events = profiler.events() or ()
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in events
        if event.device_type == DeviceType.CUDA
    ]
    return covered(spans) / 1e6 if spans else None


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length that spans cover together, each point of it counted once."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
