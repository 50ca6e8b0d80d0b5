"""Train recognisers of PenDigits with several seeds, of digits and of lines, and print what they get right.

    python experiments/handwriting_digits/study.py
    python experiments/handwriting_digits/study.py seeds=1 "steps=strokes;lines" trainer.max_epochs=2

Every word but ``seeds=`` and ``steps=`` is an override of ``gatewise train``. What was trained is appended to
``handwriting_digits.csv`` or ``handwriting_lines.csv`` in the working folder, and not trained again.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from gatewise.cli.main import main
from gatewise.runs.run import Run
from gatewise.sweeps.study import Rows, cpu_seconds, run_study, wilson

DIGITS = ["experiment=strokes/pendigits", "data.dtw_cells=30000000000"]
UNVARIED = ["data.rotate=0", "data.stretch=0", "data.shear=0"]
STEPS = {
    "strokes": DIGITS,
    "eight points": [*DIGITS, "data=strokes/pendigits_points"],
    "strokes, from the start alone": [*DIGITS, "model=lstm"],
    "strokes, no variation": [*DIGITS, *UNVARIED],
    "strokes, no pen-up": [*DIGITS, "data.features=[x,y,dx,dy]"],
    "lines": ["experiment=strokes/line_ctc"],
    "lines, from the start alone": ["experiment=strokes/line_ctc", "model=lstm"],
    "lines, no variation": ["experiment=strokes/line_ctc", *UNVARIED],
}
"""Overrides of each step."""
BASELINES = ("majority class", "nearest centroid", "1-NN Euclidean", "1-NN DTW")
SCORES = {
    "digits": ("val accuracy", "test accuracy", *BASELINES),
    "lines": ("val unit errors", "test unit errors", "test transcript errors", "most frequent transcript"),
}
"""Shares of digits; of lines, percents of units and of transcripts."""


def of(step: str) -> str:
    return "lines" if step.startswith("lines") else "digits"


def results(kind: str) -> Rows:
    return Rows(Path(f"handwriting_{kind}.csv"))


def train(step: str, seed: int, words: list[str]) -> list[dict[str, str]]:
    began, used = time.monotonic(), cpu_seconds()
    name = f"name=handwriting_digits/{step.replace(', ', '_').replace(' ', '_')}"
    if main(["train", *STEPS[step], "wandb.mode=disabled", name, f"seed={seed}", *words]):
        raise SystemExit(f"{step}, seed {seed}: did not end")
    run = Run(Path("runs/last").resolve())
    kind, summary = of(step), run.summary()
    values = of_lines(summary) if kind == "lines" else of_digits(summary)
    row = {"step": step, "seed": str(seed)}
    row |= {n: "" if v is None else f"{v:.4f}" for n, v in zip(SCORES[kind], values, strict=True)}
    row |= wrong(counts_of(run)) if kind == "digits" else {}
    row |= {"best epoch": str(summary["best"]["epoch"]), "cpu seconds": f"{cpu_seconds() - used:.0f}"}
    row |= {"seconds": f"{time.monotonic() - began:.0f}"}
    row |= {"confusion": json.dumps(counts_of(run))} if kind == "digits" else {}
    return [row | {"run": str(run.folder)}]


def of_digits(summary: Any) -> list[float | None]:
    trivial = [summary["baselines"].get(name, {}).get("accuracy") for name in BASELINES]
    return [summary["best"]["val/accuracy"], summary["test"]["accuracy"], *trivial]


def of_lines(summary: Any) -> list[float | None]:
    test = [summary["test"][f"{of}_error_rate"] for of in ("unit", "transcript")]
    usual = summary["baselines"]["most frequent transcript"]["unit_error_rate"]
    return [summary["best"]["val/unit_error_rate"], *test, usual]


def counts_of(run: Run) -> list[list[int]]:
    """The confusion matrix of the test: true digit, answer."""
    report: Any = json.loads((run.folder / "test_report.json").read_text())
    return list(report["confusion_matrix"]["counts"])


def wrong(counts: list[list[int]]) -> dict[str, str]:
    """How many test digits are wrong, and of how many."""
    total = sum(map(sum, counts))
    right = sum(row[number] for number, row in enumerate(counts))
    return {"wrong": str(total - right), "of": str(total)}


def show(kind: str) -> None:
    rows = results(kind).read()
    more = ("wrong of 3,498", "interval of the mean") if kind == "digits" else ()
    names = ("step", "seeds", *SCORES[kind], *more, "CPU seconds")
    print("\n| " + " | ".join(names) + " |")
    print("|---" * len(names) + "|")
    for step in STEPS:
        own = [row for row in rows if row["step"] == step]
        if not own:
            continue
        cells = [shown([float(row[name]) for row in own if row[name]]) for name in SCORES[kind]]
        if kind == "digits":
            total = int(own[0]["of"])
            low, high = wilson(total - statistics.mean(float(row["wrong"]) for row in own), total)
            cells += [", ".join(row["wrong"] for row in own), f"{low:.4f} to {high:.4f}"]
        seeds, times = (", ".join(row[name] for row in own) for name in ("seed", "cpu seconds"))
        print(f"| {step} | {seeds} | {' | '.join(cells)} | {times} |")


def shown(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(set(values)) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}" if values else ""


def show_confusion() -> None:
    matrices = [json.loads(row["confusion"]) for row in results("digits").read() if row["step"] == "strokes"]
    print(f"\nTrue digit down, answer across, {len(matrices)} seeds of `strokes` together:\n")
    for true in range(len(matrices[0]) if matrices else 0):
        print(f"    {true} ", *(f"{sum(of[true][answer] for of in matrices):5d}" for answer in range(10)))


if __name__ == "__main__":
    run_study(sys.argv[1:], STEPS, train, lambda step: results(of(step)))
    show("digits")
    show_confusion()
    show("lines")
