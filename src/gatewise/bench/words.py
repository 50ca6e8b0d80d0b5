"""The words of ``gatewise bench engine``: their defaults, and one line for each that cannot be."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gatewise.config.outputs import Output, find_output
from gatewise.launch.devices import most_threads, usable_cores
from gatewise.settings import UsageError, closest, suggestion
from gatewise.settings.checks import no_path, short
from gatewise.settings.memory import in_words, memory

if TYPE_CHECKING:
    from gatewise.bench.case import Case, Size

SIZES = (
    "35x20x200x200,100x32x64x128,128x64x256x256,35x20x650x650,512x32x32x64,96x32x7x512,256x1x64x128,"
    "784x64x1x128"
)
# Defaults of all settings; no `engines` means all of them, and no `seconds` as long as it takes.
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
    "seconds": "0",
    "keras": "auto",
    "flashrnn": "auto",
    "memory": "false",
    "start": "false",
    "models": "",
    "file": "",
}
# Other defaults on a GPU: sizes for which cuDNN's times are known, as many inputs as hidden features.
ON_CUDA = {
    "cell": "LSTM,GRU",
    "sizes": (
        "128x64x128x128,512x64x64x64,1024x16x768x768,35x20x650x650,128x256x256x256,128x64x1024x1024,"
        "1024x1x256x256"
    ),
    "engines": "torch,cuda,auto,loop",
    "lengths": "full,ragged",
    "dtype": "bfloat16",
    # With imports before, and tables and the picture afterwards, it ends within four minutes.
    "seconds": "210",
}
# Other defaults with `models`, and as many threads as cores.
OF_MODELS = {"sizes": "128x16x64x64", "engines": "auto", "work": "training", "lengths": "full"}
USAGE = (
    "gatewise bench engine [cell=LSTM,GRU|all] [sizes=TxBxIxH,...] [engines=native,loop,...] "
    "[work=training,inference] [lengths=full,ragged] [device=cpu|cuda] "
    "[dtype=float32|float64|bfloat16|float16|tf32] [bidirectional=false] [threads=1] [rounds=7] "
    "[seconds=0] [keras=auto|true|false] [flashrnn=auto|true|false] [memory=false] [start=false] "
    "[models=1,8,32] [file=engines.csv]"
)


def settings_of(words: list[str]) -> dict[str, str]:
    several = any(word.startswith("models=") and word != "models=" for word in words)
    settings = SETTINGS | (ON_CUDA if "device=cuda" in words else {})
    settings |= {**OF_MODELS, "threads": str(usable_cores())} if several else {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in settings or not equals:
            raise UsageError(f"{word}: no such setting{suggestion(closest(key, SETTINGS))} ({USAGE})")
        settings[key] = value
    return settings


def parsed(settings: dict[str, str], models: int = 1) -> tuple[list[Case], list[str], list[str], int]:
    """Every cell and kind of lengths on every size, the engines, the works, and the rounds."""
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
            length,
            flag("bidirectional", settings["bidirectional"]),
            _threads(settings["threads"]),
            device,
        )
        for cell in cells
        for length in _listed("lengths", settings["lengths"], LENGTHS)
        for size in sizes
    ]
    for case in cases:
        _check_memory(case, models)
    engines = _listed("engines", settings["engines"] or ",".join(ENGINES), ENGINES)
    works = _listed("work", settings["work"], WORKS)
    return cases, engines, works, positive("rounds", settings["rounds"], most=10**6)


def _check_device(device: str, dtype: str) -> None:
    """Raise UsageError for a GPU that is not there, or a dtype for a GPU alone; allow TF32 or not."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device=cuda: no CUDA GPU is visible here; use device=cpu")
    if device == "cpu" and dtype in ("float16", "tf32"):
        raise UsageError(f"dtype={dtype}: is for a GPU; give device=cuda, or dtype=bfloat16")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = dtype == "tf32"


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
    return Size(*(positive("sizes", part) for part in parts))


def positive(key: str, text: str, most: int = 10**12) -> int:
    if not text.isdecimal() or not text.strip("0"):
        raise UsageError(f"{key}={short(text)}: give a whole number of at least 1")
    if len(text) > 15 or int(text) > most:
        raise UsageError(f"{key}={short(text)}: give a whole number of at most {most}")
    return int(text)


def _threads(text: str) -> int:
    count = positive("threads", text)
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


def flag(key: str, text: str) -> bool:
    return _one(key, text, ("true", "false")) == "true"


def others(settings: dict[str, str], device: str) -> tuple[list[str], list[str]]:
    """The libraries that are measured too, and a line for each that would be, were it installed."""
    from gatewise.bench.contenders import FLASHRNN, KERAS, keras_is_there
    from gatewise.bench.flashrnn import flashrnn_is_there

    names, notes = [], []
    for name, title, is_there in (
        (KERAS, "Keras", keras_is_there),
        (FLASHRNN, "FlashRNN", flashrnn_is_there),
    ):
        choice = _one(name, settings[name], ("auto", "true", "false"))
        if name == FLASHRNN and device != "cuda":
            if choice == "true":
                raise UsageError(f"{name}=true: is for a GPU; give device=cuda, or leave {name} out")
        elif choice != "false" and is_there():
            names.append(name)
        elif choice == "true":
            raise UsageError(
                f"{name}=true: {title} is not installed; pip install {name}, or leave {name} out"
            )
        elif choice == "auto":
            notes.append(f"{title} is not installed, and not measured")
    return names, notes


def seconds_of_all(text: str) -> float | None:
    """How long the benchmark may take; None where it may take as long as it takes."""
    return None if text.strip("0") == "" and text else positive("seconds", text, most=10**6)


def file_of(text: str) -> Path:
    """Where the CSV file goes; the picture goes beside it."""
    if not text:
        return Path("benchmarks") / f"engine_{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}.csv"
    if no_path(text) is not None:
        raise UsageError(f"file={short(text)}: {no_path(text)}")
    path = Path(text)
    if path.suffix != ".csv":
        raise UsageError(f"file={text}: give a name that ends in .csv; the picture is written beside it")
    return path


def output_of(path: Path) -> Output:
    output = find_output("file", path, (path.suffix,))
    assert output is not None
    return output
