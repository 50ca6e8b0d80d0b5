"""A run directory that a stranger has sent, and commands given to it as a user would give them."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import OmegaConf

from gatewise.config.build import locate
from gatewise.config.compose import import_users_modules
from gatewise.config.origins import check_origins
from gatewise.launch.own_code import leave_out_runs
from gatewise.runs.config_files import read_config

FAST = ("trainer.limit_train_batches=2", "trainer.limit_val_batches=2", "test=false", "wandb.mode=disabled")
"""A training of two steps."""

EVIL = """
from pathlib import Path

Path({pwned!r}).touch()

from gatewise.cells import GRU


class Evil(GRU):
    pass
"""


CONFIG = {
    "task": {"_target_": "gatewise.tasks.classification.SequenceClassification"},
    "data": {"_target_": "gatewise.data.sequences.FeatureSequences", "train_file": "mine.ts"},
    "model": {"_target_": "gatewise.nn.Recurrent", "cell": {"_target_": "gatewise.cells.GRU"}},
    "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
    "trainer": {"_target_": "pytorch_lightning.Trainer", "max_epochs": 1, "devices": 1, "accelerator": "cpu"},
    "callbacks": {},
    "wandb": {},
}


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str
    imported: frozenset[str]
    """Modules that it has imported."""

    def line(self) -> str:
        """The one line on stderr."""
        assert self.err.count("\n") == 1, self.err
        return self.err.strip()


class Stranger:
    """``work/runs/r``, the stranger's run in the user's working folder."""

    def __init__(self, top: Path) -> None:
        self.work, self.pwned = top / "work", top / "PWNED"
        self.run = self.work / "runs" / "r"
        self.named = ""
        self.evil = EVIL.format(pwned=str(self.pwned))
        (self.run / "checkpoints").mkdir(parents=True)
        for name in ("best", "last"):
            (self.run / "checkpoints" / f"{name}.ckpt").touch()
        self.config = OmegaConf.create(CONFIG)
        choices = {"task": "classification", "data": "japanese_vowels", "model": "gru"}
        choices |= {"optimizer": "adam", "trainer": "cpu"}
        self.write("runs/r/overrides.yaml", json.dumps({"overrides": [], "choices": choices}))
        self.write("runs/r/facts.json", "{}")
        self.write("runs/r/status.json", '{"state": "interrupted"}')
        self.write("runs/r/example.npy", "")
        self.save()

    def save(self) -> None:
        self.write("runs/r/config.yaml", OmegaConf.to_yaml(self.config, resolve=True))

    def name(self, target: object, key: str = "model.cell") -> None:
        """Have the run's config name ``target`` as its ``key``."""
        self.named = str(target)
        OmegaConf.update(self.config, key, {"_target_": target}, merge=False, force_add=True)
        self.save()

    def write(self, name: str, text: str) -> Path:
        """A file below the working folder."""
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def __call__(
        self, *argv: str, at: str = ".", path: Sequence[str] = (), programs: Path | None = None
    ) -> Answer:
        """What ``gatewise ARGV`` does, in the folder ``at``, with the entries ``path`` before all others.

        ``programs`` is a folder of programs that comes before all others.
        """

        def command() -> int:
            from gatewise.cli.main import main

            if programs is not None:
                os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
            return main([*argv])

        return self._forked(command, at, path)

    def check(self, at: str = ".", path: Sequence[str] = (), build: bool = False) -> Answer:
        """What a command of the folder ``at`` finds wrong with the run's config before it does anything.

        What was named last is imported then, where nothing is wrong; with ``build`` in any case.
        """
        named = os.path.relpath(self.run, self.work / at)

        def command() -> int:
            leave_out_runs([f"run={named}"])
            import_users_modules()
            config = read_config(self.run / "config.yaml")
            problems = []
            try:
                check_origins(config, self.run)
            except ValueError as error:
                problems.append(str(error))
            if build or not problems:
                with contextlib.suppress(Exception):
                    locate(self.named)
            print(*problems, sep="\n", file=sys.stderr)
            return len(problems)

        return self._forked(command, at, path)

    def check_each(self, targets: Sequence[object]) -> Answer:
        """As :meth:`check` for each of the targets, with a line for each that is a part."""

        def command() -> int:
            leave_out_runs()
            for target in targets:
                with contextlib.suppress(ValueError):
                    check_origins(OmegaConf.create(_where_it_belongs(str(target))), self.run)
                    print(target, file=sys.stderr)
            return 0

        return self._forked(command, ".", ())

    def _forked(self, command: Callable[[], int], at: str, path: Sequence[str]) -> Answer:
        with tempfile.TemporaryDirectory() as folder:
            child = os.fork()
            if child == 0:
                _work(command, self.work / at, path, Path(folder))
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            out, err, imported = ((Path(folder) / name).read_text() for name in ("out", "err", "imported"))
        return Answer(code, out, err, frozenset(imported.split()))


def _where_it_belongs(target: str) -> dict[str, Any]:
    """A config with a part of Lightning's at its place, and any other as the model."""
    node = {"_target_": target}
    if target.startswith("pytorch_lightning."):
        if "profilers" in target:
            return {"trainer": {"profiler": node}}
        section = {"callbacks": "callbacks", "loggers": "logger"}.get(target.split(".")[1], "trainer")
        return {section: node if section == "trainer" else {"mine": node}}
    return {"model": node}


def _work(command: Callable[[], int], folder: Path, path: Sequence[str], answers: Path) -> NoReturn:
    code = 99
    try:
        with (answers / "out").open("w") as sys.stdout, (answers / "err").open("w") as sys.stderr:
            before = set(sys.modules)
            os.chdir(folder)
            sys.path[:0] = path
            code = command()
        (answers / "imported").write_text("\n".join(set(sys.modules) - before))
    finally:
        os._exit(code)
