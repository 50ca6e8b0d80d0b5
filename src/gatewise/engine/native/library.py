"""C source to functions in this process: the compiler, the cache on disk, and torch's own matrix product."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from gatewise.engine.native.trace import Unsupported

COMPILERS = ("cc", "gcc", "clang")
# NaN and infinities keep their meaning; given up is only what a look at errno or a trap would show.
FLAGS = (
    "-std=gnu11",
    "-O3",
    "-fPIC",
    "-shared",
    "-pthread",
    "-fopenmp-simd",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-w",
)
COMPILE_SECONDS = 120


def load(source: str) -> ctypes.CDLL:
    """The library of a C source, from the cache or the compiler.

    Raises Unsupported where there is no compiler, it fails, or what it made cannot be loaded.
    """
    compiler = _compiler()
    flags = (*FLAGS, *_native_flags(compiler))
    key = hashlib.sha256("\0".join((source, *compiler, *flags, _machine())).encode()).hexdigest()[:40]
    folder = _cache_folder()
    if folder is not None:
        library = _cached(folder / f"{key}.so")
        if library is not None:
            return library
    try:
        with tempfile.TemporaryDirectory(prefix="gatewise-") as workshop:
            made = _compile(source, (*compiler, *flags), Path(workshop))
            if folder is not None:
                _store(made, folder / f"{key}.so")
            # Loaded from where nobody else writes; the open library outlives its file.
            return ctypes.CDLL(str(made))
    except OSError as error:  # a full disk, or one from which nothing may be run
        raise Unsupported(f"compiled code that cannot be written or loaded ({error})") from error


def _compile(source: str, command: tuple[str, ...], folder: Path) -> Path:
    path, made = folder / "sequence.c", folder / "sequence.so"
    path.write_text(source, encoding="utf-8")
    words = [*command, "-o", str(made), str(path), "-lm"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=COMPILE_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unsupported(f"a C compiler that cannot be run ({error})") from error
    if done.returncode != 0 or not made.is_file():
        reason = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200])
        raise Unsupported(f"code that {command[0]} does not compile ({reason.strip()})")
    return made


@functools.cache
def _compiler() -> tuple[str, ...]:
    """The compiler's command: CC's, or the first that is there. Raises Unsupported where there is none."""
    if os.environ.get("CC"):
        return tuple(shlex.split(os.environ["CC"]))
    for name in COMPILERS:
        found = shutil.which(name)
        if found is not None:
            return (found,)
    raise Unsupported("no C compiler (CC, cc, gcc or clang)")


@functools.cache
def _native_flags(compiler: tuple[str, ...]) -> tuple[str, ...]:
    """The flag that lets the compiler use all of this CPU, where it knows one."""
    for flag in ("-march=native", "-mcpu=native"):
        try:
            done = subprocess.run(
                [*compiler, flag, "-x", "c", "-E", os.devnull], capture_output=True, timeout=COMPILE_SECONDS
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise Unsupported(f"a C compiler that cannot be run ({error})") from error
        if done.returncode == 0:
            return (flag,)
    return ()


@functools.cache
def _machine() -> str:
    """What compiled code depends on: the kind of CPU and what it can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        features = platform.processor()
    return f"{sys.platform} {platform.machine()} {features}"


def _cache_folder() -> Path | None:
    """A folder of this user's alone, or None where there is none: code is loaded from it."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = Path(home).expanduser() / "gatewise" / "engine"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        state = folder.stat()
    except (OSError, RuntimeError):  # a home that nobody knows is a RuntimeError
        return None
    ours = not hasattr(os, "getuid") or state.st_uid == os.getuid()
    return folder if ours and not state.st_mode & 0o022 else None


def _cached(path: Path) -> ctypes.CDLL | None:
    """The library in the cache, or None where it is not there or not whole: loading half a file crashes."""
    try:
        expected = path.with_suffix(".sha256").read_text(encoding="utf-8").strip()
        if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            return None
        return ctypes.CDLL(str(path))
    except (OSError, UnicodeDecodeError):
        return None


def _store(made: Path, path: Path) -> None:
    """Put a library into the cache, whole or not at all; where it cannot be, the next process compiles."""
    content = made.read_bytes()
    digest = hashlib.sha256(content).hexdigest() + "\n"
    try:
        for target, data in ((path, content), (path.with_suffix(".sha256"), digest.encode())):
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                Path(name).replace(target)
            except OSError:
                Path(name).unlink()
                raise
    except OSError:
        return


@functools.cache
def product(dtype: torch.dtype) -> int:
    """Address of the matrix product that torch itself uses. Raises Unsupported where torch hides it."""
    name = {torch.float32: "sgemm_", torch.float64: "dgemm_"}[dtype]
    return _address(name)


@functools.cache
def set_threads() -> int | None:
    """Address of what sets the threads of this thread's products, or None where there is no such thing."""
    try:
        return _address("MKL_Set_Num_Threads_Local")
    except Unsupported:
        return None


def _address(symbol: str) -> int:
    for library in _torch_libraries():
        function = getattr(library, symbol, None)
        if function is not None:
            address = ctypes.cast(function, ctypes.c_void_p).value
            assert address is not None
            return address
    raise Unsupported(f"a torch that does not show {symbol}")


@functools.cache
def _torch_libraries() -> tuple[ctypes.CDLL, ...]:
    folder = Path(torch.__file__).parent / "lib"
    names = ("libtorch_cpu.so", "libtorch_cpu.dylib")
    return tuple(ctypes.CDLL(str(folder / name)) for name in names if (folder / name).is_file())
