"""``gatewise bench engine``: compares all engines, torch.nn and Keras in speed, memory and start-up.

With ``models=1,8,32`` it compares one call for that many models with a call for each of them.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from gatewise.config.outputs import Output, find_output
from gatewise.launch.devices import most_threads, usable_cores
from gatewise.settings import UsageError, closest, suggestion
from gatewise.settings.checks import no_path, short
from gatewise.settings.memory import in_words, memory
from gatewise.views.plain import plain_console

if TYPE_CHECKING:
    from gatewise.bench.case import Case, Size
    from gatewise.bench.models import ModelsTiming
    from gatewise.bench.process import Start
    from gatewise.bench.timing import Timing

SIZES = (
    "35x20x200x200,100x32x64x128,128x64x256x256,35x20x650x650,512x32x32x64,96x32x7x512,256x1x64x128,"
    "784x64x1x128"
)
# Defaults of all settings; no `engines` means all of them.
SETTINGS = {
    "cell": "LSTM",
    "sizes": SIZES,
    "engines": "",
    "work": "training,inference",
    "lengths": "full",
    "device": "cpu",
    "dtype": "float32",
    "bidirectional": "false",
    "threads": "1",
    "rounds": "7",
    "keras": "auto",
    "memory": "false",
    "start": "false",
    "models": "",
    "file": "",
}
# Other defaults on a GPU: sizes for which cuDNN's times are known, as many inputs as hidden features.
ON_CUDA = {
    "sizes": (
        "128x64x128x128,512x64x64x64,1024x16x768x768,35x20x650x650,128x256x256x256,128x64x1024x1024,"
        "1024x1x256x256"
    ),
    "engines": "torch,cuda,auto",
    "dtype": "bfloat16",
}
# Other defaults with `models`, and as many threads as cores.
OF_MODELS = {"sizes": "128x16x64x64", "engines": "auto", "work": "training"}
USAGE = (
    "gatewise bench engine [cell=LSTM,GRU|all] [sizes=TxBxIxH,...] [engines=native,loop,...] "
    "[work=training,inference] [lengths=full|ragged] [device=cpu|cuda] "
    "[dtype=float32|float64|bfloat16|float16|tf32] [bidirectional=false] [threads=1] [rounds=7] "
    "[keras=auto|true|false] [memory=false] [start=false] [models=1,8,32] [file=engines.csv]"
)


def bench_engine(words: list[str]) -> int:
    """Time every contender on every size, in turns; print tables, write CSV files and a picture.

    ``memory=true`` adds the peak memory of a training step and ``start=true`` the time of first steps, each
    in fresh processes. Raises UsageError for an unknown setting or choice.
    """
    settings = _settings(words)
    if settings["models"]:
        return _bench_models(settings)
    import torch

    from gatewise.bench import report
    from gatewise.bench.contenders import names
    from gatewise.bench.process import peak_of_step
    from gatewise.bench.process import start as measure_start
    from gatewise.bench.timing import Bench

    cases, engines, works, rounds = _parse(settings)
    on_cpu = cases[0].device == "cpu"
    # Keras on a GPU is not told from its start-up; memory and start are those of a process on the CPU.
    keras = _keras(settings["keras"]) and on_cpu
    memory, start = (_flag(key, settings[key]) for key in ("memory", "start"))
    if not on_cpu and (memory or start):
        raise UsageError(f"{'memory' if memory else 'start'}=true: measured on the CPU alone; leave it out")
    path = _file(settings["file"])
    path.parent.mkdir(parents=True, exist_ok=True)
    table, picture, first_steps = (
        _output(name) for name in (path, path.with_suffix(".png"), path.with_name(f"{path.stem}_start.csv"))
    )
    torch.set_num_threads(cases[0].threads)
    console = plain_console()
    if not console.is_terminal:  # wide enough for the tables
        console.width = 140
    console.print(_heading(cases[0], f"medians of {rounds} rounds in turns"))
    rows: list[Timing] = []
    starts: list[Start] = []
    with _progress(console) as progress:
        bench = Bench(rounds, progress)
        for number, case in enumerate(cases, 1):
            for row in bench.timings(case, names(case.cell, engines, keras, not on_cpu), works):
                if memory and row.work == "training":
                    progress(f"{case.cell} {case.size}: memory of {row.contender}")
                    row = row._replace(peak_mib=peak_of_step(case, row.contender))
                rows.append(row)
            table.write(report.csv_text(rows))  # now, so that an interrupted run keeps its measurements
            if not console.is_terminal:
                console.print(f"{number} of {len(cases)}: {case.cell} {case.size}")
        # Once per cell, for its first size.
        for case in cases[:: len(cases) // len({case.cell for case in cases})] if start else ():
            for name in engines:
                if (case.cell, name) not in bench.left_out:
                    progress(f"{case.cell}: first steps of {name}")
                    starts.append(measure_start(case, name, rounds))
    report.print_speeds(console, rows)
    report.print_means(console, rows)
    report.print_memory(console, rows)
    report.print_starts(console, starts)
    for line in [*bench.notes, *_of_the_cache()]:
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

    for key in ("memory", "start", "keras"):
        if settings[key] == "true":
            raise UsageError(f"{key}=true: not measured for several models; leave it out, or models")
    counts = [_positive("models", text, most=10**4) for text in settings["models"].split(",")]
    cases, engines, works, rounds = _parse(settings, max(counts))
    path = _file(settings["file"])
    path.parent.mkdir(parents=True, exist_ok=True)
    table = _output(path)
    torch.set_num_threads(cases[0].threads)
    console = plain_console()
    if not console.is_terminal:
        console.width = 140
    console.print(_heading(cases[0], f"the best of {rounds} rounds in turns"))
    rows: list[ModelsTiming] = []
    with _progress(console) as progress:
        bench = Bench(rounds, progress)
        for case in cases:
            rows += models.timings(bench, case, engines, works, counts)
            table.write(report.csv_text(rows))
    report.print_models(console, rows)
    for line in bench.notes:
        console.print(line)
    console.print(f"wrote {table.path}", soft_wrap=True)
    return 0


def _parse(settings: dict[str, str], models: int = 1) -> tuple[list[Case], list[str], list[str], int]:
    """Every cell on every size, the engines, the works, and the rounds."""
    from gatewise.bench.case import DEVICES, DTYPES, LENGTHS, WORKS, Case, shipped_cells
    from gatewise.engine import ENGINES

    device, dtype = _one("device", settings["device"], DEVICES), _one("dtype", settings["dtype"], DTYPES)
    _check_device(device, dtype)

    shipped = shipped_cells()
    every = settings["cell"] == "all"
    cells = list(shipped) if every else _listed("cell", settings["cell"], shipped, "cell")
    sizes = [_size(text) for text in settings["sizes"].split(",")]
    cases = [
        Case(
            cell,
            size,
            dtype,
            _one("lengths", settings["lengths"], LENGTHS),
            _flag("bidirectional", settings["bidirectional"]),
            _threads(settings["threads"]),
            device,
        )
        for cell in cells
        for size in sizes
    ]
    for case in cases:
        _check_memory(case, models)
    engines = _listed("engines", settings["engines"] or ",".join(ENGINES), ENGINES)
    works = _listed("work", settings["work"], WORKS)
    return cases, engines, works, _positive("rounds", settings["rounds"], most=10**6)


def _check_device(device: str, dtype: str) -> None:
    """Raise UsageError for a GPU that is not there, or a dtype for a GPU alone; allow TF32 or not."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device=cuda: no CUDA GPU is visible here; use device=cpu")
    if device == "cpu" and dtype in ("float16", "tf32"):
        raise UsageError(f"dtype={dtype}: is for a GPU; give device=cuda, or dtype=bfloat16")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = dtype == "tf32"


def _of_the_cache() -> list[str]:
    """Where compiled code is kept, and how much of it."""
    from gatewise.engine.cache import place_and_size

    found = place_and_size()
    return [] if found is None else [f"compiled code is kept in {found[0]}: {in_words(found[1])}"]


def _heading(case: Case, rounds: str) -> str:
    import torch

    threads = "1 thread" if case.threads == 1 else f"{case.threads} threads"
    parts = [
        threads if case.device == "cpu" else torch.cuda.get_device_name(),
        case.dtype,
        f"{case.lengths} lengths",
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


def _settings(words: list[str]) -> dict[str, str]:
    several = any(word.startswith("models=") and word != "models=" for word in words)
    settings = SETTINGS | (ON_CUDA if "device=cuda" in words else {})
    settings |= {**OF_MODELS, "threads": str(usable_cores())} if several else {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in settings or not equals:
            raise UsageError(f"{word}: no such setting{suggestion(closest(key, SETTINGS))} ({USAGE})")
        settings[key] = value
    return settings


def _listed(key: str, text: str, choices: Iterable[str], what: str = "choice") -> list[str]:
    """The names between commas, each once."""
    for name in text.split(","):
        if name not in choices:
            near = suggestion(closest(name, choices))
            raise UsageError(f"{key}={name}: no such {what}{near} ({', '.join(choices)})")
    return list(dict.fromkeys(text.split(",")))


def _one(key: str, text: str, choices: Iterable[str]) -> str:
    names = _listed(key, text, choices)
    if len(names) > 1:
        raise UsageError(f"{key}={text}: give one of {', '.join(choices)}")
    return names[0]


def _size(text: str) -> Size:
    from gatewise.bench.case import Size

    parts = text.split("x")
    if len(parts) != 4:
        raise UsageError(f"sizes={text}: steps, batch, inputs and hidden size are written 35x20x200x200")
    return Size(*(_positive("sizes", part) for part in parts))


def _positive(key: str, text: str, most: int = 10**12) -> int:
    if not text.isdecimal() or not text.strip("0"):
        raise UsageError(f"{key}={short(text)}: give a whole number of at least 1")
    if len(text) > 15 or int(text) > most:
        raise UsageError(f"{key}={short(text)}: give a whole number of at most {most}")
    return int(text)


def _threads(text: str) -> int:
    count = _positive("threads", text)
    if count > most_threads():
        most, cores = most_threads(), usable_cores()
        raise UsageError(f"threads={text}: {cores} cores are usable here; give at most {most}")
    return count


def _check_memory(case: Case, models: int) -> None:
    """Raise UsageError where weights, gradients and the states of one step take more memory than there is."""
    from gatewise.bench.case import DTYPES

    steps, batch, inputs, hidden = case.size
    gates = len(case.cell_type.gates) * (2 if case.bidirectional else 1)
    weights = 2 * gates * hidden * (inputs + hidden)
    size = (weights + steps * batch * (inputs + gates * hidden)) * DTYPES[case.dtype].itemsize
    size *= models
    if size > memory():
        raise UsageError(
            f"sizes={case.size}: takes {in_words(size)} or more, and there are {in_words(memory())} here"
        )


def _flag(key: str, text: str) -> bool:
    return _one(key, text, ("true", "false")) == "true"


def _keras(text: str) -> bool:
    """Whether Keras is measured too."""
    from gatewise.bench.contenders import keras_is_there

    if _one("keras", text, ("auto", "true", "false")) == "false":
        return False
    if text == "true" and not keras_is_there():
        raise UsageError("keras=true: Keras is not installed; pip install keras, or leave keras out")
    return keras_is_there()


def _file(text: str) -> Path:
    """Where the CSV file goes; the picture goes beside it."""
    if not text:
        return Path("benchmarks") / f"engine_{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}.csv"
    if no_path(text) is not None:
        raise UsageError(f"file={short(text)}: {no_path(text)}")
    path = Path(text)
    if path.suffix != ".csv":
        raise UsageError(f"file={text}: give a name that ends in .csv; the picture is written beside it")
    return path


def _output(path: Path) -> Output:
    output = find_output("file", path, (path.suffix,))
    assert output is not None
    return output
