"""Pictures of a sweep, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gatewise.sweeps.folder import Plan, Sweep
from gatewise.sweeps.importance import Shares
from gatewise.sweeps.labels import cut, label, short_names
from gatewise.sweeps.ranking import Configuration
from gatewise.sweeps.space import Range
from gatewise.views.pictures.figure import write_picture

DOT, BEST, MUTED = "#1f77b4", "#d95f02", "#b0b0b0"
MOST_LABELS = 12
MOST_NAMED = 30
"""Configurations that the picture of trials has room to name."""
LEAST_SHARE = 0.005
"""Of what settings do together, to have a bar of its own."""


def draw(
    sweep: Sweep,
    plan: Plan,
    results: Sequence[Configuration],
    names: Sequence[str],
    shares: Sequence[Shares | None],
) -> list[Path]:
    """Draw what the sweep's shape has something to show of; returns the files.

    ``names`` and ``shares`` (what each setting decides) are of each objective.
    """
    results = [c for c in results if c.same_as is None]
    done = [c for c in results if c.state == "done"]
    title = f"{plan.name} · {sweep.id}"
    pictures: list[tuple[str, Figure | None]] = [
        ("trials", _trials(results, names[0], plan, title)),
        ("parallel_coordinates", _parallel_coordinates(done, names, plan, title)),
        ("importance", _importance(shares, names, plan, title)),
        ("front", _front(done, names, plan, title) if len(names) > 1 else None),
    ]
    paths = []
    for name, figure in pictures:
        if figure is not None:
            paths.append(sweep.plots / f"{name}.png")
            write_picture(paths[-1], figure)
    return paths


def _axes(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=10)
    return figure, axes


def _trials(results: Sequence[Configuration], name: str, plan: Plan, title: str) -> Figure:
    """The objective of every trial in the order they were drawn, each seed as a dot.

    Where there is room, a line for each with its settings; else the trials stand along the axis, and the best
    has its settings beside it.
    """
    named = len(results) <= MOST_NAMED
    settings = short_names(list(plan.space.swept))
    texts = {c.number: f"{label(c.params, settings)}  ({c.number})".strip() for c in results}
    # Room for the longest name, at 8 points.
    width = 5.0 + 0.075 * max(map(len, texts.values()), default=0) if named else 10.0
    figure, axes = _axes(width, max(2.2, 1.2 + 0.26 * len(results)) if named else 4.0, title)
    places = {c.number: index if named else c.number for index, c in enumerate(results)}
    done = [c for c in results if c.state == "done"]
    at = [places[c.number] for c in done]
    means = np.array([c.mean() for c in done], dtype=float)
    if len(plan.seeds) > 1:
        seeds = [(places[c.number], value) for c in results for value in c.values() if value is not None]
        where, what = zip(*seeds, strict=True)
        _plot(axes, named, where, what, ".", color=MUTED, markersize=5, label="one seed")
        errors = [c.standard_error() or 0 for c in done]
        x, y, x_error, y_error = (means, at, errors, None) if named else (at, means, None, errors)
        axes.errorbar(
            x,
            y,
            y_error,
            x_error,
            fmt="o",
            color=DOT,
            markersize=4,
            capsize=2,
            linewidth=1,
            label="mean ± standard error",
        )
    else:
        _plot(axes, named, at, means, "o", color=DOT, markersize=4, label="trial")
    best = [index for index, c in enumerate(done) if c.rank == 1]
    front = len(plan.directions) > 1
    marked = "on the front" if front else "best"
    if not named and not front and best:
        marked = f"best: {texts[done[best[0]].number]}"
    _plot(axes, named, [at[i] for i in best], means[best], "o", color=BEST, markersize=6, label=marked)
    if plan.sampler is not None and not front and len(done) > 1:
        so_far = (np.minimum if plan.directions[0] == "minimize" else np.maximum).accumulate(means)
        style: Any = {"drawstyle": "steps-pre" if named else "steps-post", "linewidth": 1}
        _plot(axes, named, at, so_far, "-", color=BEST, label="best so far", **style)
    for state, marker in (("pruned", "_" if named else "|"), ("failed", "x")):
        others = [places[c.number] for c in results if c.state == state]
        if others:
            transform = axes.get_yaxis_transform() if named else axes.get_xaxis_transform()
            edge = np.full(len(others), 0.02)
            _plot(axes, named, others, edge, marker, color=MUTED, label=state, transform=transform)
    values = np.array([v for c in done for v in c.values() if v is not None])
    _fit_outliers(axes, values, "x" if named else "y")
    if named:
        axes.set_yticks(list(places.values()), [texts[number] for number in places], fontsize=8)
        axes.set(xlabel=name, ylim=(len(results) - 0.5, -0.5))
        axes.grid(axis="y", color="0.93")
        axes.set_axisbelow(True)
    else:
        axes.set(xlabel="trial", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _plot(axes: Axes, flat: bool, places: Sequence[float], values: Any, fmt: str, **style: Any) -> None:
    """Values over places, or places over values where ``flat``."""
    axes.plot(*((values, places) if flat else (places, values)), fmt, **style)


def _fit_outliers(axes: Axes, values: np.ndarray, axis: str = "y") -> None:
    """A logarithmic axis where a few values would leave no room for the rest."""
    if len(values) > 3 and values.min() > 0 and values.max() > 20 * np.median(values):
        (axes.set_yscale if axis == "y" else axes.set_xscale)("log")


def _parallel_coordinates(
    done: Sequence[Configuration], names: Sequence[str], plan: Plan, title: str
) -> Figure | None:
    """One line per configuration through its settings to its objectives; the better, the darker.

    Of several objectives, those on the front are dark.
    """
    keys = list(plan.space.swept)
    if len(keys) < 2 or len(done) < 2:
        return None
    scores = [np.array([c.mean(index) for c in done], dtype=float) for index in range(len(names))]
    columns = [_positions([c.params[key] for c in done], plan.space.swept[key]) for key in keys]
    columns += [_scale(values) for values in scores]
    if len(names) > 1:
        ranks = np.array([0.0 if c.rank == 1 else 0.9 for c in done])
        what = "dark: beaten by none"
    else:
        order = scores[0] if plan.directions[0] == "minimize" else -scores[0]
        # By rank: one bad trial would leave the others a single shade.
        ranks = order.argsort(kind="stable").argsort(kind="stable") / max(len(done) - 1, 1)
        what = "the better, the darker"
    figure, axes = _axes(max(6.0, 1.9 * len(columns)), 4.4, f"{title}: {what}")
    colors = ScalarMappable(Normalize(-0.15, 1.0), "viridis")
    for index in np.argsort(-ranks):
        heights = [positions[index] for positions, _ in columns]
        axes.plot(heights, color=colors.to_rgba(ranks[index]), linewidth=2.2 if ranks[index] == 0 else 1.0)
    short = short_names(keys)
    axes.set_xticks(range(len(columns)), [*(cut(short[key]) for key in keys), *names], fontsize=8)
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set(xlim=(-0.2, len(columns) - 0.5), ylim=(-0.06, 1.06))
    for place, labels in enumerate(labels for _, labels in columns):
        axes.axvline(place, color="0.8", linewidth=1, zorder=0)
        for height, text in labels:
            axes.annotate(
                cut(text),
                (place, height),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
                bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
            )
    return figure


def _scale(values: np.ndarray) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """(height of each value between 0 and 1, ticks as (height, label)) of an objective's axis."""
    low, high = values.min(), values.max()
    return (values - low) / ((high - low) or 1.0), [(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")]


def _positions(values: Sequence[Any], swept: list[str] | Range) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """(height of each value between 0 and 1, ticks as (height, label)) of one setting's axis."""
    if isinstance(swept, Range):
        number = np.array(values, dtype=float)
        ends = np.array([swept.low, swept.high], dtype=float)
        scale = np.log if swept.log else np.asarray
        low, high = scale(ends)
        middle = np.exp((low + high) / 2) if swept.log else ends.mean()
        labels = [(0.0, f"{swept.low:.3g}"), (0.5, f"{middle:.3g}"), (1.0, f"{swept.high:.3g}")]
        return (scale(number) - low) / ((high - low) or 1.0), labels
    places = {text: index / max(len(swept) - 1, 1) for index, text in enumerate(swept)}
    every = -(-len(swept) // MOST_LABELS)
    return np.array([places[text] for text in values]), [(places[text], text) for text in swept[::every]]


def _importance(
    shares: Sequence[Shares | None], names: Sequence[str], plan: Plan, title: str
) -> Figure | None:
    """What each setting decides of each objective, and of a grid what several decide together."""
    drawn = [(name, _bars(of)) for name, of in zip(names, shares, strict=True) if of]
    if not drawn:
        return None
    short = short_names(list(plan.space.swept))
    height = sum(0.9 + 0.34 * len(bars) for _, bars in drawn)
    figure = Figure(figsize=(6.4, 0.4 + height), layout="constrained")
    figure.suptitle(title, fontsize=10)
    rows = figure.subplots(
        len(drawn), 1, squeeze=False, gridspec_kw={"height_ratios": [1 + len(bars) for _, bars in drawn]}
    )
    kind = "exact" if plan.sampler is None else "of a random forest fitted to the trials"
    for axes, (name, bars) in zip(rows[:, 0], drawn, strict=True):
        texts = [" × ".join(cut(short.get(key, key)) for key in keys) for keys, _ in reversed(bars)]
        drawn_bars = axes.barh(texts, [share for _, share in reversed(bars)], color=DOT)
        axes.bar_label(drawn_bars, [f"{share:.2f}" for _, share in reversed(bars)], padding=3, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(xlim=(0, 1.1))
        axes.set_xlabel(f"share in the variance of {name} ({kind})", fontsize=8)
    return figure


def _bars(shares: Shares) -> list[tuple[tuple[str, ...], float]]:
    """Each setting, and of what they do together that which matters; the rest in one."""
    alone = [(keys, share) for keys, share in shares.items() if len(keys) == 1]
    together = [(keys, share) for keys, share in shares.items() if len(keys) > 1]
    large = [(keys, share) for keys, share in together if share >= LEAST_SHARE][:MOST_LABELS]
    rest = sum(share for _, share in together) - sum(share for _, share in large)
    others = [(("other interactions",), rest)] if rest >= LEAST_SHARE else []
    return [*alone, *large, *others]


def _front(done: Sequence[Configuration], names: Sequence[str], plan: Plan, title: str) -> Figure | None:
    """The first two objectives against each other; those that nothing beats in every objective stand out."""
    if not done:
        return None
    figure, axes = _axes(9.6, 4.6, title)
    points = np.array([[c.mean(0), c.mean(1)] for c in done], dtype=float)
    best = np.array([c.rank == 1 for c in done])
    axes.plot(*points[~best].T, "o", color=MUTED, markersize=4, label="beaten by another")
    front = points[best][points[best][:, 0].argsort()]
    axes.plot(*front.T, "o-", color=BEST, markersize=5, linewidth=1, label="beaten by none")
    short = short_names(list(plan.space.swept))
    listed = [c for c in sorted(done, key=lambda c: c.mean() or 0.0) if c.rank == 1]
    for c in listed:
        place = (c.mean(0) or 0.0, c.mean(1) or 0.0)
        axes.annotate(str(c.number), place, (4, 4), textcoords="offset points", fontsize=7)
    for c in listed[:MOST_NAMED]:
        axes.plot([], [], linestyle="none", label=f"{c.number}: {label(c.params, short)}")
    axes.set(xlabel=f"{names[0]} ({plan.directions[0]})", ylabel=f"{names[1]} ({plan.directions[1]})")
    _fit_outliers(axes, points[:, 1])
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
