"""Train classifiers of recordings with several seeds, and print their accuracies on the test part.

    python experiments/speech_digits/study.py
    python experiments/speech_digits/study.py seeds=1 "steps=official split;theo left out"

Every word but ``seeds=`` and ``steps=`` is an override of ``gatewise train``. What was trained is appended to
``speech_digits.csv`` in the working folder and not trained again, with the counts of its confusion matrix in
``speech_digits_confusion.csv``; the runs are kept in ``runs/`` as usual.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

from gatewise.cli.main import main
from gatewise.runs.run import Run
from gatewise.sweeps.study import Rows, cpu_seconds, run_study, wilson

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
UNSEEN = {
    f"{name} left out": ["experiment=speech/fsdd_unseen", f"data.test_speakers=[{name}]"] for name in SPEAKERS
}
STEPS = {
    "official split": ["experiment=speech/fsdd"],
    **UNSEEN,
    "who speaks": ["experiment=speech/fsdd", "data.target=speaker"],
    "JapaneseVowels": ["experiment=speech/japanese_vowels_tuned"],
}
"""Overrides of each step."""
RESULTS, COUNTS = (Rows(Path(f"speech_digits{name}.csv")) for name in ("", "_confusion"))
BASELINES = ("majority class", "nearest centroid", "1-NN DTW")


def train(step: str, seed: int, words: list[str]) -> list[dict[str, str]]:
    began, used = time.monotonic(), cpu_seconds()
    name = f"name=speech_digits/{step.replace(' ', '_')}"
    if main(["train", *STEPS[step], "wandb.mode=disabled", name, f"seed={seed}", *words]):
        raise SystemExit(f"{step}, seed {seed}: did not end")
    run = Run(Path("runs/last").resolve())
    summary = run.summary()
    matrix = json.loads((run.folder / "test_report.json").read_text())["confusion_matrix"]
    counts, classes = matrix["counts"], matrix["classes"]
    correct, count = sum(row[i] for i, row in enumerate(counts)), sum(map(sum, counts))
    low, high = wilson(correct, count)
    COUNTS.append([
        {"step": step, "seed": str(seed), "class": classes[i], "predicted": classes[j], "count": str(number)}
        for i, row in enumerate(counts)
        for j, number in enumerate(row)
        if number
    ])  # fmt: skip
    row = {"step": step, "seed": str(seed), "correct": str(correct), "of": str(count)}
    row |= {"accuracy": f"{correct / count:.4f}", "from": f"{low:.4f}", "to": f"{high:.4f}"}
    for baseline in BASELINES:
        value = summary["baselines"].get(baseline, {}).get("accuracy")
        row[baseline] = "" if value is None else f"{value:.4f}"
    row |= {"best epoch": str(summary["best"]["epoch"]), "cpu seconds": f"{cpu_seconds() - used:.0f}"}
    return [row | {"seconds": f"{time.monotonic() - began:.0f}", "run": run.folder.name}]


def show() -> None:
    rows = RESULTS.read()
    print(
        "\n| step | seeds | accuracy | 95 % interval of all | " + " | ".join(BASELINES) + " | CPU seconds |"
    )
    print("|---" * (5 + len(BASELINES)) + "|")
    groups = {step: [step] for step in STEPS} | {"mean of the speakers left out": list(UNSEEN)}
    for title, steps in groups.items():
        own = [row for row in rows if row["step"] in steps]
        if len({row["step"] for row in own}) < len(steps):
            continue
        shares = [float(row["accuracy"]) for row in own]
        more = f" ± {100 * statistics.stdev(shares):.1f}" if len(own) > 1 else ""
        low, high = wilson(sum(int(row["correct"]) for row in own), sum(int(row["of"]) for row in own))
        cells = [f"{100 * statistics.mean(shares):.1f}{more}", f"{100 * low:.1f} to {100 * high:.1f}"]
        for name in BASELINES:
            values = [float(row[name]) for row in own if row[name]]
            cells.append(f"{100 * statistics.mean(values):.1f}" if values else "")
        seeds = ", ".join(dict.fromkeys(row["seed"] for row in own))
        spent = [int(row["cpu seconds"]) for row in own]
        times = f"{min(spent)} to {max(spent)}" if len(steps) > 1 else ", ".join(map(str, spent))
        print(f"| {title} | {seeds} | " + " | ".join(cells) + f" | {times} |")


if __name__ == "__main__":
    run_study(sys.argv[1:], STEPS, train, lambda _: RESULTS)
    show()
