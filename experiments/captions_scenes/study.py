"""Train the preset captions/scenes with several seeds, and print what its captions are worth on the test.

    python experiments/captions_scenes/study.py
    python experiments/captions_scenes/study.py seeds=1 "steps=LSTM;GRU"

Every word but ``seeds=`` and ``steps=`` is an override of ``gatewise train``. What was trained is appended to
``captions_scenes.csv`` in the working folder and not trained again; the runs are kept in ``runs/`` as usual.
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

STEPS = {
    "LSTM": [],
    "GRU": ["model=gru"],
    "LSTM, 4 epochs": ["trainer.max_epochs=4"],
    "LSTM, words dropped": ["task.word_dropout=0.6"],
    "LSTM, words and memory dropped": [
        "task.word_dropout=0.5",
        "task.hidden_dropout=0.2",
        "task.label_smoothing=0.1",
    ],
    "LSTM, three convolutions": ["task.encoder_sizes=[24,48,96]"],
    "LSTM, input feeding": ["task.context=input", "task.decoder_layers=1"],
}
"""Overrides of each step."""
RESULTS = Path("captions_scenes.csv")
METRICS = ("true", "true_seen", "true_unseen", "bleu", "cider", "perplexity")
TRIVIAL = ("most_frequent", "nearest_picture")


def train(step: str, seed: str, words: list[str]) -> dict[str, str]:
    began, used = time.monotonic(), cpu_seconds()
    own = [f"name=captions_scenes/{step.replace(' ', '_').replace(',', '')}", f"seed={seed}"]
    if main(["train", "experiment=captions/scenes", "wandb.mode=disabled", *STEPS[step], *own, *words]):
        raise SystemExit(f"{step}, seed {seed}: did not end")
    run = Run(Path("runs/last").resolve())
    summary = run.summary()
    answers = {step: summary["test"], **{name: summary["baselines"][name] for name in TRIVIAL}}
    for name, scores in answers.items():
        print(f"{name}  seed {seed}  {shown({m: scores[m] for m in METRICS if m in scores})}")
    row = {"step": step, "seed": seed}
    for prefix, scores in zip(("", *(f"{name} " for name in TRIVIAL)), answers.values(), strict=True):
        row |= {f"{prefix}{m}": f"{scores[m]:.4f}" for m in METRICS if m in scores}
    row |= {"best epoch": str(summary["best"]["epoch"]), "cpu seconds": f"{cpu_seconds() - used:.0f}"}
    return row | {"seconds": f"{time.monotonic() - began:.0f}", "run": str(run.folder)}


def shown(scores: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.2f}" for name, value in scores.items())


def cpu_seconds() -> float:
    """Processor time of this process so far, in user mode."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def trained() -> list[dict[str, str]]:
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def add(row: dict[str, str]) -> None:
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if is_new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    own = dict(word.split("=", 1) for word in sys.argv[1:] if word.startswith(("seeds=", "steps=")))
    others = [word for word in sys.argv[1:] if not word.startswith(("seeds=", "steps="))]
    steps = own.get("steps", "LSTM").split(";")
    for step in steps:
        for seed in own.get("seeds", "1,2,3").split(","):
            if not any((row["step"], row["seed"]) == (step, seed) for row in trained()):
                add(train(step, seed, others))
    for step in steps:
        rows = [row for row in trained() if row["step"] == step]
        means = {m: statistics.mean(float(row[m]) for row in rows) for m in METRICS}
        print(f"{step}  mean of {len(rows)} seeds  {shown(means)}")
