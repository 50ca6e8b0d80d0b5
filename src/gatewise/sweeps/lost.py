"""What of a sweep was removed or cut: found again from its run directories, or named."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import FrozenTrial

from gatewise.runs.config_files import read_composition
from gatewise.sweeps.folder import Sweep
from gatewise.sweeps.jobs import DONE, PRUNED, Job
from gatewise.views.places import short

JOB = "sweep.job="


class Remains:
    """The run directories that a sweep has left below ``runs_dir``, by trial and seed."""

    def __init__(self, sweep: Sweep, runs_dir: Path) -> None:
        self._found: dict[tuple[int, int | None], tuple[Path, list[str]]] = {}
        for folder, below, files in os.walk(runs_dir):
            if "overrides.yaml" not in files:
                continue
            below.clear()
            path = Path(folder, "overrides.yaml")
            # Most runs belong to other sweeps, or to none.
            if sweep.id in path.read_text(encoding="utf-8", errors="replace"):
                self._add(sweep, path)

    def _add(self, sweep: Sweep, path: Path) -> None:
        try:
            texts = read_composition(path).overrides
        except ValueError:
            return  # damaged
        jobs = [text for text in texts if text.startswith(JOB)]
        if not jobs or not (path.parent / "config.yaml").is_file():
            return
        job = OverridesParser.create().parse_override(jobs[-1]).value()
        if not isinstance(job, dict) or Path(str(job["folder"])).name != sweep.id:
            return
        asked = [text for text in texts if text not in jobs]
        seeds = [text.partition("=")[2] for text in asked if text.startswith("seed=")]
        trial, seed = int(job["trial"]), int(seeds[-1]) if seeds and seeds[-1].isdecimal() else None
        self._found[trial, seed] = (path.parent, asked)
        # Of a sweep without seeds, whose trainings may be given one all the same.
        self._found.setdefault((trial, None), (path.parent, asked))

    def count_beyond(self, number: int) -> int:
        """How many trials from ``number`` on have left a run directory."""
        return len({trial for trial, _ in self._found if trial >= number})

    def of_trial(self, number: int) -> bool:
        """Whether a trial has left a run directory."""
        return any(trial == number for trial, _ in self._found)

    def of_job(self, job: Job) -> Path | None:
        """The run directory that a job has left; ValueError where what it trained is something else."""
        if (job.trial, job.seed) not in self._found:
            return None
        folder, asked = self._found[job.trial, job.seed]
        wanted = [text for text in job.overrides if not text.startswith(JOB)]
        if asked != wanted:
            was, now = (", ".join(t for t in a if t not in b) for a, b in ((asked, wanted), (wanted, asked)))
            raise ValueError(
                f"{short(folder)}: trained trial {job.trial} with {was}, which now is drawn as {now} "
                f"(sweep.yaml was edited, or Optuna has another version): put study.journal back, or start a "
                f"new sweep"
            )
        return folder


def is_of(sweep: Sweep, run: Path) -> bool:
    """Whether a run directory that there is was made by a training of a sweep, as its overrides say."""
    try:
        texts = read_composition(run / "overrides.yaml").overrides
    except (OSError, ValueError):  # damaged
        return False
    return any(text.startswith(JOB) and sweep.id in text for text in texts)


def journal_fault(sweep: Sweep) -> str | None:
    """What is wrong with the journal of a sweep; None where it can be read."""
    if not sweep.journal.is_file():
        return "is missing"
    content = sweep.journal.read_bytes()
    if not content.strip():
        return "is empty"
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            if not isinstance(json.loads(line), dict):
                raise ValueError
        except ValueError:
            return f"is damaged in line {number}"
    if sweep.id.encode() not in content:
        return "is of another sweep"
    return None


def trials_of_table(sweep: Sweep) -> list[int]:
    """Numbers of the trials that ``trials.csv`` has a result of, which a training has come to."""
    path = sweep.folder / "trials.csv"
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["state"] in (DONE, PRUNED)]
        return [int(row["trial"]) for row in rows if not row.get("same as trial")]
    except (KeyError, TypeError, ValueError, csv.Error):
        return []  # it is written anew


def check_complete(sweep: Sweep, trials: Sequence[FrozenTrial], remains: Remains, fault: str | None) -> None:
    """Raise ValueError where ``trials.csv`` has results that neither the journal nor a run directory has."""
    ended = {trial.number for trial in trials if trial.state.is_finished()}
    lost = [n for n in trials_of_table(sweep) if n not in ended and not remains.of_trial(n)]
    if lost:
        trials_lost, runs = ("trials", "directories") if len(lost) > 1 else ("trial", "directory")
        numbers = f"{', '.join(map(str, lost[:5]))}{', ...' if len(lost) > 5 else ''}"
        raise ValueError(
            f"sweep.resume={short(sweep.folder)}: study.journal {fault or 'has lost lines'}, and the run "
            f"{runs} of {trials_lost} {numbers} cannot be found: put the journal or the runs back, or remove "
            f"trials.csv to train again"
        )


def missing_runs(trials: Sequence[FrozenTrial]) -> list[Path]:
    """Run directories of trials that have ended, which are gone; a failed training may have made none."""
    return [
        Path(run)
        for trial in trials
        if trial.state.is_finished()
        for run, outcome in zip(trial.user_attrs["runs"], trial.user_attrs.get("outcomes", ()), strict=False)
        if outcome["state"] in (DONE, PRUNED) and not (Path(run) / "config.yaml").is_file()
    ]
