"""What a sweep shows while it runs: a few lines that stay in place on a terminal, else one line per trial."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from optuna.trial import FrozenTrial
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gatewise.settings import one_line
from gatewise.sweeps.folder import Plan, Sweep
from gatewise.sweeps.jobs import FAILED, Job, Outcome
from gatewise.sweeps.labels import value_text
from gatewise.sweeps.ranking import Configuration, configurations
from gatewise.sweeps.report import counted, measured
from gatewise.views.places import program, quoted, short
from gatewise.views.plain import cell, plain_console


class Overview:
    """Progress, the best so far, failures and the time left."""

    def __init__(self, sweep: Sweep, plan: Plan, workers: int) -> None:
        self._sweep, self._plan, self._workers = sweep, plan, workers
        # What a job prints goes elsewhere; this stays on the screen.
        self._console = plain_console(file=sys.stdout, soft_wrap=not sys.stdout.isatty())
        self._live: Live | None = None
        self._results: list[Configuration] = []
        self._started = time.monotonic()
        self._left_to_do = 0
        self._jobs = 0

    def __enter__(self) -> Overview:
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self._lines,
                refresh_per_second=2,
                redirect_stdout=False,
                redirect_stderr=False,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._live is not None:
            self._live.stop()

    def start(self, trials: Sequence[FrozenTrial]) -> None:
        """Say what is about to run, given the trials of before."""
        self._results = configurations(trials, self._plan)
        ended = sum(c.state != "running" for c in self._results)
        self._left_to_do = (self._plan.trials - ended) * len(self._plan.seeds)
        seeds = f" × {len(self._plan.seeds)} seeds" if len(self._plan.seeds) > 1 else ""
        again = f", {ended} of them ended before" if ended else ""
        count = counted(self._plan.trials, "trial")
        of = f" of {one_line(', '.join(self._plan.space.swept))}" if self._plan.space.swept else ""
        self._console.print(
            Text.assemble(
                ("Sweep", "bold"), f" {one_line(short(self._sweep.folder))}: {count}{seeds}{of}{again}"
            )
        )

    def job_ended(self, job: Job, outcome: Outcome) -> None:
        """Take note of a training, and say on stderr why it failed."""
        self._jobs += 1
        self._left_to_do -= 1
        if outcome.state == FAILED:
            varied = [text for text in job.overrides if text not in self._plan.space.fixed][:-1]
            line = f"gatewise: error: trial {job.trial} ({', '.join(varied)}): {outcome.reason}"
            if self._live is not None:
                self.say(line)
            else:
                print(one_line(line), file=sys.stderr, flush=True)

    def trial_ended(self, number: int, results: list[Configuration]) -> None:
        """Take note of a trial, and where there is no terminal print its line."""
        self._results = results
        c = results[number]
        if c.same_as is not None:
            self._left_to_do -= len(self._plan.seeds)
        if self._live is not None:
            return
        value = ", ".join(filter(None, (measured(c, i) for i in range(len(self._plan.directions)))))
        params = "  ".join(f"{key}={value_text(value)}" for key, value in c.params.items())
        again = "" if c.same_as is None else f"  as trial {c.same_as}, not trained again"
        line = f"trial {c.number}  {params}  {c.state}  {value}{again}  [{self._progress()}]"
        self.say(line)

    def say(self, line: str) -> None:
        """Print a line above those that stay."""
        self._console.print(cell(line))

    def interrupted(self) -> None:
        """Say how to go on."""
        if self._live is not None:
            self._live.stop()
        again = f"{program()} train {_resume(short(self._sweep.folder))}"
        self.say(f"Interrupted. Go on with: {again}")

    def _progress(self) -> str:
        ended = sum(c.state != "running" for c in self._results)
        parts = [f"{ended} of {self._plan.trials} ended"]
        parts += [
            f"{n} {state}"
            for state in ("failed", "pruned")
            if (n := sum(c.state == state for c in self._results))
        ]
        if self._jobs and ended < self._plan.trials:
            left = (time.monotonic() - self._started) / self._jobs * self._left_to_do
            parts.append(f"about {_duration(max(left, 0))} left")
        return ", ".join(parts)

    def _lines(self) -> RenderableType:
        ended = sum(c.state != "running" for c in self._results)
        grid = Table.grid(padding=(0, 2))
        grid.add_row(ProgressBar(self._plan.trials, ended, width=30), Text(self._progress()))
        front = [c for c in self._results if c.rank == 1 and c.same_as is None]
        if not front:
            return grid
        if len(self._plan.directions) > 1:
            numbers = ", ".join(str(c.number) for c in front)
            return Group(grid, Text(f"front so far: {counted(len(front), 'trial')} ({numbers})"))
        best = front[0]
        values = ", ".join(measured(best, i) for i in range(len(self._plan.directions)))
        params = "  ".join(f"{key}={value_text(value)}" for key, value in best.params.items())
        return Group(grid, cell(f"best so far: {values}  (trial {best.number}: {params})"))


def _resume(folder: str) -> str:
    """The setting that goes on with a sweep, as Hydra and the shell take it."""
    with contextlib.suppress(HydraException):
        if OverridesParser.create().parse_override(f"sweep.resume={folder}").value() == folder:
            return quoted(f"sweep.resume={folder}")
    return quoted(f"sweep.resume={QuotedString(folder, Quote.single).with_quotes()}")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
