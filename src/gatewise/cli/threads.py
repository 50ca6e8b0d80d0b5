"""How many threads a verb computes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from threadpoolctl import threadpool_limits


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Many small steps one after the other: more threads would wait for each other at every one of them."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, "blas"):  # that of numpy
            yield
    finally:
        torch.set_num_threads(count)
