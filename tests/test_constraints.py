"""The two lists of exact versions agree, and cover what they are for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has none")
ROOT = Path(__file__).parents[1]
OLDER = {"cloudpickle", "joblib", "python-dateutil"}
"""Of which Ray, its launcher or boto3 need an earlier version."""


def pins(name: str) -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = {}
    for line in (ROOT / name).read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def test_the_list_for_ray_is_the_other_one_but_for_what_ray_needs() -> None:
    usual, for_ray = pins("constraints.txt"), pins("constraints-ray.txt")
    assert {name for name in usual if usual[name] != for_ray.get(name)} == OLDER
    (cloudpickle,) = for_ray["cloudpickle"]
    assert str(cloudpickle.specifier).startswith("==2.")  # hydra-ray-launcher asks for cloudpickle<3


@pytest.mark.parametrize(
    ("extra", "name"),
    [("tensorboard", ""), ("workspaces", ""), ("slurm", ""), ("ray", "-ray"), ("dev", "")],
)
def test_every_package_that_is_asked_for_has_a_version_that_is_allowed(extra: str, name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = pins(f"constraints{name}.txt")
    for text in [*project["dependencies"], *project["optional-dependencies"][extra]]:
        requirement = Requirement(text)
        pinned = listed[canonicalize_name(requirement.name)]
        for pin in pinned:
            version = re.sub("^==", "", str(pin.specifier))
            assert requirement.specifier.contains(version), (text, version)
