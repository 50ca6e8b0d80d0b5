"""From C source to functions in this process: the compiler, and the cache on disk."""

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
    """The library of a C source, from the cache or the compiler.

    Raises Unsupported where there is no compiler, it fails, or its library cannot be loaded.
    """
    compiler = _compiler()
    key = hashlib.sha256("\0".join((source, *compiler, *FLAGS, _machine())).encode()).hexdigest()[:40]
    folder = _cache_folder()
    if folder is not None and _cached(folder / f"{key}.so") is not None:
        try:
            return ctypes.CDLL(str(folder / f"{key}.so"))
        except OSError:  # made by another system that shares the home directory
            pass
    try:
        with tempfile.TemporaryDirectory(prefix="gatewise-") as temporary:
            command = (*compiler, *FLAGS, *_native_flags(compiler))
            compiled = _compile(source, command, Path(temporary))
            if folder is not None:
                _store(compiled.read_bytes(), folder / f"{key}.so")
            # Loaded from a folder that nobody else can write; an open library outlives its file.
            return ctypes.CDLL(str(compiled))
    except OSError as error:  # a full disk, or one that is mounted noexec
        raise Unsupported(f"compiled code that cannot be written or loaded ({error})") from error


def check_compiler() -> None:
    """Raise Unsupported, with the reason, where nothing can be compiled here."""
    load("int gw_compiles(void) { return 1; }\n")


def load_text(key: str) -> str | None:
    """The text that :func:`store_text` put into the cache, or None where it is missing or damaged."""
    folder = _cache_folder()
    content = None if folder is None else _cached(folder / f"{key}.json")
    return None if content is None else content.decode(errors="replace")


def store_text(key: str, text: str) -> None:
    """Put a text into the cache. Where that fails, the next process does without it."""
    folder = _cache_folder()
    if folder is not None:
        _store(text.encode(), folder / f"{key}.json")


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
    given = os.environ.get("CC", "")
    if given.strip():
        try:
            return tuple(shlex.split(given))
        except ValueError as error:
            raise Unsupported(f"a C compiler that cannot be read (CC={given}: {error})") from error
    for name in COMPILERS:
        path = shutil.which(name)
        if path is not None:
            return (path,)
    raise Unsupported("no C compiler (CC, cc, gcc or clang)")


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


def _cache_folder() -> Path | None:
    """A folder that only this user can write, or None: code is loaded from it."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = Path(home).expanduser() / "gatewise" / "engine"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        state = folder.stat()
    except (OSError, RuntimeError):  # RuntimeError where the home directory is unknown
        return None
    is_owner = not hasattr(os, "getuid") or state.st_uid == os.getuid()
    return folder if is_owner and not state.st_mode & 0o022 else None


def _cached(path: Path) -> bytes | None:
    """The content of a file in the cache, or None where it is missing or damaged."""
    try:
        expected = path.with_name(path.name + ".sha256").read_text(encoding="utf-8").strip()
        content = path.read_bytes()
    except (OSError, UnicodeDecodeError):
        return None
    return content if hashlib.sha256(content).hexdigest() == expected else None


def _store(content: bytes, path: Path) -> None:
    """Put a file into the cache, complete or not at all."""
    digest = hashlib.sha256(content).hexdigest() + "\n"
    try:
        for target, data in ((path, content), (path.with_name(path.name + ".sha256"), digest.encode())):
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
