"""``gatewise bench engine``: a step of training and of inference by every engine, beside torch.nn."""

from __future__ import annotations

import csv
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from gatewise import cells
from gatewise.cli.errors import UsageError, closest, did_you_mean
from gatewise.engine import ENGINES
from gatewise.nn import Recurrent
from gatewise.runs.files import write_text

ROUNDS = 7
SIZES = (
    "35x20x200x200,100x32x64x128,128x64x256x256,35x20x650x650,512x32x32x64,96x32x7x512,256x1x64x128,"
    "784x64x1x128"
)
SETTINGS = {
    "cell": "LSTM",
    "sizes": SIZES,
    "engines": ",".join(name for name in ENGINES if name != "auto"),
    "threads": "1",
    "file": "",
}
USAGE = (
    "gatewise bench engine [cell=LSTM] [sizes=TxBxIxH,...] [engines=native,function,loop] [threads=1] "
    "[file=engines.csv]"
)
REFERENCES: dict[str, Any] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}


class Timing(NamedTuple):
    """What one contender took for one step; a row of the CSV file."""

    cell: str
    size: str
    work: str
    contender: str
    milliseconds: float
    speedup: float
    """How many times faster than torch.nn (than the loop, where torch has no such cell)."""
    gigaflops: float
    share_of_peak: float


def bench_engine(words: list[str]) -> int:
    """Time every contender on every size in turns; prints a table, and writes the CSV file that is named."""
    settings = _settings(words)
    cell_type = _cell(settings["cell"])
    engines = _listed("engines", settings["engines"], ENGINES)
    sizes = [_size(text) for text in settings["sizes"].split(",")]
    torch.set_num_threads(_positive("threads", settings["threads"]))
    torch.manual_seed(0)
    peak = _matrix_peak()
    console = Console()
    table = Table(
        title=f"{cell_type.__name__}, {torch.get_num_threads()} thread(s), medians of {ROUNDS} rounds in "
        f"turns; matrix peak {peak:.0f} GFLOP/s",
        title_justify="left",
    )
    for column in ("T x B x I x H", "work", "who", "ms", "times faster", "GFLOP/s", "of peak"):
        table.add_column(column, justify="left" if column in ("work", "who") else "right")
    rows: list[Timing] = []
    for size in sizes:
        for row in _timings(cell_type, size, engines, peak):
            rows.append(row)
            table.add_row(
                row.size,
                row.work,
                row.contender,
                f"{row.milliseconds:.2f}",
                f"{row.speedup:.2f}",
                f"{row.gigaflops:.0f}",
                f"{100 * row.share_of_peak:.0f} %",
            )
    console.print(table)
    for work in ("training", "inference"):
        for name in engines:
            mine = [row.speedup for row in rows if (row.work, row.contender) == (work, name)]
            mean, least = statistics.geometric_mean(mine), min(mine)
            reference = rows[0].contender
            text = f"{work}, {name}: {mean:.2f} times as fast as {reference} (geometric mean)"
            console.print(f"{text}, at least {least:.2f}", highlight=False)
    if settings["file"]:
        _write(Path(settings["file"]), rows)
    return 0


def _timings(
    cell_type: type[cells.Cell], size: tuple[int, int, int, int], engines: list[str], peak: float
) -> list[Timing]:
    steps, batch, inputs, hidden = size
    cell = cell_type()
    contenders: dict[str, nn.Module] = {}
    reference = REFERENCES.get(cell_type.__name__)
    if reference is not None:
        theirs = reference(inputs, hidden)
        contenders["torch.nn"] = theirs
        makers = {name: Recurrent.from_torch(theirs, engine=name) for name in engines}
    else:
        makers = {name: Recurrent(inputs, hidden, cell=cell, engine=name) for name in engines}
        contenders["loop"] = makers.pop("loop", Recurrent(inputs, hidden, cell=cell, engine="loop"))
    contenders.update(makers)
    x = torch.randn(steps, batch, inputs)
    product = 2 * len(cell.gates) * hidden * (inputs + hidden) * steps * batch
    rows = []
    for work, run, flops in (("training", _train, 3 * product), ("inference", _infer, product)):
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for round_ in range(ROUNDS + 1):
            for name, module in contenders.items():
                seconds = _seconds(run, module, x)
                if round_ > 0:  # the first compiles, and warms up
                    times[name].append(seconds)
        first = next(iter(contenders))
        for name, taken in times.items():
            seconds = statistics.median(taken)
            speedup = statistics.median(r / t for r, t in zip(times[first], taken, strict=True))
            speed = flops / seconds / 1e9
            label = "x".join(map(str, size))
            rows.append(
                Timing(cell_type.__name__, label, work, name, 1000 * seconds, speedup, speed, speed / peak)
            )
    return rows


def _train(module: nn.Module, x: torch.Tensor) -> None:
    module.zero_grad()
    module(x)[0].sum().backward()


@torch.no_grad()
def _infer(module: nn.Module, x: torch.Tensor) -> None:
    module(x)


def _seconds(work: Callable[[nn.Module, torch.Tensor], None], module: nn.Module, x: torch.Tensor) -> float:
    started = time.perf_counter()
    work(module, x)
    return time.perf_counter() - started


def _matrix_peak(size: int = 1024) -> float:
    """GFLOP/s of torch's product of two square matrices, the best of six."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    times = []
    for _ in range(6):
        started = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - started)
    return 2 * size**3 / min(times) / 1e9


def _settings(words: list[str]) -> dict[str, str]:
    settings = dict(SETTINGS)
    for word in words:
        key, equals, value = word.partition("=")
        if key not in settings or not equals:
            raise UsageError(f"{word}: no such setting{did_you_mean(closest(key, SETTINGS))} ({USAGE})")
        settings[key] = value
    return settings


def _cell(name: str) -> type[cells.Cell]:
    known: dict[str, type[cells.Cell]] = {
        n: kind for n in cells.__all__ if n != "Cell" and issubclass(kind := getattr(cells, n), cells.Cell)
    }
    if name not in known:
        raise UsageError(
            f"cell={name}: no such cell{did_you_mean(closest(name, known))} ({', '.join(known)})"
        )
    return known[name]


def _listed(key: str, text: str, known: Any) -> list[str]:
    for name in text.split(","):
        if name not in known:
            near = did_you_mean(closest(name, known))
            raise UsageError(f"{key}={name}: no such choice{near} ({', '.join(known)})")
    return text.split(",")


def _size(text: str) -> tuple[int, int, int, int]:
    parts = text.split("x")
    if len(parts) != 4:
        raise UsageError(f"sizes={text}: steps, batch, inputs and hidden size are written 35x20x200x200")
    steps, batch, inputs, hidden = (_positive("sizes", part) for part in parts)
    return steps, batch, inputs, hidden


def _positive(key: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{key}={text}: give a whole number of at least 1")
    return int(text)


def _write(path: Path, rows: list[Timing]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Timing._fields)
    writer.writerows(rows)
    write_text(path, text.getvalue())
