"""The tables of a sweep: files that are whole at every moment, and what is printed at its end."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial
from rich.table import Table
from rich.text import Text

from gatewise.runs.collection import find, read_all
from gatewise.runs.files import write_json, write_text
from gatewise.settings import one_line
from gatewise.sweeps import plots
from gatewise.sweeps.folder import Plan, Sweep
from gatewise.sweeps.importance import Shares, importance
from gatewise.sweeps.labels import value_text
from gatewise.sweeps.ranking import (
    FEWEST_SEEDS,
    LEVEL,
    Configuration,
    compare_with_best,
    configurations,
    ranking,
)
from gatewise.views.compare.page import page
from gatewise.views.compare.payload import payload
from gatewise.views.places import command, short
from gatewise.views.plain import cell, plain_console

SHOWN, REASONS, AGAIN = 20, 3, 5
"""Rows of the table on the screen, reasons of failures, and commands of a front; the files have all."""


def objective_names(plan: Plan, results: Sequence[Configuration]) -> list[str]:
    """The objectives by name; the one a task monitors has it from its runs."""
    if plan.objectives is not None:
        return plan.objectives
    names = {outcome["monitor"] for c in results for outcome in c.outcomes if outcome.get("monitor")}
    return [names.pop() if len(names) == 1 else "monitored value"]


def write_tables(sweep: Sweep, plan: Plan, results: Sequence[Configuration]) -> None:
    """Write ``trials.csv`` (a row per configuration; the same for the same command) and ``runs.csv``."""
    names = objective_names(plan, results)
    trials: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    repeats = any(c.same_as is not None for c in results)
    for c in results:
        row: dict[str, Any] = {"trial": c.number, "rank": c.rank, "state": c.state}
        if len(names) > 1:
            row["front"] = {None: "", True: "yes", False: "no"}[c.rank == 1 if c.state == "done" else None]
        if repeats:
            row["same as trial"] = c.same_as
        row.update(c.params)
        for index, name in enumerate(names):
            row[name] = c.mean(index)
            if len(plan.seeds) > 1:
                row[f"{name} standard error"] = c.standard_error(index)
                row.update({f"{name} seed {s}": v for s, v in zip(plan.seeds, c.values(index), strict=False)})
        if len(plan.seeds) > 1:
            row["p against best"] = None if c.p is None else f"{c.p:.4g}"
        row["reason"] = "; ".join(c.reasons)
        trials.append(row)
        if c.same_as is not None:
            continue  # the runs are those of that trial
        for index, path in enumerate(c.runs[: len(c.outcomes)] if c.outcomes else c.runs):
            outcome = c.outcomes[index] if c.outcomes else {"state": "running"}
            run = {"trial": c.number, "seed": plan.seeds[index], "state": outcome["state"]}
            run.update(zip(names, outcome.get("values", ()), strict=False))
            run.update({key: outcome.get(key) for key in ("epochs", "best_epoch", "seconds", "reason")})
            runs.append({**run, "run": os.path.relpath(path, sweep.folder)})
    _write_csv(sweep.folder / "trials.csv", trials)
    _write_csv(sweep.folder / "runs.csv", runs)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    # The last two columns of every row stay the last ones.
    columns = list(dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def finish(sweep: Sweep, plan: Plan, trials: Sequence[FrozenTrial], seconds: float) -> list[float | None]:
    """Write the last tables and the pictures, and show them; returns the best value of each objective.

    Raises ValueError where every training failed.
    """
    results = configurations(trials, plan)
    if len(plan.directions) == 1:
        compare_with_best(results)
    write_tables(sweep, plan, results)
    ranked = ranking(results)
    names = objective_names(plan, results)
    failed = [c for c in results if c.state == "failed"]
    shares = [importance(results, plan, index) for index in range(len(names))]
    summary = {
        "objectives": dict(zip(names, plan.directions, strict=True)),
        "trials": len(results),
        **{
            f"trials_{state}": sum(c.state == state for c in results)
            for state in ("done", "pruned", "failed")
        },
        "trials_repeated": sum(c.same_as is not None for c in results),
        "trainings": trainings(results),
        "seeds": plan.seeds,
        "best" if len(names) == 1 else "front": [_best(c, plan, names) for c in ranked if c.rank == 1],
        **({"tied_with_best": [c.number for c in ranked if c.is_tied]} if len(names) == 1 else {}),
        "importance": {name: _plain(of) for name, of in zip(names, shares, strict=True) if of},
        "seconds": round(seconds, 1),
    }
    write_json(sweep.folder / "summary.json", summary)
    if not ranked:
        first = failed[0].reasons[0] if failed and failed[0].reasons else "unknown"
        raise ValueError(
            f"all {len(results)} trials failed, the first one: {first} "
            f"(all reasons: {short(sweep.folder)}/trials.csv)"
        )
    pictures = plots.draw(sweep, plan, results, names, shares)
    written = write_page(sweep, plan)
    _print_table(sweep, plan, results, ranked, names)
    _print_places(sweep, plan, ranked, names, pictures, written)
    best = [min if direction == "minimize" else max for direction in plan.directions]
    return [choose(c.mean(index) or 0.0 for c in ranked) for index, choose in enumerate(best)]


def write_page(sweep: Sweep, plan: Plan) -> Path:
    """Write the page that puts the runs of a sweep side by side; returns where."""
    found = find([str(sweep.folder)], sweep.folder, sweep.folder)
    runs = list(read_all(found.places))
    path = sweep.folder / "compare.html"
    write_text(path, page(payload(runs, found, f"{plan.name}/{sweep.id}")))
    return path


def trainings(results: Sequence[Configuration]) -> int:
    """How many trainings the trials took."""
    return sum(len(c.outcomes) for c in results if c.same_as is None)


def _plain(shares: Shares) -> dict[str, float]:
    return {" x ".join(keys): share for keys, share in shares.items()}


def _best(c: Configuration, plan: Plan, names: list[str]) -> dict[str, Any]:
    values = {name: c.mean(i) for i, name in enumerate(names)}
    epochs = [outcome.get("best_epoch") for outcome in c.outcomes]
    return {
        "trial": c.number,
        "params": c.params,
        "values": values,
        "best_epochs": epochs,
        "runs": c.runs,
        "train_it_again": train_again(plan, c),
    }


def train_again(plan: Plan, c: Configuration) -> str:
    """The command that trains a configuration by itself, where and as the sweep did."""
    settings = [*plan.space.fixed, *(f"{key}={value}" for key, value in c.params.items())]
    kept = [text for text in settings if text.split("=")[0].split(".")[0] != "sweep"]
    # Those of Hydra are no part of the space.
    launcher = [
        text for text in plan.overrides if text.lstrip("+~").startswith(("hydra.launcher", "hydra/launcher"))
    ]
    multirun = ["-m"] if launcher and not any(text.startswith("launcher=") for text in kept) else []
    words = [*multirun, *launcher, *kept]
    return command("train", *words)


def _print_table(
    sweep: Sweep,
    plan: Plan,
    results: Sequence[Configuration],
    ranked: Sequence[Configuration],
    names: list[str],
) -> None:
    several, front = len(plan.seeds) > 1, len(names) > 1
    title = (
        "configurations, those that none beats in every objective first"
        if front
        else "configurations, best first"
    )
    table = Table(title=title, title_justify="left")
    for column in (["front"] if front else ["rank"]) + ["trial"]:
        table.add_column(column, justify="right")
    for key in plan.space.swept:
        table.add_column(cell(key), overflow="fold")
    for name in names:
        table.add_column(cell(f"{name} ± s.e." if several else name), justify="right", style="bold")
    once = [c for c in results if c.same_as is None]
    # A front is shown whole.
    shown = max(SHOWN, len(ranked)) if front else SHOWN
    rows = [*ranked, *(c for c in once if c.rank is None)][:shown]
    notes = [_note(c) for c in rows]
    if any(notes):
        table.add_column("", style="dim")
    for c, note in zip(rows, notes, strict=True):
        means = [measured(c, index) for index in range(len(names))]
        params = [Text(value_text(c.params[key])) for key in plan.space.swept]
        last = [Text(note)] if any(notes) else []
        place = ("yes" if c.rank else "") if front else str(c.rank or "")
        table.add_row(place, str(c.number), *params, *means, *last)
    console = plain_console(soft_wrap=True)
    console.print()
    plain_console().print(table)
    if len(once) > shown:
        console.print(f"{len(once) - shown} more in {one_line(short(sweep.folder))}/trials.csv")
    for line in _remarks(plan, results):
        console.print(cell(line))
    if not front and len(ranked) > 1:
        console.print(verdict(plan, ranked))


def _remarks(plan: Plan, results: Sequence[Configuration]) -> list[str]:
    """What came of the trials beside their values, a line each."""
    lines = []
    repeated = [c for c in results if c.same_as is not None]
    if repeated:
        pairs = ", ".join(f"{c.number} as {c.same_as}" for c in repeated[:5])
        more = ", ..." if len(repeated) > 5 else ""
        lines.append(
            f"{len(results)} trials, {counted(trainings(results), 'training')}: {len(repeated)} drew a "
            f"configuration again and took over its result ({pairs}{more})."
        )
    if plan.sampler is not None and len(results) < plan.trials:
        lines.append(
            f"All {counted(plan.space.count(), 'configuration')} of the space were drawn after "
            f"{counted(len(results), 'trial')} of sweep.trials={plan.trials}: there is no other to try."
        )
    without = [c for c in results if c.state != "done"]
    if plan.sampler is None and without and len(plan.space.swept) > 1:
        lines.append(
            f"No importance of settings: {counted(len(without), 'combination')} of the grid without a result."
        )
    reasons = Counter(c.reasons[0] for c in results if c.state == "failed" and c.reasons)
    lines += [f"{count} failed: {reason}" for reason, count in reasons.most_common(REASONS)]
    return lines


def counted(count: float, what: str) -> str:
    """``1 trial``, ``2 trials``."""
    return f"{count:.0f} {what}{'' if count == 1 else 's'}"


def _print_places(
    sweep: Sweep,
    plan: Plan,
    ranked: Sequence[Configuration],
    names: list[str],
    pictures: Sequence[Path],
    written: Path,
) -> None:
    console = plain_console(soft_wrap=True)
    console.print(Text.assemble("\nSweep          ", (one_line(short(sweep.folder)), "bold")))
    front = [c for c in ranked if c.rank == 1]
    if len(names) == 1:
        best = front[0]
        for run, outcome in zip(best.runs, best.outcomes, strict=False):
            console.print(cell(f"Best run       {_run_text(run, outcome)}"))
    for picture in pictures:
        console.print(cell(f"Picture        {short(picture)}"))
    console.print(cell(f"Page           {short(written)}"))
    if len(names) == 1:
        console.print(cell(f"Train it again {train_again(plan, best)}"))
        return
    console.print(
        f"\n{counted(len(front), 'configuration')} on the front: none is better in every objective, so which "
        f"is the best is yours to say."
    )
    for c in front[:AGAIN]:
        values = ", ".join(f"{name} {measured(c, index)}" for index, name in enumerate(names))
        console.print(f"\nTrial {c.number}: {one_line(values)}")
        for run, outcome in zip(c.runs, c.outcomes, strict=False):
            console.print(cell(f"  Run            {_run_text(run, outcome)}"))
        console.print(cell(f"  Train it again {train_again(plan, c)}"))
    if len(front) > AGAIN:
        console.print(f"\n{len(front) - AGAIN} more in {one_line(short(sweep.folder))}/summary.json")


def _run_text(run: str, outcome: dict[str, Any]) -> str:
    """A run directory with the epoch that its result is of."""
    epoch = outcome.get("best_epoch")  # None in a sweep of an earlier version
    of = "" if epoch is None else f"  (best in epoch {epoch} of {outcome['epochs']})"
    return f"{short(Path(run))}{of}{'' if Path(run).is_dir() else '  (removed)'}"


def _note(c: Configuration) -> str:
    if c.is_tied:
        return "same as the best?"
    return "" if c.state == "done" else c.state


def verdict(plan: Plan, ranked: Sequence[Configuration]) -> str:
    """What may be said of the best beside the others, the best first."""
    seeds = len(plan.seeds)
    equal = [str(c.number) for c in ranked if c.rank == 1]
    same = f"Trials {', '.join(equal)} have the same value. " if len(equal) > 1 else ""
    if seeds == 1:
        return (
            f"{same}One seed each: what looks better may be chance; give sweep.seeds=[1,2,3] to see which "
            f"configurations can be told apart."
        )
    if seeds < FEWEST_SEEDS:
        return (
            f"{same}Two seeds each: too few to tell configurations apart or to call them tied (a paired "
            f"t-test has one degree of freedom); give sweep.seeds=[1,2,3] or more."
        )
    best = ranked[0].number
    tied = [str(c.number) for c in ranked if c.is_tied]
    test = f"paired t-test over {seeds} seeds, Holm's correction, {LEVEL:.0%} level"
    if not tied:
        return f"Trial {best} is better than every other ({test})."
    return f"Cannot be told apart from trial {best}: {', '.join(tied)} ({test})."


def measured(c: Configuration, objective: int) -> str:
    """Mean ± standard error, for the screen."""
    mean, error = c.mean(objective), c.standard_error(objective)
    if mean is None:
        return ""
    # Parameters are counted in whole numbers.
    value = f"{mean:.0f}" if mean.is_integer() and 1e4 <= abs(mean) < 1e9 else f"{mean:.4g}"
    return value + ("" if error is None else f" ± {error:.2g}")
