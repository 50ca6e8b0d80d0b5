"""Pictures of what ``callbacks=inspect`` measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gatewise.views.pictures.inspected import gate_means, gradients


def rows(epochs: int) -> list[dict[str, float]]:
    values: list[dict[str, float]] = []
    for epoch in range(1, epochs + 1):
        row: dict[str, float] = {"epoch": epoch, "val/loss": 1.0}
        for place in ("layer0", "layer0_reverse"):
            row.update({f"inspect/mean/f/{place}": 0.5, f"inspect/kept/c/{place}": 0.5})
            row.update({f"inspect/below/f/{place}": 0.1, f"inspect/above/f/{place}": 0.2})
            row.update({f"inspect/gradient/h/{place}/{d}": 0.1**d / epoch for d in (0, 1, 2, 4, 16)})
        values.append(row)
    return values


@pytest.mark.parametrize("epochs", [1, 3, 40])
def test_panels(epochs: int, tmp_path: Path, figures: Any) -> None:
    assert gate_means(rows(epochs), tmp_path / "a.png", "title")
    assert gradients(rows(epochs), tmp_path / "b.png", "title")
    gates, reach = figures
    assert [axes.get_title(loc="left").split()[0] for axes in gates.axes] == ["layer0", "layer0_reverse"]
    assert len(gates.axes[0].lines) == 4  # mean, what is kept, both ends
    (first, second) = reach.axes
    assert len(first.lines) == min(epochs, 5)
    assert first.lines[-1].get_label() == f"epoch {epochs}"
    assert list(first.lines[0].get_xdata()) == [0, 1, 2, 4, 16]
    assert second.get_ylabel().endswith("layer0_reverse")


def test_nothing_to_draw(tmp_path: Path) -> None:
    odd = [{"epoch": 1.0, "inspect/mean": 1.0, "inspect/gradient/h/layer0/x": 1.0, "inspect/a/b/c/d": 1.0}]
    for draw in (gate_means, gradients):
        for given in ([], [{"epoch": 1.0}], odd):
            assert not draw(given, tmp_path / "x.png", "title")
    assert not list(tmp_path.iterdir())


def test_a_gradient_that_has_vanished(tmp_path: Path) -> None:
    gone = [{"epoch": 1.0, "inspect/gradient/h/layer0/0": 0.0, "inspect/gradient/h/layer0/1": 0.0}]
    assert gradients(gone, tmp_path / "x.png", "title")
