"""``gatewise bench engine``: compares all engines with other libraries in speed, memory and start-up.

With ``models=1,8,32`` it compares one call for that many models with a call for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from gatewise.bench.budget import Budget
from gatewise.bench.words import (
    USAGE,
    file_of,
    flag,
    others,
    output_of,
    parsed,
    positive,
    seconds_of_all,
    settings_of,
)
from gatewise.settings import UsageError
from gatewise.settings.memory import in_words
from gatewise.views.plain import plain_console

if TYPE_CHECKING:
    from gatewise.bench.case import Case
    from gatewise.bench.models import ModelsTiming
    from gatewise.bench.process import Start
    from gatewise.bench.timing import Bench, Timing

__all__ = ["USAGE", "bench_engine"]


def bench_engine(words: list[str]) -> int:
    """Time every contender on every size, in turns; print tables, write CSV files and a picture.

    ``memory=true`` adds the peak memory of a training step and ``start=true`` the time of first steps, each
    in fresh processes. Raises UsageError for an unknown setting or choice.
    """
    settings = settings_of(words)
    if settings["models"]:
        return _bench_models(settings)
    import torch

    from gatewise.bench import report
    from gatewise.bench.contenders import names
    from gatewise.bench.process import peak_of_step
    from gatewise.bench.process import start as measure_start
    from gatewise.bench.timing import Bench

    cases, engines, works, rounds = parsed(settings)
    on_cpu = cases[0].device == "cpu"
    libraries, not_there = others(settings, cases[0].device)
    budget = Budget(seconds_of_all(settings["seconds"]), len(cases) * (1 + len(works)))
    memory, start = (flag(key, settings[key]) for key in ("memory", "start"))
    if not on_cpu and (memory or start):
        raise UsageError(f"{'memory' if memory else 'start'}=true: measured on the CPU alone; leave it out")
    path = file_of(settings["file"])
    path.parent.mkdir(parents=True, exist_ok=True)
    table, picture, first_steps = (
        output_of(name) for name in (path, path.with_suffix(".png"), path.with_name(f"{path.stem}_start.csv"))
    )
    torch.set_num_threads(cases[0].threads)
    console = plain_console()
    if not console.is_terminal:  # wide enough for the tables
        console.width = 140
    console.print(_heading(cases, f"medians of {rounds} rounds in turns"))
    rows: list[Timing] = []
    starts: list[Start] = []
    with _progress(console) as progress:
        bench = Bench(rounds, progress, budget)
        for number, case in enumerate(cases, 1):
            if budget.is_over:
                bench.notes.append(_left_over(settings["seconds"], cases[number - 1 :]))
                break
            for row in bench.timings(case, names(case.cell, engines, libraries, not on_cpu), works):
                if memory and row.work == "training":
                    progress(f"{case.cell} {case.size}: memory of {row.contender}")
                    row = row._replace(peak_mib=peak_of_step(case, row.contender))
                rows.append(row)
            table.write(report.csv_text(rows))  # now, so that an interrupted run keeps its measurements
            if not console.is_terminal:
                console.print(f"{number} of {len(cases)}: {case.cell} {case.size}, {case.lengths} lengths")
        # Once per cell, for its first size.
        for case in cases[:: len(cases) // len({case.cell for case in cases})] if start else ():
            for name in engines:
                if (case.cell, name) not in bench.left_out:
                    progress(f"{case.cell}: first steps of {name}")
                    starts.append(measure_start(case, name, rounds))
    _print_limits(console, bench, cases[0])
    report.print_speeds(console, rows)
    report.print_means(console, rows)
    report.print_hosts(console, rows)
    report.print_memory(console, rows)
    report.print_starts(console, starts)
    if bench.fewest_rounds < rounds:
        bench.notes.append(
            f"seconds={settings['seconds']}: some were measured in fewer than {rounds} rounds, the fewest in "
            f"{bench.fewest_rounds}"
        )
    for line in [*bench.notes, *not_there, *_of_the_cache()]:
        console.print(line, soft_wrap=True)
    picture.write(report.draw_speeds(rows))
    written = [table, picture]
    if starts:
        written.insert(1, first_steps)
        first_steps.write(report.csv_text(starts))
    for file in written:
        console.print(f"wrote {file.path}", soft_wrap=True)
    return 0


def _bench_models(settings: dict[str, str]) -> int:
    """Time one call for many models beside a call for each, in turns; print a table, write a CSV file."""
    import torch

    from gatewise.bench import models, report
    from gatewise.bench.timing import Bench

    for key in ("memory", "start", "keras", "flashrnn"):
        if settings[key] == "true":
            raise UsageError(f"{key}=true: not measured for several models; leave it out, or models")
    counts = [positive("models", text, most=10**4) for text in settings["models"].split(",")]
    cases, engines, works, rounds = parsed(settings, max(counts))
    path = file_of(settings["file"])
    path.parent.mkdir(parents=True, exist_ok=True)
    table = output_of(path)
    torch.set_num_threads(cases[0].threads)
    console = plain_console()
    if not console.is_terminal:
        console.width = 140
    console.print(_heading(cases, f"the best of {rounds} rounds in turns"))
    rows: list[ModelsTiming] = []
    with _progress(console) as progress:
        parts = len(cases) * len(engines) * len(works) * len(counts)
        bench = Bench(rounds, progress, Budget(seconds_of_all(settings["seconds"]), parts))
        for number, case in enumerate(cases):
            if bench.budget.is_over:
                bench.notes.append(_left_over(settings["seconds"], cases[number:]))
                break
            rows += models.timings(bench, case, engines, works, counts)
            table.write(report.csv_text(rows))
    report.print_models(console, rows)
    for line in bench.notes:
        console.print(line, soft_wrap=True)
    console.print(f"wrote {table.path}", soft_wrap=True)
    return 0


def _of_the_cache() -> list[str]:
    """Where compiled code is kept, and how much of it."""
    from gatewise.engine.cache import place_and_size

    found = place_and_size()
    return [] if found is None else [f"compiled code is kept in {found[0]}: {in_words(found[1])}"]


def _left_over(seconds: str, cases: Sequence[Case]) -> str:
    which = [f"{case.cell} {case.size} ({case.lengths} lengths)" for case in cases]
    return f"seconds={seconds}: the time is used up; not measured: {', '.join(which)}"


def _print_limits(console: Console, bench: Bench, case: Case) -> None:
    limits = bench.limits(case)
    products = [f"{kind} {speed / 1000:.3g} TFLOP/s" for kind, speed in limits.gigaflops.items()]
    console.print(f"limits measured here: products {', '.join(products)}; copying {limits.copy:.3g} GB/s")


def _heading(cases: Sequence[Case], rounds: str) -> str:
    import torch

    case, lengths = cases[0], dict.fromkeys(case.lengths for case in cases)
    threads = "1 thread" if case.threads == 1 else f"{case.threads} threads"
    parts = [
        threads if case.device == "cpu" else torch.cuda.get_device_name(),
        case.dtype,
        f"{' and '.join(lengths)} lengths",
    ]
    parts += ["both directions"] if case.bidirectional else []
    return f"{', '.join(parts)}; {rounds}"


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str], None]]:
    """On a terminal, shows what is being measured."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("")
        yield lambda text: progress.update(task, description=text)
