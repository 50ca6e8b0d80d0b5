"""From CUDA C to machine code by NVRTC, the compiler that comes with torch for a GPU: no nvcc, no headers."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import sys
from pathlib import Path

from gatewise.engine.cache import cached, store
from gatewise.engine.request import Unsupported

# Lambdas with types of their own are compiled for the GPU only where that is the default.
FLAGS = ("--std=c++17", "--device-as-default-execution-space", "--ptxas-options=-v")


class _Nvrtc:
    """The library, and the name it was loaded by."""

    def __init__(self) -> None:
        self.library = _loaded()
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        self.version = f"{major.value}.{minor.value}"

    def compile(self, source: str, arch: str) -> tuple[bytes, str]:
        """Machine code for an architecture, and what the compiler said."""
        library, program = self.library, ctypes.c_void_p()
        options = [f"--gpu-architecture={arch}".encode(), *(flag.encode() for flag in FLAGS)]
        code = library.nvrtcCreateProgram(
            ctypes.byref(program), source.encode(), b"sequence.cu", 0, None, None
        )
        if code:
            raise Unsupported(f"NVRTC that makes no program (error {code})")
        try:
            given = (ctypes.c_char_p * len(options))(*options)
            code = library.nvrtcCompileProgram(program, len(options), given)
            log = self._text(program, "ProgramLog")
            if code:
                lines = [line.strip() for line in log.splitlines() if "error" in line] or ["without a word"]
                raise Unsupported(f"code that NVRTC {self.version} does not compile ({lines[0][:200]})")
            return self._bytes(program, "CUBIN"), log
        finally:
            library.nvrtcDestroyProgram(ctypes.byref(program))

    def _bytes(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(self.library, f"nvrtcGet{what}")(program, buffer)
        return buffer.raw

    def _text(self, program: ctypes.c_void_p, what: str) -> str:
        return self._bytes(program, what).rstrip(b"\0").decode(errors="replace")


def compiled(source: str, arch: str) -> bytes:
    """Machine code for an architecture such as ``sm_90``, from the cache or the compiler.

    Raises Unsupported where there is no NVRTC, or it does not take the source.
    """
    nvrtc = _nvrtc()
    key = hashlib.sha256("\0".join((source, arch, nvrtc.version, *FLAGS)).encode()).hexdigest()[:40]
    content = cached(f"{key}.cubin")
    if content is None:
        content, _ = nvrtc.compile(source, arch)
        store(f"{key}.cubin", content)
    return content


def report(source: str, arch: str) -> str:
    """What the compiler says of a source: registers and spilled bytes of each kernel."""
    return _nvrtc().compile(source, arch)[1]


@functools.cache
def _nvrtc() -> _Nvrtc:
    return _Nvrtc()


def _loaded() -> ctypes.CDLL:
    """The newest NVRTC that is there: the system's, or one of pip's packages."""
    folders = [Path(entry, "nvidia") for entry in sys.path if entry]
    # What NVRTC opens by its bare name must be loaded before: pip's libraries do not look beside themselves.
    for builtins in _found(folders, "libnvrtc-builtins.so.1*"):
        try:
            ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)
        except OSError:
            continue
    names = ["libnvrtc.so.13", "libnvrtc.so.12", *map(str, _found(folders, "libnvrtc.so.1[0-9]"))]
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise Unsupported("no NVRTC, which comes with torch for a GPU (or pip install nvidia-cuda-nvrtc-cu12)")


def _found(folders: list[Path], pattern: str) -> list[Path]:
    return sorted({path for folder in folders for path in folder.glob(f"*/lib/{pattern}")}, reverse=True)
