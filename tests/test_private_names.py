"""Private names of libraries stand in one file for each library, and are few.

The next version of a library may change them without a word, so each file says why it takes them, and a test
beside it fails with one line where a version lacks one.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import gatewise

PACKAGE = Path(gatewise.__file__).parent
LIBRARIES = ("pytorch_lightning", "torchmetrics", "hydra", "omegaconf", "wandb", "optuna", "torch")
# Public in spite of their looks: of named tuples, of os, of Hydra's configs, and an operation of ATen.
PUBLIC = {"_replace", "_fields", "_asdict", "_field_defaults", "_exit", "_target_", "_efficientzerotensor"}

HOMES = {
    "training/lightning_internals.py": "Lightning",
    "tasks/scores.py": "torchmetrics",
    "config/hydra_internals.py": "Hydra",
    "sweeps/optuna_internals.py": "Optuna",
    "engine/torch_internals.py": "torch",
}
BEFORE = 58
"""How many uses this count found before the house was rebuilt, all over the package."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC


def private_uses(path: Path) -> list[str]:
    """Private names of others that a file imports, or asks an object for."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            own |= {node.attr} if owner in ("self", "cls") else set()
    uses = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in LIBRARIES:
            hidden = any(map(is_private, str(node.module).split(".")))
            uses += [f"{node.module}.{a.name}" for a in node.names if hidden or is_private(a.name)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] in LIBRARIES]
            uses += [name for name in names if any(map(is_private, name.split(".")))]
        elif isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            uses.append(node.attr)
    return uses


USES = {
    path.relative_to(PACKAGE).as_posix(): used
    for path in sorted(PACKAGE.rglob("*.py"))
    if (used := private_uses(path))
}


def test_they_stand_in_one_file_for_each_library() -> None:
    elsewhere = {file: dict(Counter(used)) for file, used in USES.items() if file not in HOMES}
    assert elsewhere == {}


def test_they_are_at_most_half_of_what_they_were() -> None:
    assert sum(map(len, USES.values())) <= BEFORE / 2
