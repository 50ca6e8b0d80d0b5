"""One training of a sweep: what it is asked to do, and what came of it."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig

from gatewise.config.freeze import ConfigCopy
from gatewise.runs.inside import open_in_place
from gatewise.runs.run import Run
from gatewise.runs.summary import best_row
from gatewise.settings import did_you_mean

DONE, PRUNED, FAILED, KILLED = "done", "pruned", "failed", "killed"


class Training(Protocol):
    """What trains a config: it can be sent to another process."""

    module: str
    """To import in the process that others are forked from."""

    def check(self, config: DictConfig, overrides: list[str]) -> None:
        """Raise ValueError where a setting of a composed config is wrong."""
        ...

    def composing_from(self, copy: ConfigCopy) -> AbstractContextManager[ConfigLoader]:
        """Hydra started on a copy of the config files, which trainings are composed from ever after."""
        ...

    def run(self, overrides: Sequence[str]) -> str | None:
        """Compose and train; None, or why it failed."""
        ...


@dataclass(frozen=True)
class Job:
    """One training: a configuration with a seed."""

    trial: int
    seed: int | None
    run: Path
    """Its run directory, chosen before it starts: whoever comes later finds it."""
    overrides: list[str]
    output: Path
    """Where its screen output goes."""


@dataclass(frozen=True)
class Outcome:
    """What came of a job."""

    state: str
    """``done``, ``pruned``, ``failed``, or ``killed``: its process was gone."""
    reason: str | None = None
    values: tuple[float, ...] = ()
    """Each objective in the epoch with the best monitored value."""
    curve: tuple[tuple[int, float], ...] = ()
    """The monitored value of every epoch."""
    seconds: float | None = None
    monitor: str | None = None
    """Name of the monitored metric."""
    best_epoch: int | None = None
    """The epoch that ``values`` are of, counted from 1."""


def job_setting(folder: Path, trial: int, run: Path, prune: bool) -> str:
    """The override that tells a training its sweep, its run directory, and whether it may be pruned."""
    sweep, target = (QuotedString(str(path), Quote.single).with_quotes() for path in (folder, run))
    return f"sweep.job={{folder:{sweep},trial:{trial},run:{target},prune:{str(prune).lower()}}}"


def carry_out(training: Training, job: Job, objectives: Sequence[str] | None) -> Outcome:
    """Train in this process; whatever goes wrong is in the outcome. KeyboardInterrupt passes."""
    with _screen_to(job.output):
        reason = training.run(job.overrides)
        if reason is not None:
            gc.collect()  # what did not fit into memory is not in the next one's way
            _empty_gpu_cache()
        return outcome(job, objectives, reason)


def outcome(job: Job, objectives: Sequence[str] | None, reason: str | None = None) -> Outcome:
    """What the run directory of a job shows; ``reason`` where it is known to have failed."""
    run = Run(job.run)
    if not (job.run / "config.yaml").is_file():
        return Outcome(FAILED, reason) if reason else Outcome(KILLED, "its process was gone before it began")
    try:
        state = run.state()
    except (ValueError, OSError) as error:  # a damaged status.json
        return Outcome(FAILED, reason or str(error))
    if state == "interrupted" and reason is None:
        return Outcome(KILLED, "its process was killed")
    if state not in (DONE, PRUNED):
        return Outcome(FAILED, reason or run.reason())
    try:
        return _measured(run, state, objectives)
    except (ValueError, OSError) as error:
        return Outcome(FAILED, str(error))


def _measured(run: Run, state: str, objectives: Sequence[str] | None) -> Outcome:
    # Imports Lightning, which the process that trains has done.
    from gatewise.runs.metrics import read_metrics

    config, rows, summary = run.config(), read_metrics(run.metrics_file), run.summary()
    monitor: str = config.task.monitor
    best = best_row(rows, monitor, config.task.mode)
    if not best:
        return Outcome(FAILED, f"{monitor} was never measured")
    metrics = {**{k: v for k, v in summary.items() if type(v) in (int, float)}, **best}
    values = []
    for name in objectives or [monitor]:
        if name not in metrics:
            raise ValueError(
                f"sweep.objectives: {name}: not measured{did_you_mean(name, metrics)}; there are "
                f"{', '.join(sorted(metrics))}"
            )
        values.append(float(metrics[name]))
    curve = tuple((int(row["epoch"]) - 1, row[monitor]) for row in rows if monitor in row)
    if not all(math.isfinite(value) for value in values):
        named = zip(objectives or [monitor], values, strict=True)
        wrong = ", ".join(f"{name} is {value}" for name, value in named if not math.isfinite(value))
        return Outcome(FAILED, wrong, curve=curve)
    seconds = summary.get("wall_seconds")
    return Outcome(state, run.reason(), tuple(values), curve, seconds, monitor, int(best["epoch"]))


def _empty_gpu_cache() -> None:
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


@contextlib.contextmanager
def _screen_to(path: Path) -> Iterator[None]:
    """Send what is printed to a file, as a job's would garble the overview."""
    opened = os.fdopen(open_in_place(path, os.O_WRONLY | os.O_APPEND), "a", encoding="utf-8")
    with opened as file, contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(file))
        stack.enter_context(contextlib.redirect_stderr(file))
        yield
