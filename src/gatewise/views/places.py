"""How the user calls this program and its files."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def program() -> str:
    """How the user calls this program: by name where it is on the path, else by its file."""
    called = Path(sys.argv[0])
    if called.name != "gatewise":
        return "python -m gatewise"
    on_path = shutil.which("gatewise")
    return "gatewise" if on_path and Path(on_path).samefile(called) else short(called)


def short(path: Path) -> str:
    """A path as seen from the working folder."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
