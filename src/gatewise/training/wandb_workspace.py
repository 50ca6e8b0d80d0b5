"""A workspace of W&B with the panels of the comparison page: curves, best values, settings by results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gatewise.config.wandb import STEP
from gatewise.runs.record import Record
from gatewise.settings import first_line
from gatewise.views.compare.columns import Column, differing

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

MOST_SETTINGS = 10
"""Axes of the parallel coordinates: with more of them nothing can be read."""
_LOSSES = ("train/loss", "val/loss")


def check_name(name: str) -> None:
    """Raise ValueError where no workspace can be made, or none of that name."""
    try:
        from wandb_workspaces import workspaces
    except ImportError as error:
        raise ValueError(
            f"workspace={name}: needs wandb-workspaces ({first_line(error)}): pip install "
            f"'gatewise[workspaces]'"
        ) from error
    try:
        workspaces.Workspace(entity="", project="", name=name)
    except ValueError as error:
        details: list[dict[str, Any]] = getattr(error, "errors", list)()
        reason = details[0]["msg"] if details else first_line(error)
        raise ValueError(f"workspace={name}: W&B does not take it ({reason})") from error


def workspace(entity: str, project: str, name: str, records: Sequence[Record]) -> Workspace:
    """The workspace for runs of one project, built without the network."""
    import wandb_workspaces.reports.v2 as panels
    from wandb_workspaces import workspaces

    monitors = {r.monitor: r.mode for r in records if r.monitor is not None}
    settings = [_key(c) for c in differing(records) if not c.says_nothing_new][:MOST_SETTINGS]
    curves = [_curve(panels, name, [name]) for name in _unique([*monitors, *_LOSSES])]
    losses = _curve(panels, "training and validation loss", list(_LOSSES))
    best = {f"{monitor}.{mode}": f"best {monitor}" for monitor, mode in monitors.items()}
    axes: list[Any] = [panels.Config(key) for key in settings]
    bars: list[Any] = []
    by_setting: list[Any] = []
    for key, title in best.items():
        result = panels.SummaryMetric(key)
        bars.append(panels.BarPlot(title=title, metrics=[result]))
        columns = [panels.ParallelCoordinatesPlotColumn(axis) for axis in [*axes, result]]
        by_setting.append(panels.ParallelCoordinatesPlot(title=title, columns=columns))
        by_setting.append(panels.ParameterImportancePlot(with_respect_to=key))
        for axis in axes:
            by_setting.append(panels.ScatterPlot(title=f"{title} by {axis.name}", x=axis, y=result))
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            workspaces.Section("Curves", panels=[losses, *curves], is_open=True),
            workspaces.Section("Best values", panels=bars, is_open=True),
            workspaces.Section("Settings", panels=by_setting, is_open=True),
            workspaces.Section("Runs side by side", panels=[panels.RunComparer(diff_only=True)]),
            workspaces.Section(
                "Results and pictures",
                panels=[panels.WeavePanelSummaryTable(table_name="results")],
            ),
        ],
        auto_generate_panels=True,
    )


def save(made: Workspace) -> str:
    """Send a workspace to W&B, as a view of its own; returns its address.

    Raises ValueError where W&B does not take it.
    """
    import wandb

    try:
        return str(made.save_as_new_view().url)
    except (wandb.Error, OSError, RuntimeError) as error:
        raise ValueError(f"workspace={made.name}: W&B did not take it ({first_line(error)})") from error


def _curve(panels: Any, title: str, metrics: list[str]) -> Any:
    return panels.LinePlot(title=title, x=STEP, y=metrics, smoothing_show_original=True)


def _key(column: Column) -> str:
    """A setting as W&B is told of it."""
    return f"choices.{column.key}" if column.is_choice else column.key


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
