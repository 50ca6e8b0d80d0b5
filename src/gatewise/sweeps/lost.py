"""What of a sweep was removed or cut: found again from its run directories, or named."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import FrozenTrial, TrialState

from gatewise.runs.config_files import read_composition
from gatewise.runs.reading import read_bytes
from gatewise.settings import first_line
from gatewise.settings.checks import no_path
from gatewise.sweeps.folder import Plan, Sweep
from gatewise.sweeps.jobs import DONE, FAILED, PRUNED, Job
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


def journal_fault(sweep: Sweep, plan: Plan) -> str | None:
    """What is wrong with the journal of a sweep; None where it tells of trials of the plan."""
    if not sweep.journal.is_file():
        return "is missing"
    content = read_bytes(sweep.journal)
    if not content.strip():
        return "is empty"
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            if not isinstance(json.loads(line), dict):
                raise ValueError
        except (ValueError, RecursionError):
            return f"is damaged in line {number}"
    if sweep.id.encode() not in content:
        return "is of another sweep"
    try:
        trials = sweep.trials()
    except MemoryError:
        raise
    except Exception as error:  # Optuna takes what is there, and stumbles
        return f"is damaged ({type(error).__name__}: {first_line(error)[:80]})"
    problems = (_problem(trial, plan, trials) for trial in trials)
    return next((f"is damaged ({problem})" for problem in problems if problem is not None), None)


def _problem(trial: FrozenTrial, plan: Plan, trials: Sequence[FrozenTrial]) -> str | None:
    """Why a trial cannot be one of the plan's as Gatewise writes them."""
    name = f"trial {trial.number}"
    try:
        plan.space.point(trial.params)
    except Exception as error:  # its values may be anything
        return f"{name}: other settings than the sweep's, {type(error).__name__}"
    notes: Any = trial.user_attrs
    if not isinstance(notes, dict) or not isinstance(trial.system_attrs, dict):
        return f"{name}: no notes of a trial"
    runs, outcomes, same = notes.get("runs"), notes.get("outcomes", []), notes.get("same_as")
    if not isinstance(runs, list) or len(runs) != len(plan.seeds) or not all(map(_is_path, runs)):
        return f"{name}: runs must name {len(plan.seeds)} folder(s)"
    if same is not None and not (
        isinstance(same, int) and 0 <= same < trial.number and "same_as" not in trials[same].user_attrs
    ):
        return f"{name}: same_as must be an earlier trial"
    ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    if not isinstance(outcomes, list) or not all(map(_is_outcome, outcomes)) or len(outcomes) > len(runs):
        return f"{name}: outcomes must be what came of its trainings"
    if ended and (not outcomes or len(trial.values or ()) != len(plan.directions)):
        return f"{name}: has ended without results"
    return None


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and no_path(value) is None


def _is_outcome(value: Any) -> bool:
    if not isinstance(value, dict) or value.get("state") not in (DONE, PRUNED, FAILED):
        return False
    numbers = value.get("values")
    kinds: dict[str, Any] = {"reason": str, "monitor": str, "seconds": (int, float), "best_epoch": int}
    return (
        isinstance(numbers, list)
        and all(isinstance(number, (int, float)) for number in numbers)
        and isinstance(value.get("epochs"), int)
        and all(value.get(key) is None or isinstance(value[key], kind) for key, kind in kinds.items())
    )


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
