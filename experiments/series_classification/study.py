"""Train recurrent classifiers on sets of the UCR and UEA archives, beside nearest neighbours.

    python experiments/series_classification/study.py
    python experiments/series_classification/study.py seeds=1 sets=GunPoint,PLAID models=gru

Every word but ``seeds=``, ``sets=`` and ``models=`` is an override of ``gatewise train``. What is done is
appended to ``series_classification.csv`` and ``series_neighbours.csv`` in the working folder and not done
again; the runs are kept in ``runs/`` as usual. Each set's neighbours are those of its whole training file.
"""

from __future__ import annotations

import csv
import math
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from gatewise.cli.main import main
from gatewise.data.sequences import FeatureSequences, neighbours
from gatewise.runs.run import Run

TRAINING = {
    "UnitTest": 20,
    "ItalyPowerDemand": 67,
    "GunPoint": 50,
    "BasicMotions": 40,
    "JapaneseVowels": 270,
    "ArrowHead": 36,
    "OSULeaf": 200,
    "ACSF1": 100,
    "PLAID": 537,
}
"""Training sequences of each set, of which a fifth is held out for validation."""
THINNED = {"OSULeaf": 2, "ACSF1": 4, "PLAID": 4}
"""Steps of the file that are one for a network; neighbours get them all."""
MODELS = ("lstm", "bilstm", "gru", "rnn")
BATCH, STEPS, MOST_EPOCHS = 16, 600, 200
"""Every network trains for so many steps, or epochs where these are fewer."""
ANSWERS = (neighbours.CENTROID, neighbours.EUCLIDEAN, neighbours.DTW, neighbours.WINDOW)
PUBLISHED: Mapping[str, tuple[str, str, str, str, str]] = {
    "UnitTest": ("", "", "", "", ""),
    "ItalyPowerDemand": ("95.5", "95.0", "95.5 (0)", "88.0", "96.3"),
    "GunPoint": ("91.3", "90.7", "91.3 (0)", "96.1", "99.1"),
    "BasicMotions": ("", "97.5", "", "", "100"),
    "JapaneseVowels": ("", "", "", "96.5", "99.2"),
    "ArrowHead": ("80.0", "70.3", "80.0 (0)", "65.9", "84.5"),
    "OSULeaf": ("52.1", "59.1", "61.2 (7)", "59.5", "97.9"),
    "ACSF1": ("54.0", "64.0", "62.0 (4)", "", "93.0"),
    "PLAID": ("52.3", "83.6", "83.4 (12)", "", "94.8"),
}
"""1-NN Euclidean, 1-NN DTW, 1-NN DTW in a learnt window (in percent), TWIESN, ResNet; see README.md."""
RESULTS, NEIGHBOURS = Path("series_classification.csv"), Path("series_neighbours.csv")


def epochs(name: str) -> int:
    per_epoch = math.ceil(TRAINING[name] * 0.8 / BATCH)
    return min(math.ceil(STEPS / per_epoch), MOST_EPOCHS)


def train(name: str, model: str, seed: int, words: list[str]) -> dict[str, str]:
    began = time.process_time()
    argv = [
        *("train", "experiment=series/archive", f"name=series_classification/{name}", "wandb.mode=disabled"),
        *(f"data.dataset={name}", f"model={model}", f"seed={seed}", "data.neighbours=false"),
        *(f"data.batch_size={BATCH}", f"data.thin={THINNED.get(name, 1)}"),
        *(f"trainer.max_epochs={epochs(name)}", "trainer.check_val_every_n_epoch=3"),
        # Every cell has the same number of steps; what is tested is the best epoch of the validation part.
        *("~callbacks.early_stopping", "~callbacks.last_checkpoint", "~callbacks.timed_checkpoint"),
    ]
    if main([*argv, *words]):
        raise SystemExit(f"{name}, {model}, seed {seed}: did not end")
    run = Run(Path("runs/last").resolve())
    summary = run.summary()
    return {
        **{"set": name, "model": model, "seed": str(seed)},
        "accuracy": f"{summary['test']['accuracy']:.4f}",
        "best epoch": str(summary["best"]["epoch"]),
        **{"CPU seconds": f"{time.process_time() - began:.0f}", "run": str(run.folder)},
    }


def seek(name: str) -> Iterator[dict[str, str]]:
    """The accuracy of each simple classifier on the test part."""
    began = time.process_time()
    data = FeatureSequences(dataset=name, batch_size=10**6, scale=False, dtw_cells=None)
    data.setup()
    (batch,) = data.test_dataloader()
    majority = int(batch.targets.new_tensor(data.facts.class_counts).argmax())
    guesses = {"majority class": batch.targets.new_full((len(batch.targets),), majority), **batch.neighbours}
    for answer, given in guesses.items():
        yield {
            **{"set": name, "answer": answer, "test": str(len(given))},
            "accuracy": f"{float((given == batch.targets).double().mean()):.4f}",
            "CPU seconds": f"{time.process_time() - began:.0f}",
        }


def recorded(file: Path) -> list[dict[str, str]]:
    if not file.exists():
        return []
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def record(file: Path, row: dict[str, str]) -> None:
    is_new = not file.exists()
    with file.open("a", newline="") as lines:
        writer = csv.DictWriter(lines, row, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of ``count`` (E. B. Wilson, 1927)."""
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    return middle - reach, middle + reach


def of_model(rows: list[dict[str, str]], count: int) -> str:
    """The mean over seeds, its interval on ``count`` test sequences, and each seed."""
    if not rows:
        return ""
    values = [float(row["accuracy"]) for row in rows]
    mean = statistics.fmean(values)
    low, high = wilson(mean, count)
    each = f"; {', '.join(f'{100 * value:.1f}' for value in values)}" if len(values) > 1 else ""
    return f"{100 * mean:.1f} ({100 * low:.0f}–{100 * high:.0f}{each})"


def show() -> None:
    rows, near = recorded(RESULTS), recorded(NEIGHBOURS)
    print("\n| set | test | majority | " + " | ".join((*ANSWERS, *MODELS)) + " |")
    print("|---" * (3 + len(ANSWERS) + len(MODELS)) + "|")
    for name in TRAINING:
        own = {row["answer"]: row for row in near if row["set"] == name}
        if not own:
            continue
        count = int(own["majority class"]["test"])
        cells = [
            f"{100 * float(own[a]['accuracy']):.1f}" if a in own else "" for a in ("majority class", *ANSWERS)
        ]
        cells += [
            of_model([row for row in rows if (row["set"], row["model"]) == (name, model)], count)
            for model in MODELS
        ]
        print(f"| {name} | {count} | {' | '.join(cells)} |")
    print("\n| published | 1-NN Euclidean | 1-NN DTW | 1-NN DTW in a window | TWIESN | ResNet |")
    print("|---" * 6 + "|")
    for name, figures in PUBLISHED.items():
        print(f"| {name} | {' | '.join(figures)} |")


if __name__ == "__main__":
    given = dict(
        word.split("=", 1) for word in sys.argv[1:] if word.split("=")[0] in ("seeds", "sets", "models")
    )
    overrides = [word for word in sys.argv[1:] if word.split("=")[0] not in given]
    sets = given.get("sets", ",".join(TRAINING)).split(",")
    models = given.get("models", ",".join(MODELS)).split(",")
    done = {(row["set"], row["model"], row["seed"]) for row in recorded(RESULTS)}
    # A seed of everything first: whoever stops it has something to compare.
    for seed in given.get("seeds", "1,2,3").split(","):
        for name in sets:
            if name not in {row["set"] for row in recorded(NEIGHBOURS)}:
                for row in seek(name):
                    record(NEIGHBOURS, row)
            for model in models:
                if (name, model, seed) not in done:
                    record(RESULTS, train(name, model, int(seed), overrides))
    show()
