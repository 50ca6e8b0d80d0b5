"""Environments, streams and limits of odd machines. A training goes on, or ends in one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import Input
from inputs_settings import SPEECH

_FAST = (
    *("name=x", "model.hidden_size=4", "trainer.max_epochs=1", "trainer.limit_train_batches=2"),
    *("trainer.limit_val_batches=2", "trainer.limit_test_batches=2"),
)
TRAIN = ("train", *SPEECH, *_FAST, "logger=none")
WITH_WANDB = ("train", *SPEECH, *_FAST)
_TRAIN = "gatewise " + " ".join(TRAIN)
_WITH_WANDB = "gatewise " + " ".join(WITH_WANDB)
_LONG = f"{_TRAIN} trainer.max_epochs=100000 callbacks.early_stopping.patience=100000"
_MISSPELT = "gatewise train model=gruu"
_PIPE = "set -o pipefail; "
_STOPPED = 141

# Lines for bash, with how each has to be answered where it is not that it works.
STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "no stdout": (f"{_TRAIN} >&-", {}),
    "no stderr": (f"{_TRAIN} 2>&-", {}),
    "no stream": (f"{_TRAIN} <&- >&- 2>&-", {}),
    "no stdout, misspelt": (f"{_MISSPELT} >&-", {"right": "refused", "codes": (1,)}),
    "no stderr, misspelt": (f"{_MISSPELT} 2>&-", {"right": "refused", "codes": (1,), "lines": (0,)}),
    "no stdout, help": ("gatewise --help >&-", {}),
    "no stdout, help of a verb": ("gatewise train --help >&-", {}),
    "no stdout, sweep": (f"gatewise train -m {' '.join(TRAIN[1:])} seed=1,2 >&-", {}),
    "head": (f"{_PIPE}{_TRAIN} | head -1", {}),
    "true": (f"{_PIPE}{_TRAIN} | true", {}),
    "head, SIGPIPE ignored": (f"trap '' PIPE; {_PIPE}{_TRAIN} | head -1", {}),
    "head, sweep": (f"{_PIPE}gatewise train -m {' '.join(TRAIN[1:])} seed=1,2 | head -1", {}),
    "true, help": (
        f"{_PIPE}gatewise train --help | true",
        {"right": "refused", "codes": (_STOPPED,), "lines": (0,)},
    ),
    "true, completion": (
        f"{_PIPE}gatewise completion bash | true",
        {"right": "refused", "codes": (_STOPPED,), "lines": (0,)},
    ),
    "true, evaluate": (
        f"{_PIPE}gatewise evaluate run=runs/r | true",
        {"right": "refused", "codes": (_STOPPED,), "lines": (0,)},
    ),
    "true, predict": (
        f"{_PIPE}gatewise predict run=runs/r input=mine.ts | true",
        {"right": "refused", "codes": (_STOPPED,), "lines": (0,)},
    ),
    "true, predict to a file": (
        f"{_PIPE}gatewise predict run=runs/r input=mine.ts output=runs/out.csv | true; test -s runs/out.csv",
        {},
    ),
    "full disk": (f"{_TRAIN} > /dev/full", {}),
    "full disk, both": (f"{_TRAIN} > /dev/full 2>&1", {}),
    "full disk, misspelt": (f"{_MISSPELT} 2> /dev/full", {"right": "refused", "lines": (0,)}),
    "full disk, help": ("gatewise --help > /dev/full", {"right": "refused", "codes": (1,)}),
    "full disk, evaluate": ("gatewise evaluate run=runs/r > /dev/full", {"right": "refused", "codes": (1,)}),
    "full disk, settings": ("gatewise train --cfg job > /dev/full", {"right": "refused", "codes": (1,)}),
}
_BEGINS = {"right": "either", "may_begin": True}
LIMITS: dict[str, tuple[str, dict[str, Any]]] = {
    "files of 4 kB": (f"ulimit -f 4; {_TRAIN}", _BEGINS),
    "files of 20 kB": (f"ulimit -f 20; {_TRAIN}", _BEGINS),
    "files of 4 kB, W&B": (f"ulimit -f 4; {_WITH_WANDB}", _BEGINS),
    "CPU of 4 seconds": (
        f"ulimit -t 4; {_LONG}",
        {**_BEGINS, "right": "refused", "codes": (152,)},
    ),
    "CPU of 12 seconds": (
        f"ulimit -t 12; {_LONG}",
        {**_BEGINS, "right": "refused", "codes": (152,)},
    ),
    "memory of 100 MB": (f"ulimit -v 100000; {_TRAIN}", _BEGINS),
    "memory of 300 MB": (f"ulimit -v 300000; {_TRAIN}", _BEGINS),
    "20 open files": (f"ulimit -n 20; {_TRAIN}", _BEGINS),
    "a small stack": (f"ulimit -s 256; {_TRAIN}", _BEGINS),
    "a folder that is gone": ("mkdir runs/d; cd runs/d; rmdir ../d; gatewise train", {"right": "refused"}),
    "a folder that is gone, help": ("mkdir runs/d; cd runs/d; rmdir ../d; gatewise --help", {}),
    "a folder that is gone, sync": ("mkdir runs/d; cd runs/d; rmdir ../d; gatewise sync", _BEGINS),
    "optimised evaluation": (
        "PYTHONOPTIMIZE=2 gatewise evaluate run=runs/r && PYTHONOPTIMIZE=2 gatewise predict run=runs/r "
        "input=mine.ts",
        {},
    ),
    "optimised, misspelt": (f"PYTHONOPTIMIZE=2 {_MISSPELT}", {"right": "refused"}),
}
_TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "RANK": "0",
    "WORLD_SIZE": "1",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "9",
}
VARIABLES: dict[str, tuple[dict[str, str | None], str]] = {
    **{f"COLUMNS={value}": ({"COLUMNS": value}, "works") for value in ("0", "1", "abc", "1000000000", "-5")},
    "no terminal": ({"TERM": None}, "works"),
    "home that is not there": ({"HOME": "/nonexistent"}, "works"),
    "no temporary folder": ({"TMPDIR": "/nonexistent"}, "works"),
    **{
        f"CC={value}": ({"CC": value}, "works")
        for value in ("gcc '", "true", "nonexistent", "gcc -g", "/", " ", "cat", "gcc -E")
    },
    "MPLBACKEND=nope": ({"MPLBACKEND": "nope"}, "works"),
    "MPLCONFIGDIR": ({"MPLCONFIGDIR": "/dev/null"}, "works"),
    **{
        f"OMP_NUM_THREADS={value}": ({"OMP_NUM_THREADS": value}, "works")
        for value in ("abc", "0", "1000000000")
    },
    "PYTHONWARNINGS=error": ({"PYTHONWARNINGS": "error"}, "works"),
    "PYTHONWARNINGS=nonsense": ({"PYTHONWARNINGS": "nonsense"}, "works"),
    "PYTHONOPTIMIZE=2": ({"PYTHONOPTIMIZE": "2"}, "works"),
    "PYTHONIOENCODING=ascii": ({"PYTHONIOENCODING": "ascii"}, "works"),
    "LC_ALL=C": ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "works"),
    "TZ": ({"TZ": "No/Where"}, "works"),
    "HYDRA_FULL_ERROR": ({"HYDRA_FULL_ERROR": "1"}, "works"),
    "PL_TRAINER_MAX_STEPS": ({"PL_TRAINER_MAX_STEPS": "abc"}, "works"),
    "TORCH_LOGS": ({"TORCH_LOGS": "nonsense"}, "either"),
    "CUDA_VISIBLE_DEVICES": ({"CUDA_VISIBLE_DEVICES": "nonsense"}, "works"),
    "XDG_CACHE_HOME": ({"XDG_CACHE_HOME": "/dev/null"}, "works"),
    "GATEWISE_DATA a file": ({"GATEWISE_DATA": "mine.ts"}, "works"),
    "GATEWISE_DATA an interpolation": ({"GATEWISE_DATA": "${x}"}, "either"),
    "SLURM": ({"SLURM_JOB_ID": "../../x", "SLURM_NTASKS": "abc", "SLURM_RESTART_COUNT": "abc"}, "works"),
    "ranks": ({"RANK": "a", "WORLD_SIZE": "b", "LOCAL_WORLD_SIZE": "c"}, "works"),
    "torchrun alone": ({"TORCHELASTIC_RUN_ID": "x"}, "refused"),
    "torchrun gone": (_TORCHRUN, "refused"),
    **{
        f"torchrun {name}={value}": ({**_TORCHRUN, name: value}, "refused")
        for name, value in (
            *(("RANK", "a"), ("RANK", "5"), ("WORLD_SIZE", "0"), ("MASTER_PORT", "99999999999")),
            *(("MASTER_ADDR", "no such"), ("LOCAL_WORLD_SIZE", "abc"), ("RANK", None)),
        )
    },
}
WANDB: dict[str, tuple[dict[str, str | None], str]] = {
    **{
        f"{name}={value}": ({name: value}, "refused")
        for name, value in (
            *(("WANDB_MODE", "nope"), ("WANDB_BASE_URL", "nonsense"), ("WANDB_PROJECT", "a/b")),
            *(("WANDB_INIT_TIMEOUT", "abc"), ("WANDB_SILENT", "maybe"), ("WANDB_RUN_ID", "a/b")),
            ("WANDB_CONFIG_DIR", "~nobody1/x"),
        )
    },
    "WANDB_SERVICE": ({"WANDB_SERVICE": "nonsense"}, "works"),
    "WANDB_NOTES": ({"WANDB_NOTES": "a\nb\x1b[31m"}, "either"),
    "WANDB_DIR": ({"WANDB_DIR": "/nonexistent"}, "works"),
}


def of_environments() -> Iterator[Input]:
    """Each in a new process, which reads its environment as it imports torch."""
    for name, (line, answer) in {**STREAMS, **LIMITS}.items():
        yield Input(name, shell=line, **{"right": "works", **answer})
    for name, (variables, right) in VARIABLES.items():
        yield Input(name, TRAIN, environment=variables, right=right)
    ascii_only: dict[str, str | None] = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    yield Input("labels beyond ASCII", TRAIN, right="works", prepare=_accented, environment=ascii_only)
    yield Input("native", (*TRAIN, "model.engine=native"), environment={"CC": "nonexistent"}, right="refused")
    yield Input(
        "native, CC=true", (*TRAIN, "model.engine=native"), environment={"CC": "true"}, right="refused"
    )
    if os.getuid() == 0:
        for words in (
            TRAIN,
            ("evaluate", "run=runs/r"),
            ("predict", "run=runs/r", "input=mine.ts"),
            ("sync",),
        ):
            yield Input(f"{words[0]} as nobody", words, right="works", nobody=True)
    for name, (variables, right) in WANDB.items():
        yield Input(name, WITH_WANDB, environment=variables, right=right)
    for url in ("nonsense", "http://", "http://x:99999999", "http://[", "http://a b", "http://127.0.0.1:9"):
        yield Input(
            f"sync to {url}",
            ("sync",),
            environment={"WANDB_BASE_URL": url},
            right="refused",
            prepare=_offline_run,
        )


def _accented(folder: Path) -> None:
    path = folder / "mine.ts"
    path.write_text(path.read_text().replace("calm", "calmé"), encoding="utf-8")


def _offline_run(folder: Path) -> None:
    """A run that has something to send."""
    offline = folder / "runs/r/wandb/offline-run-20260101_000000-r"
    offline.mkdir(parents=True)
    (offline / "run-r.wandb").write_bytes(b":W&B\xe1\xbe\x00")
