"""Pictures of what ``callbacks=inspect`` measured: gates over the epochs, the gradient against distance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.ticker import MaxNLocator

from gatewise.runs.metrics import INSPECT
from gatewise.views.pictures.figure import panels, write_picture

Rows = Sequence[Mapping[str, float]]
_OF_GATES = re.compile(rf"{INSPECT}(mean|kept)/([^/]+)/([^/]+)")
_OF_GRADIENTS = re.compile(rf"{INSPECT}gradient/([^/]+/[^/]+)/(\d{{1,9}})")
MOST_EPOCHS = 5
"""Curves in a panel of gradients: more cannot be told apart."""


def gate_means(rows: Rows, path: Path, title: str) -> bool:
    """Draw the mean of every gate over the epochs, a panel for each layer and direction.

    Dotted lines are the shares of saturated steps: of those below .1 from the bottom, of those above .9 from
    the top. Returns whether there was anything to draw.
    """
    by_place: dict[str, dict[str, None]] = {}
    for kind, gate, place in _names(rows, _OF_GATES):
        by_place.setdefault(place, {})[f"{kind}/{gate}"] = None
    if not by_place:
        return False
    figure = panels(len(by_place), title)
    for axes, (place, gates) in zip(figure.axes, by_place.items(), strict=True):
        # What is kept comes last, with dashes: for an LSTM it is its f.
        for number, gate in enumerate(sorted(gates, key=lambda gate: gate.startswith("kept"))):
            kind, name = gate.split("/")
            points = _points(rows, f"{gate}/{place}")
            label = name if kind == "mean" else f"{name} kept"
            style = "-" if kind == "mean" else "--"
            marker = "o" if len(points) == 1 else None
            axes.plot(*zip(*points, strict=True), style, color=f"C{number}", label=label, marker=marker)
            for end in ("below", "above"):
                shares = _points(rows, f"{end}/{name}/{place}") if kind == "mean" else []
                if shares:
                    epochs, values = zip(*shares, strict=True)
                    drawn = values if end == "below" else [1 - value for value in values]
                    axes.plot(epochs, drawn, ":", color=f"C{number}", linewidth=1)
        axes.set(xlabel="epoch", ylabel="mean", ylim=(-0.02, 1.02))
        axes.set_title(f"{place}   (dotted: share < .1, 1 − share > .9)", fontsize=8, loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.legend(frameon=False, fontsize=8, ncols=2)
    write_picture(path, figure)
    return True


def gradients(rows: Rows, path: Path, title: str) -> bool:
    """Draw the norm of the gradient against distance, a panel for each state, layer and direction.

    Some epochs, the first and the last among them, have a curve each. Returns whether there was anything to
    draw.
    """
    distances: dict[str, list[int]] = {}
    for place, distance in _names(rows, _OF_GRADIENTS):
        distances.setdefault(place, []).append(int(distance))
    if not distances:
        return False
    figure = panels(len(distances), title)
    for axes, (place, found) in zip(figure.axes, distances.items(), strict=True):
        state, layer = place.split("/")
        measured = [row for row in rows if f"{INSPECT}gradient/{place}/{found[0]}" in row]
        chosen = _some(len(measured))
        for order, row in enumerate(measured[index] for index in chosen):
            values = [(d, row.get(f"{INSPECT}gradient/{place}/{d}")) for d in sorted(found)]
            points = [(distance, value) for distance, value in values if value]
            if points:
                color = colormaps["viridis"](0.9 * order / max(len(chosen) - 1, 1))
                label = f"epoch {row['epoch']:g}"
                axes.plot(*zip(*points, strict=True), "o-", color=color, markersize=3, label=label)
        if axes.lines:
            axes.set_yscale("log")
            axes.legend(frameon=False, fontsize=8)
        axes.set_xscale("symlog", base=2, linthresh=1)
        axes.set_xlim(left=-0.3)
        axes.set_xticks(sorted(found), [str(distance) for distance in sorted(found)])
        axes.set(xlabel="steps before the last", ylabel=f"|∂loss/∂{state}|, {layer}")
    write_picture(path, figure)
    return True


def _some(count: int) -> list[int]:
    """The first, the last, and some between them."""
    most = min(count, MOST_EPOCHS)
    return sorted({round(index * (count - 1) / max(most - 1, 1)) for index in range(most)})


def _names(rows: Rows, form: re.Pattern[str]) -> list[tuple[str, ...]]:
    """What the names of the metrics of a form say, in order."""
    names = sorted({name for row in rows for name in row})
    return [match.groups() for name in names if (match := form.fullmatch(name))]


def _points(rows: Rows, name: str) -> list[tuple[float, float]]:
    return [(row["epoch"], row[f"{INSPECT}{name}"]) for row in rows if f"{INSPECT}{name}" in row]
