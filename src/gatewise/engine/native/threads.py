"""The threads that torch keeps for its own operations, for compiled code to run on."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

import torch

_forked = False


def parallel() -> int:
    """Address of ``GOMP_parallel`` in the OpenMP library that torch has loaded, or 0 where there is none.

    A forked process has none of the threads that the library believes in, and waits for them for ever.
    """
    return 0 if _forked else _address()


@functools.cache
def _address() -> int:
    package = Path(torch.__file__).parent
    for folder in (package / "lib", package.with_name("torch.libs")):
        for path in folder.glob("lib*omp*.so*"):
            try:
                library = ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
                return ctypes.cast(library.GOMP_parallel, ctypes.c_void_p).value or 0
            except (OSError, AttributeError):  # not loaded, or another library
                continue
    return 0


def _note_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
