"""Train recognisers of PenDigits with several seeds, and print how many test digits each gets right.

    python experiments/handwriting_digits/study.py
    python experiments/handwriting_digits/study.py seeds=1 "steps=strokes;eight points" trainer.max_epochs=2

Every word but ``seeds=`` and ``steps=`` is an override of ``gatewise train``. What was trained is appended to
``handwriting_digits.csv`` in the working folder, and not trained again.
"""

from __future__ import annotations

import csv
import json
import math
import resource
import statistics
import sys
import time
from pathlib import Path

from gatewise.cli.main import main
from gatewise.runs.run import Run

BASE = ["experiment=strokes/pendigits", "data.dtw_cells=30000000000"]
STEPS = {
    "strokes": [],
    "eight points": ["data=strokes/pendigits_points"],
    "strokes, from the start alone": ["model=lstm"],
    "strokes, no variation": ["data.rotate=0", "data.stretch=0", "data.shear=0"],
    "strokes, no pen-up": ["data.features=[x,y,dx,dy]"],
}
"""Overrides of each step."""
RESULTS = Path("handwriting_digits.csv")
BASELINES = ("majority class", "nearest centroid", "1-NN Euclidean", "1-NN DTW")
SCORES = ("val accuracy", "test accuracy", *BASELINES)


def train(step: str, seed: int, words: list[str]) -> dict[str, str]:
    began, used = time.monotonic(), cpu_seconds()
    name = f"name=handwriting_digits/{step.replace(', ', '_').replace(' ', '_')}"
    if main(["train", *BASE, *STEPS[step], "wandb.mode=disabled", name, f"seed={seed}", *words]):
        raise SystemExit(f"{step}, seed {seed}: did not end")
    run = Run(Path("runs/last").resolve())
    summary = run.summary()
    trivial, best = summary["baselines"], summary["best"]
    values = [best.get("val/accuracy"), summary["test"]["accuracy"]]
    values += [trivial.get(name, {}).get("accuracy") for name in BASELINES]
    counts = json.loads((run.folder / "test_report.json").read_text())["confusion_matrix"]["counts"]
    row = {"step": step, "seed": str(seed)}
    row |= {n: "" if v is None else f"{v:.4f}" for n, v in zip(SCORES, values, strict=True)}
    row |= {"wrong": str(sum(map(sum, counts)) - sum(counts[i][i] for i in range(len(counts))))}
    row |= {"of": str(sum(map(sum, counts))), "best epoch": str(best["epoch"])}
    row |= {"cpu seconds": f"{cpu_seconds() - used:.0f}", "seconds": f"{time.monotonic() - began:.0f}"}
    return row | {"confusion": json.dumps(counts), "run": str(run.folder)}


def cpu_seconds() -> float:
    """Of this process and of those it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def wilson(right: float, of: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927)."""
    share = right / of
    middle = share + z * z / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return (middle - half) / (1 + z * z / of), (middle + half) / (1 + z * z / of)


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
    names = ("step", "seeds", *SCORES, "wrong", "interval of the mean", "CPU seconds")
    print("\n| " + " | ".join(names) + " |")
    print("|---" * len(names) + "|")
    for step in STEPS:
        own = [row for row in rows if row["step"] == step]
        if not own:
            continue
        cells = []
        for name in SCORES:
            values = [float(row[name]) for row in own if row[name]]
            spread = f" ± {statistics.stdev(values):.4f}" if len(set(values)) > 1 else ""
            cells.append(f"{statistics.mean(values):.4f}{spread}" if values else "")
        of = int(own[0]["of"])
        low, high = wilson(of - statistics.mean(float(row["wrong"]) for row in own), of)
        seeds, wrong, times = (", ".join(row[n] for row in own) for n in ("seed", "wrong", "cpu seconds"))
        print(f"| {step} | {seeds} | {' | '.join(cells)} | {wrong} | {low:.4f} to {high:.4f} | {times} |")
    print("\nTrue digit down, answer across, all seeds of `strokes` together:\n")
    matrices = [json.loads(row["confusion"]) for row in rows if row["step"] == "strokes"]
    size = len(matrices[0]) if matrices else 0
    for true in range(size):
        print(f"    {true} ", *(f"{sum(of[true][answer] for of in matrices):5d}" for answer in range(size)))


def run(words: list[str]) -> None:
    settings = dict(word.split("=", 1) for word in words if word.startswith(("seeds=", "steps=")))
    seeds = [int(seed) for seed in settings.get("seeds", "1,2,3").split(",")]
    wanted = [step for step in STEPS if step in settings.get("steps", ";".join(STEPS)).split(";")]
    others = [word for word in words if not word.startswith(("seeds=", "steps="))]
    for step in wanted:
        for seed in seeds:
            if not any(row["step"] == step and row["seed"] == str(seed) for row in recorded()):
                record(train(step, seed, others))
    show()


if __name__ == "__main__":
    run(sys.argv[1:])
