"""Recognise strings of digits joined from FSDD with several seeds, and print the error rates on the test.

    python experiments/speech_connected/study.py
    python experiments/speech_connected/study.py seeds=1 "steps=both ends"

Every word but ``seeds=`` and ``steps=`` is an override of ``gatewise train``. What was trained is appended to
``speech_connected.csv`` in the working folder and not trained again; the runs are kept in ``runs/`` as usual.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

from gatewise.cli.main import main
from gatewise.runs.run import Run
from gatewise.sweeps.study import Rows, cpu_seconds, run_study

STEPS = {
    "both ends": ["experiment=speech/digits_ctc"],
    "left to right": ["experiment=speech/digits_ctc_streaming"],
}
"""Overrides of each step."""
DECODED = {
    "greedy": ["task.beam=1"],
    "beam of 8": ["task.beam=8"],
    "beam of 8, 3-grams": ["task.beam=8", "task.language_model=ngram", "task.language_weight=0.5"],
}
"""How each trained model is asked again."""
RESULTS = Rows(Path("speech_connected.csv"))
RATES = ("word_error_rate", "transcript_error_rate")


def train(step: str, seed: int, words: list[str]) -> list[dict[str, str]]:
    began, used = time.monotonic(), cpu_seconds()
    name = f"name=speech_connected/{step.replace(' ', '_')}"
    given = [*STEPS[step], "data.ngram_order=3", "wandb.mode=disabled", name, f"seed={seed}", *words]
    if main(["train", *given]):
        raise SystemExit(f"{step}, seed {seed}: did not end")
    run = Run(Path("runs/last").resolve())
    best = run.summary()["best"]
    spent = {"cpu seconds": f"{cpu_seconds() - used:.0f}", "seconds": f"{time.monotonic() - began:.0f}"}
    trivial = run.summary()["baselines"]["most frequent transcript"]
    rows = []
    for decoding, settings in DECODED.items():
        if main(["evaluate", f"run={run.folder}", "output=scores.json", *settings]):
            raise SystemExit(f"{step}, seed {seed}, {decoding}: could not be evaluated")
        scores = json.loads(Path("scores.json").read_text(encoding="utf-8"))["test"]
        row = {"step": step, "decoding": decoding, "seed": str(seed)}
        row |= {f"test {rate}": f"{scores[rate]:.3f}" for rate in RATES}
        row |= {"val word_error_rate": f"{best['val/word_error_rate']:.3f}", "best epoch": str(best["epoch"])}
        row |= {"most frequent transcript": f"{trivial['word_error_rate']:.2f}"}
        rows.append({**row, **spent, "run": str(run.folder)})
    return rows


def show() -> None:
    rows = RESULTS.read()
    columns = ["model", "decoding", "seeds", *(f"test {rate}" for rate in RATES), "CPU seconds"]
    print(f"\n| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    for step in STEPS:
        for decoding in DECODED:
            own = [row for row in rows if (row["step"], row["decoding"]) == (step, decoding)]
            if not own:
                continue
            cells = []
            for rate in RATES:
                values = [float(row[f"test {rate}"]) for row in own]
                spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
                cells.append(f"{statistics.mean(values):.2f}{spread}")
            seeds, times = (", ".join(row[name] for row in own) for name in ("seed", "cpu seconds"))
            print(f"| {step} | {decoding} | {seeds} | " + " | ".join(cells) + f" | {times} |")


if __name__ == "__main__":
    run_study(sys.argv[1:], STEPS, train, lambda _: RESULTS)
    show()
