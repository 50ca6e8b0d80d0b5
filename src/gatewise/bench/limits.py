"""The machine's limits: how fast it multiplies large matrices, and how fast it copies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from gatewise.bench.case import DTYPES
from gatewise.bench.clock import seconds_of
from gatewise.settings.memory import memory

MIB = 2**20
TRIES = 12
BYTES = {"cpu": 256 * MIB, "cuda": 1024 * MIB}
"""Bytes that are copied: more than any cache holds."""


class Limits(NamedTuple):
    """Measured with torch's own product and copy, on as many threads as the contenders have."""

    gigaflops: dict[str, float]
    """By dtype."""
    copy: float
    """GB/s, read and written bytes together."""


def limits(device: str, dtype: str) -> Limits:
    """Limits of the device: products in its usual dtypes and in ``dtype``."""
    kinds = ("bfloat16", "tf32", "float32") if device == "cuda" else ("float32",)
    return Limits({kind: matrix_peak(device, kind) for kind in dict.fromkeys((dtype, *kinds))}, _copy(device))


def matrix_peak(device: str, dtype: str) -> float:
    """GFLOP/s of torch's product of two square matrices: the best of twelve."""
    size = 1024 if device == "cpu" else 8192
    a, b = (torch.randn(size, size, device=device).to(DTYPES[dtype]) for _ in range(2))
    with _tf32(dtype == "tf32"):
        best = min(seconds_of(lambda: torch.mm(a, b), 1, device) for _ in range(TRIES))
    return 2 * size**3 / best / 1e9


def _copy(device: str) -> float:
    """GB/s of a large copy: the best of twelve, after one that does not count."""
    count = BYTES[device] if device == "cuda" else min(BYTES[device], memory() // 16)
    source = torch.ones(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    best = min(seconds_of(lambda: target.copy_(source), 1, device) for _ in range(TRIES))
    return 2 * count / best / 1e9


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
