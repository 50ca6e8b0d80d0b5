"""From C source to functions in this process, by the compiler or from the cache."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import itertools
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from gatewise.engine.cache import cached, store
from gatewise.engine.request import Unsupported

COMPILERS = ("cc", "gcc", "clang")
# NaN and infinities keep their meaning. Only errno and floating-point traps are given up.
FLAGS = (
    "-std=gnu11",
    "-O3",
    "-fPIC",
    "-shared",
    "-pthread",
    "-fno-math-errno",
    "-fno-trapping-math",
    # It warns of vectors as parameters, whose calling convention depends on the flags. All such functions are
    # inlined.
    "-Wno-psabi",
    "-w",
)
COMPILE_SECONDS = 120
PREPROCESS_SECONDS = 30
"""For an empty file."""


def load(source: str) -> ctypes.CDLL:
    """The library of a C source, from the cache or the compiler; CC and CFLAGS are heeded.

    Raises Unsupported where there is no compiler, it fails, or its library cannot be loaded.
    """
    compiler, flags = _compiler(), (*FLAGS, *_words_of("CFLAGS", "flags of a C compiler"))
    key = hashlib.sha256("\0".join((source, *compiler, *flags, _machine())).encode()).hexdigest()[:40]
    content = cached(f"{key}.so")
    if content is not None:
        try:
            return _loaded(content)
        except OSError:  # made by another system that shares the home directory
            pass
    try:
        with tempfile.TemporaryDirectory(prefix="gatewise-") as temporary:
            command = (*compiler, *_native_flags(compiler), *flags)
            compiled = _compile(source, command, Path(temporary))
            store(f"{key}.so", compiled.read_bytes())
            # Loaded from a folder that nobody else can write; an open library outlives its file.
            return ctypes.CDLL(str(compiled))
    except OSError as error:  # a full disk, or one that is mounted noexec
        raise Unsupported(f"compiled code that cannot be written or loaded ({error})") from error


def check_compiler() -> None:
    """Raise Unsupported, with the reason, where nothing can be compiled here."""
    load("int gw_compiles(void) { return 1; }\n")


_counted = itertools.count(1)


def _loaded(content: bytes) -> ctypes.CDLL:
    """A library of these bytes, whatever has become of the file that they were read from."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        handle = os.memfd_create("gatewise")
        try:
            with open(handle, "wb", closefd=False) as file:
                file.write(content)
            # A name of its own: the loader takes a name that it had before for the library of before.
            return ctypes.CDLL(f"/proc/self/{'./' * next(_counted)}fd/{handle}")
        except OSError:  # where memory must not be run, a file may be
            pass
        finally:
            os.close(handle)
    with tempfile.TemporaryDirectory(prefix="gatewise-") as temporary:
        library = Path(temporary, "sequence.so")
        library.write_bytes(content)
        return ctypes.CDLL(str(library))


def _compile(source: str, command: tuple[str, ...], folder: Path) -> Path:
    path, library = folder / "sequence.c", folder / "sequence.so"
    path.write_text(source, encoding="utf-8")
    words = [*command, "-o", str(library), str(path), "-lm"]
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMPILE_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Unsupported(f"a C compiler that cannot be run ({error})") from error
    if done.returncode != 0 or not library.is_file():
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = next((line for line in lines if "error" in line), lines[0] if lines else "without a word")
        raise Unsupported(f"code that {command[0]} does not compile ({reason[:200]})")
    return library


@functools.cache
def _compiler() -> tuple[str, ...]:
    """The compiler's command: that of CC, or the first of COMPILERS that is installed.

    Raises Unsupported where there is none.
    """
    given = _words_of("CC", "a C compiler")
    if given:
        return given
    for name in COMPILERS:
        path = shutil.which(name)
        if path is not None:
            return (path,)
    raise Unsupported("no C compiler (CC, cc, gcc or clang)")


def _words_of(variable: str, what: str) -> tuple[str, ...]:
    """The words of an environment variable. Raises Unsupported where they cannot be told apart."""
    given = os.environ.get(variable, "")
    try:
        return tuple(shlex.split(given))
    except ValueError as error:
        raise Unsupported(f"{what} that cannot be read ({variable}={given}: {error})") from error


@functools.cache
def _native_flags(compiler: tuple[str, ...]) -> tuple[str, ...]:
    """The flags for which the compiler uses all instructions of this CPU; none where it knows none."""
    for flags in (("-march=native", "-mprefer-vector-width=512"), ("-march=native",), ("-mcpu=native",)):
        try:
            done = subprocess.run(
                [*compiler, *flags, "-x", "c", "-E", os.devnull],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PREPROCESS_SECONDS,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise Unsupported(f"a C compiler that cannot be run ({error})") from error
        if done.returncode == 0:
            return flags
    return ()


@functools.cache
def _machine() -> str:
    """What compiled code depends on: the CPU's architecture and its features."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        features = platform.processor()
    return f"{sys.platform} {platform.machine()} {features}"
