"""Pictures of a sweep, as PNG files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gatewise.sweeps import search
from gatewise.sweeps.folder import Plan, Sweep
from gatewise.sweeps.ranking import Configuration
from gatewise.sweeps.space import Range
from gatewise.views.pictures.figure import write_picture

DOT, BEST, MUTED = "#1f77b4", "#d95f02", "#b0b0b0"
MOST_LABELS = 12


def draw(sweep: Sweep, plan: Plan, results: Sequence[Configuration], names: Sequence[str]) -> list[Path]:
    """Draw what the sweep's shape has something to show of; returns the files."""
    done = [c for c in results if c.state == "done"]
    title = f"{plan.name} · {sweep.id}"
    pictures: list[tuple[str, Figure | None]] = [
        ("trials", _trials(results, names[0], plan, title)),
        ("parallel_coordinates", _parallel_coordinates(done, names[0], plan, title)),
        ("importance", _importance(done, names[0], plan, title)),
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
    """The objective of every trial in the order they were drawn, each seed as a dot."""
    figure, axes = _axes(7.0, 4.0, title)
    done = [c for c in results if c.state == "done"]
    numbers = [c.number for c in done]
    means = np.array([c.mean() for c in done], dtype=float)
    if len(plan.seeds) > 1:
        seeds = [(c.number, value) for c in results for value in c.values() if value is not None]
        axes.plot(*zip(*seeds, strict=True), ".", color=MUTED, markersize=5, label="one seed")
        axes.errorbar(
            numbers,
            means,
            [c.standard_error() or 0 for c in done],
            fmt="o",
            color=DOT,
            markersize=4,
            capsize=2,
            linewidth=1,
            label="mean ± standard error",
        )
    else:
        axes.plot(numbers, means, "o", color=DOT, markersize=4, label="trial")
    best = np.minimum if plan.directions[0] == "minimize" else np.maximum
    if plan.sampler is not None and len(plan.directions) == 1:
        axes.step(numbers, best.accumulate(means), where="post", color=BEST, label="best so far")
    for state, marker in (("pruned", "|"), ("failed", "x")):
        others = [c.number for c in results if c.state == state]
        if others:
            edge = np.full(len(others), 0.02)
            axes.plot(
                others,
                edge,
                marker,
                color=MUTED,
                label=state,
                linestyle="none",
                transform=axes.get_xaxis_transform(),
            )
    values = np.array([v for c in done for v in c.values() if v is not None])
    _fit_outliers(axes, values)
    axes.set(xlabel="trial", ylabel=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)
    return figure


def _fit_outliers(axes: Axes, values: np.ndarray) -> None:
    """A logarithmic axis where a few values would leave no room for the rest."""
    if len(values) > 3 and values.min() > 0 and values.max() > 20 * np.median(values):
        axes.set_yscale("log")


def _parallel_coordinates(done: Sequence[Configuration], name: str, plan: Plan, title: str) -> Figure | None:
    """One line per configuration through its settings to its objective; the better, the darker."""
    keys = list(plan.space.swept)
    if len(keys) < 2 or len(done) < 2:
        return None
    scores = np.array([c.mean() for c in done], dtype=float)
    columns = [_positions([c.params[key] for c in done], plan.space.swept[key]) for key in keys]
    order = scores if plan.directions[0] == "minimize" else -scores
    # By rank: one bad trial would leave the others a single shade.
    ranks = order.argsort(kind="stable").argsort(kind="stable") / max(len(done) - 1, 1)
    spread = (scores - scores.min()) / ((scores.max() - scores.min()) or 1.0)
    figure, axes = _axes(max(6.0, 1.9 * (len(keys) + 1)), 4.4, f"{title}: the better, the darker")
    colors = ScalarMappable(Normalize(-0.15, 1.0), "viridis")
    for index in np.argsort(-ranks):
        heights = [*(positions[index] for positions, _ in columns), spread[index]]
        axes.plot(heights, color=colors.to_rgba(ranks[index]), linewidth=2.2 if ranks[index] == 0 else 1.0)
    axes.set_xticks(range(len(keys) + 1), [*keys, name], fontsize=8)
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set(xlim=(-0.2, len(keys) + 0.5), ylim=(-0.06, 1.06))
    scale = [(0.0, f"{scores.min():.4g}"), (1.0, f"{scores.max():.4g}")]
    for place, labels in enumerate([*(labels for _, labels in columns), scale]):
        axes.axvline(place, color="0.8", linewidth=1, zorder=0)
        for height, label in labels:
            axes.annotate(
                label,
                (place, height),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
                bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
            )
    return figure


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


def _importance(done: Sequence[Configuration], name: str, plan: Plan, title: str) -> Figure | None:
    """How much each setting decides which trials are the best (PED-ANOVA, Watanabe et al., IJCAI 2023)."""
    if len(plan.space.swept) < 2 or len(done) < 4 or len({c.mean() for c in done}) < 2:
        return None
    study = optuna.create_study(direction=plan.directions[0])
    space = search.distributions(plan.space)
    for c in done:
        study.add_trial(optuna.trial.create_trial(value=c.mean(), params=c.params, distributions=space))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
        )
    figure, axes = _axes(6.0, 1.2 + 0.4 * len(shares), f"{title}\nimportance for {name}")
    keys = list(reversed(shares))
    bars = axes.barh(keys, [shares[key] for key in keys], color=DOT)
    axes.bar_label(bars, [f"{shares[key]:.2f}" for key in keys], padding=3, fontsize=8)
    axes.set(xlim=(0, 1.1), xlabel=f"share in deciding which of {len(done)} trials are among the best tenth")
    return figure


def _front(done: Sequence[Configuration], names: Sequence[str], plan: Plan, title: str) -> Figure | None:
    """The first two objectives against each other; those that nothing beats in every objective stand out."""
    if not done:
        return None
    figure, axes = _axes(5.6, 4.6, title)
    points = np.array([[c.mean(0), c.mean(1)] for c in done], dtype=float)
    best = np.array([c.rank == 1 for c in done])
    axes.plot(*points[~best].T, "o", color=MUTED, markersize=4, label="beaten by another")
    front = points[best][points[best][:, 0].argsort()]
    axes.plot(*front.T, "o-", color=BEST, markersize=5, linewidth=1, label="beaten by none")
    for c, (x, y) in zip(done, points, strict=True):
        if c.rank == 1:
            axes.annotate(str(c.number), (x, y), (4, 4), textcoords="offset points", fontsize=7)
    axes.set(xlabel=f"{names[0]} ({plan.directions[0]})", ylabel=f"{names[1]} ({plan.directions[1]})")
    _fit_outliers(axes, points[:, 1])
    axes.legend(frameon=False, fontsize=8)
    return figure
