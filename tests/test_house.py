"""The rooms of the house, and which of them may know of which: arrows run down only."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import gatewise

PACKAGE = Path(gatewise.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

BELOW: dict[str, set[str]] = {
    "settings": set(),
    "kinds": {"settings"},
    "cells": {"settings"},
    "engine": {"cells", "settings"},
    "nn": {"engine", "cells", "settings"},
    "data": {"kinds", "settings"},
    "tasks": {"nn", "kinds", "settings"},
    "inspection": {"nn", "kinds", "tasks", "data", "settings"},
    "runs": {"kinds", "settings"},
    "launch": {"runs", "settings"},
    "config": {"data.files", "launch", "runs", "settings"},
    "views": {"inspection", "tasks", "runs", "settings"},
    "training": {"views", "config", "launch", "runs", "tasks", "data", "nn", "cells", "kinds", "settings"},
    "sweeps": {"training", "views", "config", "launch", "runs", "settings"},
    "bench": {"training", "views", "config", "launch", "runs", "tasks", "data", "nn", "engine", "cells"},
    "cli": {"bench", "sweeps", "training", "views", "config", "launch", "runs", "tasks", "data", "kinds"},
}  # fmt: skip
BELOW["training"] |= {"inspection"}
BELOW["bench"] |= {"settings"}
BELOW["cli"] |= {"inspection", "nn", "engine", "cells", "settings"}
"""What each room may import beside its own files."""


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in SOURCES}


@cache
def imported(path: Path) -> tuple[str, ...]:
    """Modules of ours that a file imports, or names in a string to be started or imported by that name."""
    if name_of(path) == "gatewise.runs.moved":
        return ()  # a table of where classes stood, and stand
    return tuple(sorted(set(_imported(path)) - {name_of(path)}))


def _imported(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("gatewise"):
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                yield inside if inside in MODULES else node.module
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            name = node.value
            while "." in name and name not in MODULES:
                name = name.rpartition(".")[0]
            own_package = name_of(path).startswith(f"{name}.")  # whose files it reads
            if name in MODULES and not own_package and " " not in node.value:
                yield name


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_folder_is_a_room() -> None:
    rooms = {path.parent.relative_to(PACKAGE).parts[0] for path in SOURCES if path.parent != PACKAGE}
    assert rooms == set(BELOW)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_arrows_run_down(path: Path) -> None:
    room = room_of(name_of(path))
    if room not in BELOW:
        return
    for module in imported(path):
        other = room_of(module)
        inside = module.removeprefix("gatewise.")
        allowed = other in ("", room) or other in BELOW[room] or inside in BELOW[room]
        assert allowed, (
            f"{name_of(path)} imports {module}: a {room} may know of {', '.join(sorted(BELOW[room]))}"
        )


def test_no_two_files_import_each_other() -> None:
    """Not by way of others either: a package's own file that collects its modules apart."""
    graph = {name_of(path): set(imported(path)) for path in SOURCES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail[trail.index(module) :], module))
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


LIGHT = """
import sys
import time
from pathlib import Path
from gatewise.runs.metrics import read_metrics
from gatewise.runs.run import Run

run = Run(Path(sys.argv[1]))
read_metrics(run.metrics_file), run.state(), run.reason(), run.summary()
heavy = sorted({"torch", "pytorch_lightning", "numpy", "pandas", "omegaconf"} & set(sys.modules))
print(heavy, time.process_time())
"""


def test_reading_a_run_is_light(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"state": "done", "reason": null}')
    (tmp_path / "metrics.csv").write_text("epoch,step,val/loss\n0,9,0.5\n")
    (tmp_path / "summary.json").write_text('{"test": {"loss": 0.5}}')
    command = [sys.executable, "-c", LIGHT, str(tmp_path)]
    for _ in range(2):  # the first may have to compile
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    heavy, seconds = said.rsplit(" ", 1)
    assert heavy == "[]"
    # Of the CPU, which a busy machine does not stretch.
    assert float(seconds) <= 0.3
