"""What is used of Hydra's inside is there, in one file, and named where it is not."""

from __future__ import annotations

import ast
import inspect
import re
from importlib.metadata import version
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

import gatewise
from gatewise.config import hydra_internals
from gatewise.config.compose import hydra_session

PACKAGE = Path(gatewise.__file__).parent
LIBRARIES = ("hydra", "omegaconf", "optuna")


@pytest.mark.parametrize("name", hydra_internals.USED)
def test_hydra_has_what_is_used_of_its_inside(name: str) -> None:
    with hydra_session("train"):
        method = getattr(GlobalHydra.instance().hydra, name, None)
    assert callable(method), (
        f"hydra-core {version('hydra-core')} has no {name}, which {hydra_internals.USED[name]}: keep to an "
        f"earlier version in pyproject.toml, or mend gatewise/config/hydra_internals.py"
    )
    taken = set(inspect.signature(method).parameters)
    given = {"config_name", "overrides", "info" if name == "show_info" else "task_function"}
    assert given <= taken, (
        f"hydra-core {version('hydra-core')}: {name} takes {sorted(taken)}, and no longer {sorted(given)}: "
        f"keep to an earlier version in pyproject.toml, or mend gatewise/config/hydra_internals.py"
    )


def test_one_job_is_given_the_config_that_was_composed_for_it() -> None:
    with hydra_session("train") as loader:
        config = loader.load_configuration("train", ["seed=7", "hydra.mode=RUN"], RunMode.RUN)
        config.name = "composed"
        seen = []
        hydra_internals.run("train", lambda given: seen.append((given.name, given.seed)), [], config)
        assert seen == [("composed", 7)]
        assert GlobalHydra.instance().config_loader() is loader


def private_names(source: str) -> list[str]:
    """Names of a library's inside: ``hydra._internal``, and ``x._name`` where x is not ``self``."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in LIBRARIES:
            words = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            names += [word for word in words if word.startswith("_")]
        elif isinstance(node, ast.Import):
            words = [word for alias in node.names for word in alias.name.split(".")]
            names += [word for word in words if words[0] in LIBRARIES and word.startswith("_")]
        elif isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr) and node.attr != "_exit":
            owner = node.value
            own = isinstance(owner, ast.Name) and owner.id in ("self", "cls")
            names += [] if own else [node.attr]
    return names


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from hydra._internal.utils import _locate", ["_internal", "_locate"]),
        ("import hydra._internal.hydra", ["_internal"]),
        ("study._storage.get_trial(trial._trial_id)", ["_storage", "_trial_id"]),
        ("from hydra.utils import get_class\nself._x = node.get('_target_')\nos._exit(1)", []),
    ],
)
def test_the_search_finds_private_names(source: str, names: list[str]) -> None:
    assert sorted(private_names(source)) == sorted(names)


FILES = [path for room in ("config", "cli", "sweeps") for path in sorted((PACKAGE / room).glob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_private_name_is_used_beside(path: Path) -> None:
    assert private_names(path.read_text()) == []


def test_nothing_of_hydras_inside_is_imported_anywhere() -> None:
    imports = re.compile(r"^\s*(?:from|import) (?:hydra|omegaconf|optuna)[\w.]*\._", re.MULTILINE)
    assert [path for path in PACKAGE.rglob("*.py") if imports.search(path.read_text())] == []


@pytest.mark.parametrize("library", ["hydra-core", "omegaconf", "optuna"])
def test_the_next_minor_version_is_not_allowed_before_it_was_tested(library: str) -> None:
    text = (PACKAGE.parents[1] / "pyproject.toml").read_text()
    (upper,) = re.findall(rf'"{library}>=[\d.]+,<([\d.]+)"', text)
    major, minor = version(library).split(".")[:2]
    assert upper == f"{major}.{int(minor) + 1}"
