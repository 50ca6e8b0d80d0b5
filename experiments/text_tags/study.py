"""Train taggers step by step, each with something more, with several seeds, and print their scores.

    python experiments/text_tags/study.py
    python experiments/text_tags/study.py seeds=1,2 trainer.max_epochs=5

Every word but ``seeds=`` is an override of ``gatewise train``. What was trained is appended to
``text_tags.csv`` in the working folder and not trained again; the runs are kept in ``runs/`` as usual.
"""

from __future__ import annotations

import csv
import statistics
import sys
import time
from pathlib import Path

from gatewise.cli.main import main
from gatewise.runs.run import Run

STEPS = {
    "words": ["model=lstm", "task.characters=none", "task.crf=false"],
    "and characters": ["model=lstm", "task.crf=false"],
    "and a CRF": ["model=lstm"],
    "in both directions": [],
}
"""Overrides of the preset for each step; the last is the preset as it stands."""
RESULTS = Path("text_tags.csv")
SCORES = ("val f1", "test f1", "precision", "recall", "surface f1", "accuracy")


def train(step: str, seed: int, words: list[str]) -> dict[str, str]:
    began = time.monotonic()
    name = step.replace(" ", "_")
    argv = [
        "train",
        "experiment=text/wnut17",
        "wandb.mode=disabled",
        f"name=text_tags/{name}",
        f"seed={seed}",
    ]
    if main([*argv, *STEPS[step], *words]):
        raise SystemExit(f"{step}, seed {seed}: did not end")
    run = Run(Path("runs/last").resolve())
    summary = run.summary()
    scores = summary["test"]
    values = (
        summary["best"]["val/f1"],
        *(scores[n] for n in ("f1", "precision", "recall", "surface_f1", "accuracy")),
    )
    row = {"step": step, "seed": str(seed)}
    row |= {name: f"{value:.4f}" for name, value in zip(SCORES, values, strict=True)}
    row |= {"best epoch": str(summary["best"]["epoch"]), "seconds": f"{time.monotonic() - began:.0f}"}
    return row | {"run": str(run.folder)}


def recorded() -> list[dict[str, str]]:
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def record(row: dict[str, str]) -> None:
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def show() -> None:
    rows = recorded()
    print("\n| step | seeds | " + " | ".join(SCORES) + " |")
    print("|---" * (2 + len(SCORES)) + "|")
    for step in STEPS:
        own = [row for row in rows if row["step"] == step]
        cells = []
        for name in SCORES:
            values = [100 * float(row[name]) for row in own]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.1f}{spread}" if values else "")
        print(f"| {step} | {', '.join(row['seed'] for row in own)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    given = sys.argv[1:]
    seeds = next((word.partition("=")[2] for word in given if word.startswith("seeds=")), "1,2,3")
    overrides = [word for word in given if not word.startswith("seeds=")]
    done = {(row["step"], row["seed"]) for row in recorded()}
    # A seed of every step first: whoever stops it has something to compare.
    for seed in map(int, seeds.split(",")):
        for step in STEPS:
            if (step, str(seed)) not in done:
                record(train(step, seed, overrides))
    show()
