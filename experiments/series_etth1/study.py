"""Train forecasters on ETTh1 with several seeds, and print their errors on the test part.

    python experiments/series_etth1/study.py
    python experiments/series_etth1/study.py seeds=1 "steps=SegRNN with a GRU;direct LSTM"

Every word but ``seeds=`` and ``steps=`` is an override of ``gatewise train``. What was trained is appended to
``series_etth1.csv`` in the working folder and not trained again; the runs are kept in ``runs/`` as usual.
"""

from __future__ import annotations

import csv
import resource
import statistics
import sys
import time
from pathlib import Path

from gatewise.cli.main import main
from gatewise.runs.run import Run

DIRECT = ["experiment=series/etth1", "task.forecaster=direct", "task.loss=mse", "task.dropout=0.2"]
STEPS = {
    "SegRNN with a GRU": ["experiment=series/etth1"],
    "SegRNN with an LSTM": ["experiment=series/etth1", "model=lstm"],
    "SegRNN with a GRU of 128": ["experiment=series/etth1", "model.hidden_size=128"],
    "SegRNN with an LSTM of 128": ["experiment=series/etth1", "model=lstm", "model.hidden_size=128"],
    "direct LSTM": [*DIRECT, "model=lstm"],
    "direct LSTM, instance norm": [*DIRECT, "model=lstm", "task.center=false", "task.instance_norm=true"],
    "direct GRU": [*DIRECT],
    "SegRNN with a GRU, 720 steps seen": ["experiment=series/etth1_720"],
    "SegRNN with an LSTM, 720 steps seen": ["experiment=series/etth1_720", "model=lstm"],
    "SegRNN with a GRU, 192 steps ahead": ["experiment=series/etth1", "data.horizon=192"],
    "SegRNN with a GRU, 336 steps ahead": ["experiment=series/etth1", "data.horizon=336"],
    "SegRNN with a GRU, 720 steps ahead": ["experiment=series/etth1", "data.horizon=720"],
}
"""Overrides of each step."""
RESULTS = Path("series_etth1.csv")
SCORES = ("val mse", "val mae", "test mse", "test mae", "last value mse", "last season mse")


def train(step: str, seed: int, words: list[str]) -> dict[str, str]:
    began, used = time.monotonic(), cpu_seconds()
    name = f"name=series_etth1/{step.replace(' ', '_').replace(',', '')}"
    if main(["train", *STEPS[step], "wandb.mode=disabled", name, f"seed={seed}", *words]):
        raise SystemExit(f"{step}, seed {seed}: did not end")
    run = Run(Path("runs/last").resolve())
    summary = run.summary()
    test, trivial, best = summary["test"], summary["baselines"], summary["best"]
    epoch = best["epoch"]
    values = (
        *(best.get(f"val/{metric}") for metric in ("mse", "mae")),
        *(test[metric] for metric in ("mse", "mae")),
        *(trivial.get(name, {}).get("mse") for name in ("last value", "last season")),
    )
    row = {"step": step, "seed": str(seed)}
    row |= {n: "" if v is None else f"{v:.4f}" for n, v in zip(SCORES, values, strict=True)}
    row |= {"best epoch": str(epoch), "cpu seconds": f"{cpu_seconds() - used:.0f}"}
    return row | {"seconds": f"{time.monotonic() - began:.0f}", "run": str(run.folder)}


def cpu_seconds() -> float:
    """Of this process and of those it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


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
    print("\n| step | seeds | " + " | ".join(SCORES) + " | CPU seconds |")
    print("|---" * (3 + len(SCORES)) + "|")
    for step in STEPS:
        own = [row for row in rows if row["step"] == step]
        if not own:
            continue
        cells = []
        for name in SCORES:
            values = [float(row[name]) for row in own if row[name]]
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.4f}{spread}" if values else "")
        seeds, times = (", ".join(row[name] for row in own) for name in ("seed", "cpu seconds"))
        print(f"| {step} | {seeds} | " + " | ".join(cells) + f" | {times} |")


def run(words: list[str]) -> None:
    settings = dict(word.split("=", 1) for word in words if word.startswith(("seeds=", "steps=")))
    seeds = [int(seed) for seed in settings.get("seeds", "1,2,3").split(",")]
    wanted = [step for step in STEPS if step in settings.get("steps", ";".join(STEPS)).split(";")]
    others = [word for word in words if not word.startswith(("seeds=", "steps="))]
    for seed in seeds:
        for step in wanted:
            if not any(row["step"] == step and row["seed"] == str(seed) for row in recorded()):
                record(train(step, seed, others))
    show()


if __name__ == "__main__":
    run(sys.argv[1:])
