"""The threads that torch keeps for its own operations; compiled code runs on them too."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

import torch

_forked = False


def openmp() -> tuple[int, int]:
    """Addresses of ``GOMP_parallel`` and ``omp_get_num_threads`` in the OpenMP library that torch has loaded.

    Both are 0 where there is none, and in a forked process: it has none of the threads that the library still
    counts on, and would wait for them for ever.
    """
    return (0, 0) if _forked else _addresses()


@functools.cache
def _addresses() -> tuple[int, int]:
    package = Path(torch.__file__).parent
    for folder in (package / "lib", package.with_name("torch.libs")):
        for path in folder.glob("lib*omp*.so*"):
            try:
                library = ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
                parallel, members = library.GOMP_parallel, library.omp_get_num_threads
            except (OSError, AttributeError):  # not loaded, or not GNU's OpenMP
                continue
            return _address(parallel), _address(members)
    return 0, 0


def _address(function: object) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


def _note_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
