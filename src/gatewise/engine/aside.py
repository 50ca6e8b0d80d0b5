"""Run something where none of the caller's modes and hooks apply."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def aside(function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)`` in a thread of its own, with gradients on and torch's other modes off.

    Modes (autocast, inference, a default device) and hooks (those of checkpointing, for one) belong to a
    thread.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()
