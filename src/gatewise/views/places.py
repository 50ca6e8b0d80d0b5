"""How the user calls this program, and paths as the user would write them."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path


def command(*words: str) -> str:
    """A command line of this program that a shell reads as these words."""
    return " ".join([program(), *map(_quoted, words)])


def _quoted(word: str) -> str:
    """A word for a shell, with the quotes of ``key=value`` around the value."""
    key, equals, value = word.partition("=")
    return f"{key}={quoted(value)}" if equals and shlex.quote(key) == key else quoted(word)


def quoted(word: str) -> str:
    """A word for bash or zsh, in which what is not printable is written out."""
    return shlex.quote(word) if word.isprintable() else f"$'{''.join(map(_ansi_c, word))}'"


def _ansi_c(character: str) -> str:
    code = ord(character)
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def setting(key: str, value: Path | str) -> str:
    """``key=value``, for a setting whose value is taken as it is typed (a path, words)."""
    return f"{key}={short(value) if isinstance(value, Path) else value}"


def program() -> str:
    """The command that calls this program, quoted for a shell: its name if on the path, else its file."""
    called = Path(sys.argv[0])
    if called.name != "gatewise":
        return "python -m gatewise"
    on_path = shutil.which("gatewise")
    return "gatewise" if on_path and Path(on_path).samefile(called) else quoted(short(called))


def short(path: Path) -> str:
    """A path relative to the working folder; unchanged if it is outside."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
