"""``summary.json``: the results of a training, and the versions it was made with."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

PACKAGES = ("gatewise", "torch", "pytorch-lightning", "torchmetrics", "hydra-core", "wandb", "numpy")


def best_row(rows: list[dict[str, float]], monitor: str, mode: str) -> dict[str, float]:
    """The row of ``metrics.csv`` with the best monitored value, or an empty row."""
    scored = [row for row in rows if row.get(monitor, float("nan")) == row.get(monitor)]
    if not scored:
        return {}
    return (min if mode == "min" else max)(scored, key=lambda row: row[monitor])


def split_metrics(metrics: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """(test metrics by name, baselines' metrics by baseline and name) from Lightning's flat names."""
    test: dict[str, float] = {}
    baselines: dict[str, dict[str, float]] = {}
    for full_name, value in metrics.items():
        kind, *rest = full_name.split("/")
        if kind == "test":
            test["/".join(rest)] = float(value)
        elif kind == "baseline":
            baselines.setdefault(rest[0], {})["/".join(rest[1:])] = float(value)
    return test, baselines


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and the packages behind a result, and the platform; looked up once."""
    by_name = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            by_name[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            by_name[package] = "not installed"
    return by_name
