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
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gatewise.runs.files import write_json, write_text
from gatewise.sweeps import plots
from gatewise.sweeps.folder import Plan, Sweep
from gatewise.sweeps.ranking import LEVEL, Configuration, compare_with_best, configurations
from gatewise.views.places import command, short

SHOWN, REASONS = 20, 3
"""Rows of the table on the screen, and reasons of failures; the files have all."""


def objective_names(plan: Plan, results: Sequence[Configuration]) -> list[str]:
    """The objectives by name; the one a task monitors has it from its runs."""
    if plan.objectives is not None:
        return plan.objectives
    names = {outcome["monitor"] for c in results for outcome in c.outcomes if outcome.get("monitor")}
    return [names.pop() if len(names) == 1 else "monitored value"]


def write_tables(sweep: Sweep, plan: Plan, results: Sequence[Configuration]) -> None:
    """Write ``trials.csv`` (a row per configuration; the same for the same command) and ``runs.csv``."""
    names = objective_names(plan, results)
    trials, runs = [], []
    for c in results:
        row: dict[str, Any] = {"trial": c.number, "rank": c.rank, "state": c.state, **c.params}
        for index, name in enumerate(names):
            row[name] = c.mean(index)
            if len(plan.seeds) > 1:
                row[f"{name} standard error"] = c.standard_error(index)
                row.update({f"{name} seed {s}": v for s, v in zip(plan.seeds, c.values(index), strict=False)})
        if len(plan.seeds) > 1:
            row["p against best"] = None if c.p is None else f"{c.p:.4g}"
        row["reason"] = "; ".join(c.reasons)
        trials.append(row)
        for index, path in enumerate(c.runs[: len(c.outcomes)] if c.outcomes else c.runs):
            outcome = c.outcomes[index] if c.outcomes else {"state": "running"}
            run = {"trial": c.number, "seed": plan.seeds[index], "state": outcome["state"]}
            run.update(zip(names, outcome.get("values", ()), strict=False))
            run.update({key: outcome.get(key) for key in ("epochs", "seconds", "reason")})
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
    ranked = sorted((c for c in results if c.rank is not None), key=lambda c: (c.rank, c.number))
    names = objective_names(plan, results)
    failed = [c for c in results if c.state == "failed"]
    summary = {
        "objectives": dict(zip(names, plan.directions, strict=True)),
        "trials": len(results),
        **{
            f"trials_{state}": sum(c.state == state for c in results)
            for state in ("done", "pruned", "failed")
        },
        "seeds": plan.seeds,
        "best": [_best(c, names) for c in ranked if c.rank == 1],
        "tied_with_best": [c.number for c in ranked if c.is_tied],
        "seconds": round(seconds, 1),
    }
    write_json(sweep.folder / "summary.json", summary)
    if not ranked:
        first = failed[0].reasons[0] if failed and failed[0].reasons else "unknown"
        raise ValueError(
            f"all {len(results)} trials failed, the first one: {first} "
            f"(all reasons: {short(sweep.folder)}/trials.csv)"
        )
    pictures = plots.draw(sweep, plan, results, names)
    _print(sweep, plan, results, ranked, names, pictures)
    return [ranked[0].mean(index) for index in range(len(names))]


def _best(c: Configuration, names: list[str]) -> dict[str, Any]:
    values = {name: c.mean(i) for i, name in enumerate(names)}
    return {"trial": c.number, "params": c.params, "values": values, "runs": c.runs}


def _print(
    sweep: Sweep,
    plan: Plan,
    results: Sequence[Configuration],
    ranked: Sequence[Configuration],
    names: list[str],
    pictures: Sequence[Path],
) -> None:
    several = len(plan.seeds) > 1
    table = Table(title="configurations, best first", title_justify="left")
    for column in ("rank", "trial"):
        table.add_column(column, justify="right")
    for key in plan.space.swept:
        table.add_column(Text(key), overflow="fold")
    for name in names:
        table.add_column(Text(f"{name} ± s.e." if several else name), justify="right", style="bold")
    rows = [*ranked, *(c for c in results if c.rank is None)][:SHOWN]
    notes = [_note(c) for c in rows]
    if any(notes):
        table.add_column("", style="dim")
    for c, note in zip(rows, notes, strict=True):
        means = [measured(c, index) for index in range(len(names))]
        params = [Text(setting_text(c.params[key])) for key in plan.space.swept]
        last = [Text(note)] if any(notes) else []
        table.add_row(str(c.rank or ""), str(c.number), *params, *means, *last)
    console = Console(soft_wrap=True, highlight=False)
    console.print()
    Console().print(table)
    if len(results) > SHOWN:
        console.print(f"{len(results) - SHOWN} more in {escape(short(sweep.folder))}/trials.csv")
    reasons = Counter(c.reasons[0] for c in results if c.state == "failed" and c.reasons)
    for reason, count in reasons.most_common(REASONS):
        console.print(escape(f"{count} failed: {reason}"))
    if len(names) == 1 and len(ranked) > 1:
        console.print(escape(_verdict(plan, ranked)))
    best = ranked[0]
    settings = [*plan.space.fixed, *(f"{key}={value}" for key, value in best.params.items())]
    kept = [text for text in settings if text.split("=")[0].split(".")[0] != "sweep"]
    console.print(f"\nSweep          [bold]{escape(short(sweep.folder))}[/]")
    for run in best.runs:
        console.print(f"Best run       {escape(short(Path(run)))}")
    for picture in pictures:
        console.print(f"Picture        {escape(short(picture))}")
    console.print(f"Train it again {escape(command('train', *kept))}")


def _note(c: Configuration) -> str:
    if c.is_tied:
        return "same as the best?"
    return "" if c.state == "done" else c.state


def _verdict(plan: Plan, ranked: Sequence[Configuration]) -> str:
    if len(plan.seeds) == 1:
        return (
            "One seed each: what looks better may be chance; give sweep.seeds=[1,2,3] to see which "
            "configurations can be told apart."
        )
    tied = [str(c.number) for c in ranked if c.is_tied]
    test = f"paired t-test over {len(plan.seeds)} seeds, Holm's correction, {LEVEL:.0%} level"
    if not tied:
        return f"Trial {ranked[0].number} is better than every other ({test})."
    return f"Cannot be told apart from trial {ranked[0].number}: {', '.join(tied)} ({test})."


def measured(c: Configuration, objective: int) -> str:
    """Mean ± standard error, for the screen."""
    mean, error = c.mean(objective), c.standard_error(objective)
    if mean is None:
        return ""
    # Parameters are counted in whole numbers.
    value = f"{mean:.0f}" if mean.is_integer() and 1e4 <= abs(mean) < 1e9 else f"{mean:.4g}"
    return value + ("" if error is None else f" ± {error:.2g}")


def setting_text(value: Any) -> str:
    """A value of a setting, for the screen."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
