"""Train a text classification on every fold, one after the other, and print each beside its baselines.

    python experiments/text_classes/folds.py experiment=text/mr
    python experiments/text_classes/folds.py experiment=text/mr folds=0,1,2 seed=2

Every word but ``folds=`` is an override of ``gatewise train``. The runs are kept in ``runs/`` as usual.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from gatewise.cli.main import main
from gatewise.runs.run import Run

METRIC = "accuracy"


def last_run() -> Run:
    """The run that ended last."""
    return Run(Path("runs/last").resolve())


def line(name: str, values: dict[str, float], rest: str = "") -> str:
    return f"{name:>10} " + " ".join(f"{who}: {value:.4f}" for who, value in values.items()) + rest


def train(words: list[str], folds: list[int]) -> None:
    found: list[dict[str, float]] = []
    for fold in folds:
        began = time.monotonic()
        if main(["train", "wandb.mode=disabled", *words, f"data.fold={fold}"]):
            raise SystemExit(f"fold {fold} did not end")
        run = last_run()
        summary = run.summary()
        values = {"this run": summary["test"][METRIC]}
        values |= {name: scores[METRIC] for name, scores in summary["baselines"].items()}
        found.append(values)
        print(line(f"fold {fold}", values, f"  {time.monotonic() - began:.0f} s  {run.folder}"), flush=True)
    means = {name: statistics.fmean(values[name] for values in found) for name in found[0]}
    print(line("mean", means))
    if len(found) > 1:
        spread = {name: statistics.stdev(values[name] for values in found) for name in found[0]}
        print(line("std", spread))


if __name__ == "__main__":
    given = sys.argv[1:]
    chosen = next((word.partition("=")[2] for word in given if word.startswith("folds=")), None)
    listed = range(10) if chosen is None else map(int, chosen.split(","))
    train([word for word in given if not word.startswith("folds=")], list(listed))
