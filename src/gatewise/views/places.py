"""How the user calls this program, and paths as the user would write them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def program() -> str:
    """The command that calls this program: its name if that is on the path, else its file."""
    called = Path(sys.argv[0])
    if called.name != "gatewise":
        return "python -m gatewise"
    on_path = shutil.which("gatewise")
    return "gatewise" if on_path and Path(on_path).samefile(called) else short(called)


def short(path: Path) -> str:
    """A path relative to the working folder; unchanged if it is outside."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
