"""Large arrays that are kept in a file for the next training, and mapped from there."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from gatewise.data.kept import make_room

log = logging.getLogger(__name__)


def stored_once(
    place: Path | None, shape: tuple[int, ...], dtype: Any, fill: Callable[[NDArray[Any]], None]
) -> NDArray[Any]:
    """An array that ``fill`` fills, kept at ``place`` and mapped from there; in memory where that is None.

    Where the file is damaged or cannot be written, a line says so.
    """
    if place is None:
        return _filled(shape, dtype, fill)
    try:
        found: NDArray[Any] = np.load(place, mmap_mode="r", allow_pickle=False)
        if (found.shape, found.dtype) != (shape, np.dtype(dtype)):
            raise ValueError(f"an array {found.shape} of {found.dtype}")
    except FileNotFoundError:
        pass
    except (OSError, ValueError, EOFError) as error:
        log.warning("%s is damaged (%s): the pictures are read anew", place, str(error).split("\n", 1)[0])
    else:
        with contextlib.suppress(OSError):
            os.utime(place)  # used last
        return found
    part_place = place.with_name(f".{place.stem}.{os.getpid()}.npy")
    try:
        make_room(place.parent)
        array = open_memmap(part_place, "w+", dtype, shape)
        fill(array)
        array.flush()
        part_place.replace(place)
        kept: NDArray[Any] = np.load(place, mmap_mode="r", allow_pickle=False)
        return kept
    except OSError as error:
        log.warning("%s cannot be used (%s): the pictures stay in memory", place.parent, error)
        return _filled(shape, dtype, fill)
    finally:
        part_place.unlink(missing_ok=True)


def _filled(shape: tuple[int, ...], dtype: Any, fill: Callable[[NDArray[Any]], None]) -> NDArray[Any]:
    array = np.empty(shape, dtype)
    fill(array)
    return array
