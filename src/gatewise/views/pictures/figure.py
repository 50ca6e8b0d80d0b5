"""What the pictures share: colours, panels, and writing the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from gatewise.runs.files import replacing
from gatewise.settings import lines

TRAIN, VALIDATION, TRUTH, MODEL = "#7f7f7f", "#1f77b4", "#333333", "#d95f02"


def write_picture(path: Path, figure: Any) -> None:
    """Write a matplotlib figure as PNG, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.set_dpi(120)
    for text in figure.findobj(Text):
        # Else matplotlib warns that its font lacks them.
        text.set_text(lines(text.get_text()))
        # Names come from users, who mean dollars; matplotlib's own formulas are the ticks of log axes.
        if "$" in text.get_text() and r"\mathdefault" not in text.get_text():
            text.set_parse_math(False)
    with replacing(path) as file:
        # savefig would draw twice, first for the layout; better compression saves a tenth but takes longer.
        FigureCanvasAgg(figure).print_png(file, pil_kwargs={"compress_level": 1})


def heading(title: str, what: str, columns: int) -> str:
    """``title: what``, in two lines where that is too long for so many panels side by side."""
    whole = f"{title}: {what}"
    return whole if len(whole) <= 50 * columns else f"{title}\n{what}"


def panels(count: int, title: str, columns: int = 3) -> Figure:
    """Panels with room for tick labels of eight characters; measuring the labels would double the time."""
    columns = min(count, columns)
    rows = -(-count // columns)
    width, height = 4.2 * columns, 3.2 * rows  # inches
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=0.85 / width,
        right=1 - 0.15 / width,
        bottom=0.55 / height,
        top=1 - 0.45 / height,
        wspace=columns / (width - columns),
        hspace=0.7 * rows / (height - 1.0 - 0.7 * (rows - 1)),
    )
    for index in range(count):
        axes: Axes = figure.add_subplot(rows, columns, index + 1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
        axes.yaxis.set_major_locator(MaxNLocator(5))
    figure.suptitle(title, fontsize=11, y=1 - 0.12 / height, va="top")
    return figure
