"""Kernels of the cuda engine on a CPU, as fibers: to check them where there is no GPU."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from gatewise.engine import cuda
from gatewise.engine.cache import cached, store
from gatewise.engine.cuda import launcher
from gatewise.engine.cuda.plan import Gpu

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
FLAGS = ("-w", "-std=c++17", "-O0", "-fPIC", "-shared")
COMPILE_SECONDS = 120
FAULTS = {1: "it waits in vain", 2: "it writes beyond its shared memory"}

# A machine without a compiler is no reason to pass where everything has to be tried.
needs_cpp = pytest.mark.skipif(
    COMPILER is None and os.environ.get("CI") != "true", reason="no C++ compiler to emulate a GPU with"
)


H100 = Gpu(multiprocessors=132, shared_memory=227 * 1024, capability=(9, 0))


class Emulator:
    """Runs kernels on tensors of the CPU."""

    arch = "emulated"

    def __init__(self, gpu: Gpu = H100) -> None:
        self.gpu = gpu

    def kernel(self, source: str, name: str) -> Any:
        return getattr(_library(source), name)

    def prepare(self, *numbers: Any) -> None:
        pass

    def launch(
        self,
        kernel: Any,
        words: Sequence[int],
        blocks: int,
        threads: int,
        shared: int = 0,
        cluster: int = 0,
        cooperative: bool = False,  # noqa: ARG002
        models: int = 1,
    ) -> None:
        given = (ctypes.c_int64 * len(words))(*words)
        code = kernel(ctypes.byref(given), blocks, models, threads, shared, cluster)
        assert code == 0, FAULTS[code]


@contextmanager
def emulated_gpu(gpu: Gpu = H100) -> Iterator[Emulator]:
    """A context in which the cuda engine takes tensors of the CPU."""
    emulator = Emulator(gpu)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launcher, "makers", {"cpu": lambda _: emulator})
        patch.setattr(launcher, "_launchers", {})
        patch.setattr(cuda, "_designs", WeakKeyDictionary())
        yield emulator


@functools.cache
def _library(source: str) -> ctypes.CDLL:
    assert COMPILER is not None
    text = Path(__file__).with_name("emulate.h").read_text() + source
    key = hashlib.sha256("\0".join((text, COMPILER, *FLAGS)).encode()).hexdigest()[:40]
    content = cached(f"{key}.so")
    with tempfile.TemporaryDirectory() as folder:
        path, library = Path(folder, "kernel.cpp"), Path(folder, "kernel.so")
        if content is None:
            path.write_text(text)
            words = [COMPILER, *FLAGS, "-o", str(library), str(path)]
            done = subprocess.run(words, capture_output=True, text=True, timeout=COMPILE_SECONDS)
            assert done.returncode == 0, done.stderr[:3000]
            store(f"{key}.so", library.read_bytes())
        else:
            library.write_bytes(content)
        return ctypes.CDLL(str(library))
