"""Draw every picture that a test report names."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def draw_report(report: Mapping[str, Any], folder: Path, title: str) -> list[Path]:
    """Draw every entry of a task's report as a PNG file with the entry's name; returns the files.

    The name is that of a file in this folder or else of any module, whose ``draw(data, path, title)`` draws
    the entry.
    """
    paths = []
    for name, data in report.items():
        paths.append(folder / f"{name}.png")
        _draw(name, data, paths[-1], title)
    return paths


def drawn(name: str, data: Any, title: str) -> bytes:
    """One such entry as the content of a PNG file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        _draw(name, data, path, title)
        return path.read_bytes()


def _draw(name: str, data: Any, path: Path, title: str) -> None:
    beside = f"{__package__}.{name}"
    is_own = "." not in name and find_spec(beside) is not None
    import_module(beside if is_own else name).draw(data, path, title)
