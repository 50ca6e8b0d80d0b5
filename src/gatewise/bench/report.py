"""Prints the measurements, writes them as CSV and draws them."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gatewise.bench.contenders import reference_of
from gatewise.bench.models import ModelsTiming
from gatewise.bench.process import Start
from gatewise.bench.timing import Timing
from gatewise.launch.matplotlib_settings import import_matplotlib

# Two equal contenders may differ by this much in a measurement.
SLOWER = 0.95


def print_speeds(console: Console, rows: Sequence[Timing]) -> None:
    """A table per cell, lengths and work: how many times as fast as the reference each contender is, by size.

    Last come the fastest one's floating-point operations and bytes a second, and its share of the limits.
    """
    for (cell, lengths, work), selected in _grouped(rows):
        reference, *others = _in_order(row.contender for row in selected)
        table = _table("T x B x I x H")
        limits = ("fastest TFLOP/s", "of matrix peak", "GB/s", "of copy")
        for name in (f"{reference} ms", *others, *limits):
            table.add_column(name, justify="right")
        for size in _in_order(row.size for row in selected):
            line = {row.contender: row for row in selected if row.size == size}
            best = max(line.values(), key=lambda row: row.gigaflops)
            table.add_row(
                size,
                f"{line[reference].milliseconds:.2f}",
                *(_times(line[name].speedup) if name in line else "" for name in others),
                f"{best.gigaflops / 1000:.3g}",
                _percent(best.share_of_peak),
                f"{best.gigabytes:.3g}",
                _percent(best.share_of_copy),
            )
        _print(console, f"{_title(cell, lengths, work)}: times as fast as {reference}", table)


def print_means(console: Console, rows: Sequence[Timing]) -> None:
    """Geometric mean and minimum over the sizes, for each cell, lengths, work and contender."""
    table = _table("cell", "lengths", "work", "who", "as")
    beside = any(row.of_lstm is not None for row in rows)
    for name in ("mean", "least", "on", *(("of LSTM's time", "most") if beside else ())):
        table.add_column(name, justify="right")
    for (cell, lengths, work), group in _grouped(rows):
        reference = reference_of(cell)
        for name in _in_order(row.contender for row in group):
            selected = [row for row in group if row.contender == name]
            if name == reference:
                continue
            least = min(selected, key=lambda row: row.speedup)
            mean = statistics.geometric_mean(row.speedup for row in selected)
            shares = [row.of_lstm for row in selected if row.of_lstm is not None]
            more = [f"{statistics.geometric_mean(shares):.2f}", f"{max(shares):.2f}"] if shares else []
            figures = (_times(mean), _times(least.speedup), least.size)
            table.add_row(cell, lengths, work, name, reference, *figures, *more)
        table.add_section()
    _print(console, "over all sizes, times as fast", table)


def print_hosts(console: Console, rows: Sequence[Timing]) -> None:
    """On a GPU: a step's time beside that of the host which starts it and of the kernels alone."""
    measured = [row for row in rows if row.host_milliseconds is not None]
    for (cell, lengths, work), selected in _grouped(measured):
        table = _table("T x B x I x H")
        contenders = _in_order(row.contender for row in selected)
        for name in contenders:
            table.add_column(name, justify="right")
        for size in _in_order(row.size for row in selected):
            line = {row.contender: row for row in selected if row.size == size}
            table.add_row(size, *(_host(line[name]) if name in line else "" for name in contenders))
        _print(console, f"{_title(cell, lengths, work)}: ms of a step / of its host / of its kernels", table)


def print_memory(console: Console, rows: Sequence[Timing]) -> None:
    """Peak memory of a training step, where it was measured."""
    measured = [row for row in rows if row.peak_mib is not None]
    for (cell, lengths, _), selected in _grouped(measured):
        contenders = _in_order(row.contender for row in selected)
        table = _table("T x B x I x H")
        for name in contenders:
            table.add_column(name, justify="right")
        for size in _in_order(row.size for row in selected):
            line = {row.contender: row.peak_mib for row in selected if row.size == size}
            table.add_row(size, *(f"{line[name]:.1f}" if name in line else "" for name in contenders))
        _print(console, f"{_title(cell, lengths)}: MiB of a training step at its peak", table)


def print_starts(console: Console, starts: Sequence[Start]) -> None:
    """Times of first steps in fresh processes."""
    if not starts:
        return
    table = _table("cell", "who")
    for name in ("imports s", "compiling s", "cached ms", "beyond torch.nn ms", "second step ms"):
        table.add_column(name, justify="right")
    for row in starts:
        table.add_row(
            row.cell,
            row.contender,
            f"{row.imports:.2f}",
            f"{row.compiling:.2f}",
            *(f"{1000 * seconds:.1f}" for seconds in (row.cached, row.beyond_torch, row.second)),
        )
    _print(console, "first training step of a fresh process", table)


def print_models(console: Console, rows: Sequence[ModelsTiming]) -> None:
    """Times of one call for several models beside a call for each of them."""
    table = _table("cell", "T x B x I x H", "work", "engine")
    for name in ("models", "one call ms", "separate calls ms", "times as fast"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.cell,
            row.size,
            row.work,
            row.engine,
            str(row.models),
            f"{row.together_milliseconds:.2f}",
            f"{row.separate_milliseconds:.2f}",
            _times(row.ratio),
        )
    _print(console, "several models in one call", table)


def csv_text(rows: Sequence[Timing] | Sequence[Start] | Sequence[ModelsTiming]) -> str:
    """Rows with the names of their fields as header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0]._fields)
    writer.writerows(rows)
    return text.getvalue()


def draw_speeds(rows: Sequence[Timing]) -> bytes:
    """A PNG of bars: how many times as fast as the reference; a panel per cell, lengths and work."""
    import_matplotlib()
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    kinds = list(dict.fromkeys((row.cell, row.lengths) for row in rows))
    works = _in_order(row.work for row in rows)
    sizes = _in_order(row.size for row in rows)
    compared = [row for row in rows if row.contender != reference_of(row.cell)]
    names = _in_order(row.contender for row in compared)
    figure, axes = plt.subplots(
        len(kinds),
        len(works),
        figsize=(max(6.0, 1.5 + 0.9 * len(sizes)) * len(works), 1.2 + 3.1 * len(kinds)),
        squeeze=False,
        sharey="row",
        layout="constrained",
    )
    speeds = [row.speedup for row in compared] or [1.0]
    marks = [digit * 10.0**power for power in range(-3, 4) for digit in (1, 2, 5)]
    width = 0.8 / max(1, len(names))
    for i, (cell, lengths) in enumerate(kinds):
        for j, work in enumerate(works):
            panel: Any = axes[i][j]
            for k, name in enumerate(names):
                speeds_by_size = {
                    row.size: row.speedup
                    for row in compared
                    if (row.cell, row.lengths, row.work, row.contender) == (cell, lengths, work, name)
                }
                places = [
                    at + (k - (len(names) - 1) / 2) * width
                    for at, size in enumerate(sizes)
                    if size in speeds_by_size
                ]
                heights = [speeds_by_size[size] for size in sizes if size in speeds_by_size]
                # From the line at 1: upwards where it is faster, downwards where it is slower.
                panel.bar(places, [h - 1 for h in heights], width, bottom=1, color=f"C{k}", label=name)
            panel.axhline(1, color="black", linewidth=0.8)
            panel.set_yscale("log")
            panel.set_xticks(range(len(sizes)), sizes, rotation=30, ha="right", fontsize=8)
            panel.yaxis.set_major_locator(FixedLocator(marks))
            panel.yaxis.set_minor_locator(NullLocator())
            panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            panel.set_ylim(min([*speeds, 0.8]) / 1.15, max([*speeds, 1.25]) * 1.15)
            panel.grid(axis="y", linewidth=0.3)
            panel.set_axisbelow(True)
            panel.set_title(_title(cell, lengths, work), fontsize=10)
            if j == 0:
                panel.set_ylabel(f"times as fast as {reference_of(cell)}")
    handles = [plt.Rectangle((0, 0), 1, 1, color=f"C{k}") for k in range(len(names))]
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    plt.close(figure)
    return picture.getvalue()


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=True)
    return table


def _print(console: Console, title: str, table: Table) -> None:
    console.print(title, style="bold")
    console.print(table)


def _grouped(rows: Sequence[Timing]) -> list[tuple[tuple[str, str, str], list[Timing]]]:
    """The rows of each cell, lengths and work."""
    groups: dict[tuple[str, str, str], list[Timing]] = {}
    for row in rows:
        groups.setdefault((row.cell, row.lengths, row.work), []).append(row)
    return list(groups.items())


def _title(cell: str, lengths: str, *work: str) -> str:
    return ", ".join([cell, *(["ragged"] if lengths == "ragged" else []), *work])


def _host(row: Timing) -> str:
    kernels = "?" if row.kernel_milliseconds is None else f"{row.kernel_milliseconds:.2f}"
    return f"{row.milliseconds:.2f} / {row.host_milliseconds:.2f} / {kernels}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _times(ratio: float) -> Text:
    color = "red" if ratio < SLOWER else "green" if ratio >= 1 else "yellow"
    return Text(f"{ratio:.{2 if ratio >= 0.1 else 3}f}", color)


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
