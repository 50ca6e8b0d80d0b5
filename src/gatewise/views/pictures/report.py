"""Draw every picture that a test report names."""

from __future__ import annotations

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
        beside = f"{__package__}.{name}"
        is_own = "." not in name and find_spec(beside) is not None
        module = import_module(beside if is_own else name)
        paths.append(folder / f"{name}.png")
        module.draw(data, paths[-1], title)
    return paths
