"""What a sweep shows while it runs: a few lines that stay in place on a terminal, else one line per trial."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gatewise.sweeps.folder import Plan, Sweep
from gatewise.sweeps.jobs import FAILED, Job, Outcome
from gatewise.sweeps.ranking import Configuration, configurations
from gatewise.sweeps.report import measured, setting_text
from gatewise.views.places import command, setting, short


class Overview:
    """Progress, the best so far, failures and the time left."""

    def __init__(self, sweep: Sweep, plan: Plan, workers: int) -> None:
        self._sweep, self._plan, self._workers = sweep, plan, workers
        # What a job prints goes elsewhere; this stays on the screen.
        self._console = Console(file=sys.stdout, soft_wrap=not sys.stdout.isatty(), highlight=False)
        self._live: Live | None = None
        self._results: list[Configuration] = []
        self._seconds: list[float] = []
        self._started = time.monotonic()
        self._jobs_before = 0
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
        self._jobs = self._jobs_before = ended * len(self._plan.seeds)
        seeds = f" × {len(self._plan.seeds)} seeds" if len(self._plan.seeds) > 1 else ""
        again = f", {ended} of them ended before" if ended else ""
        count = f"{self._plan.trials} trial{'s' if self._plan.trials > 1 else ''}"
        of = f" of {', '.join(self._plan.space.swept)}" if self._plan.space.swept else ""
        self._console.print(
            f"[bold]Sweep[/] {escape(short(self._sweep.folder))}: {count}{seeds}{escape(of)}{again}"
        )

    def job_ended(self, job: Job, outcome: Outcome) -> None:
        """Take note of a training, and say on stderr why it failed."""
        self._jobs += 1
        if outcome.state == FAILED:
            varied = [text for text in job.overrides if text not in self._plan.space.fixed][:-1]
            line = f"gatewise: error: trial {job.trial} ({', '.join(varied)}): {outcome.reason}"
            if self._live is not None:
                self._console.print(Text(line))
            else:
                print(line, file=sys.stderr, flush=True)

    def trial_ended(self, number: int, results: list[Configuration]) -> None:
        """Take note of a trial, and where there is no terminal print its line."""
        self._results = results
        if self._live is not None:
            return
        c = results[number]
        value = ", ".join(filter(None, (measured(c, i) for i in range(len(self._plan.directions)))))
        params = "  ".join(f"{key}={setting_text(value)}" for key, value in c.params.items())
        line = f"trial {c.number}  {params}  {c.state}  {value}  [{self._progress()}]"
        self._console.print(escape(line))

    def interrupted(self) -> None:
        """Say how to go on."""
        if self._live is not None:
            self._live.stop()
        again = command("train", setting("sweep.resume", self._sweep.folder))
        self._console.print(f"Interrupted. Go on with: {escape(again)}")

    def _progress(self) -> str:
        count = len(self._plan.seeds) * self._plan.trials
        ended = sum(c.state != "running" for c in self._results)
        parts = [f"{ended} of {self._plan.trials} ended"]
        parts += [
            f"{n} {state}"
            for state in ("failed", "pruned")
            if (n := sum(c.state == state for c in self._results))
        ]
        here = self._jobs - self._jobs_before
        if here and ended < self._plan.trials:
            left = (time.monotonic() - self._started) / here * (count - self._jobs)
            parts.append(f"about {_duration(max(left, 0))} left")
        return ", ".join(parts)

    def _lines(self) -> RenderableType:
        ended = sum(c.state != "running" for c in self._results)
        grid = Table.grid(padding=(0, 2))
        grid.add_row(ProgressBar(self._plan.trials, ended, width=30), Text(self._progress()))
        best = min((c for c in self._results if c.rank == 1), key=lambda c: c.number, default=None)
        if best is None:
            return grid
        values = ", ".join(measured(best, i) for i in range(len(self._plan.directions)))
        params = "  ".join(f"{key}={setting_text(value)}" for key, value in best.params.items())
        return Group(grid, Text(f"best so far: {values}  (trial {best.number}: {params})"))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
