"""Train classifiers of recordings with several seeds, and print their accuracies on the test part.

    python experiments/speech_digits/study.py
    python experiments/speech_digits/study.py seeds=1 "steps=official split;theo left out"

Every word but ``seeds=`` and ``steps=`` is an override of ``gatewise train``. What was trained is appended to
``speech_digits.csv`` in the working folder and not trained again, with the counts of its confusion matrix in
``speech_digits_confusion.csv``; the runs are kept in ``runs/`` as usual.
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
RESULTS, COUNTS = Path("speech_digits.csv"), Path("speech_digits_confusion.csv")
BASELINES = ("majority class", "nearest centroid", "1-NN DTW")


def wilson(correct: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927)."""
    z = statistics.NormalDist().inv_cdf(0.975)
    share, more = correct / count, z * z / count
    middle = (share + more / 2) / (1 + more)
    half = z / (1 + more) * math.sqrt(share * (1 - share) / count + more / (4 * count))
    return middle - half, middle + half


def train(step: str, seed: int, words: list[str]) -> dict[str, str]:
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
    append(COUNTS, [
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
    return row | {"seconds": f"{time.monotonic() - began:.0f}", "run": run.folder.name}


def cpu_seconds() -> float:
    """Of this process and of those it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def recorded() -> list[dict[str, str]]:
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def append(path: Path, rows: list[dict[str, str]]) -> None:
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def show() -> None:
    rows = recorded()
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
        seeds, times = (", ".join(row[name] for row in own) for name in ("seed", "cpu seconds"))
        print(f"| {title} | {seeds} | " + " | ".join(cells) + f" | {times} |")


def run(words: list[str]) -> None:
    settings = dict(word.split("=", 1) for word in words if word.startswith(("seeds=", "steps=")))
    seeds = [int(seed) for seed in settings.get("seeds", "1,2,3").split(",")]
    wanted = [step for step in STEPS if step in settings.get("steps", ";".join(STEPS)).split(";")]
    others = [word for word in words if not word.startswith(("seeds=", "steps="))]
    for seed in seeds:
        for step in wanted:
            if not any(row["step"] == step and row["seed"] == str(seed) for row in recorded()):
                append(RESULTS, [train(step, seed, others)])
    show()


if __name__ == "__main__":
    run(sys.argv[1:])
