"""Choose settings for JapaneseVowels by cross-validation over its 270 training recordings, without the test.

    python experiments/speech_digits/choice.py
    python experiments/speech_digits/choice.py seeds=2 "steps=two layers of 128;GRU"

The recordings of each speaker, in the order of the file, are cut into five runs, and each run is held out
in turn, with most of its neighbours in time. The weights after the last epoch are scored, whatever a held-out
part says, as the chosen settings train on nearly all recordings. What was trained is appended to
``japanese_vowels_choice.csv`` in the working folder and not trained again.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
from pathlib import Path

import numpy as np

from gatewise.cli.main import main
from gatewise.data.sequences.formats import read_sequences
from gatewise.data.sequences.labelled import LabelledSequences, Reading
from gatewise.runs.run import Run
from gatewise.sweeps.study import Rows, run_study

FOLDS = 5
RESULTS = Rows(Path("japanese_vowels_choice.csv"))
BASE = {
    "task.pooling": "mean",
    "task.dropout": ".5",
    "task.label_smoothing": ".1",
    "model.hidden_size": "128",
    "model.num_layers": "2",
    "model.dropout": ".3",
    "model.input_dropout": ".2",
    "model.state_dropout": ".3",
    "optimizer.lr": ".002",
    "trainer.max_epochs": "40",
    "callbacks.averaging.decay": ".99",
}
"""Two layers of 128 units in each direction, along a cosine."""
GRU = {"model": "gru", "model.bidirectional": "true"}
SETTINGS: dict[str, dict[str, str]] = {
    "two layers of 128": {},
    "20 epochs": {"trainer.max_epochs": "20"},
    "80 epochs": {"trainer.max_epochs": "80"},
    "one layer of 128": {"model.num_layers": "1"},
    "two layers of 64": {"model.hidden_size": "64"},
    "GRU": GRU,
    "mean and maximum": {"task.pooling": "mean_max"},
    "attention": {"task.pooling": "attention"},
    "no label smoothing": {"task.label_smoothing": "0"},
    "little dropout": {"model.dropout": ".1", "model.input_dropout": "0", "model.state_dropout": ".1"},
    "much dropout of inputs": {"model.input_dropout": ".4"},
    "no dropout of states": {"model.state_dropout": "0"},
    "GRU, weight decay": GRU | {"optimizer": "adamw", "optimizer.weight_decay": ".1"},
    "GRU of 64": GRU | {"model.hidden_size": "64"},
    "GRU, one layer": GRU | {"model.num_layers": "1"},
    "GRU, mean and maximum": GRU | {"task.pooling": "mean_max"},
    "GRU, half of the states dropped": GRU | {"model.state_dropout": ".5"},
    "GRU, lr .005": GRU | {"optimizer.lr": ".005"},
    "GRU, batches of 8": GRU | {"data.batch_size": "8"},
    "GRU, label smoothing .2": GRU | {"task.label_smoothing": ".2"},
    "GRU, 20 epochs": GRU | {"trainer.max_epochs": "20"},
}
"""What differs from BASE."""


def write_folds(folder: Path) -> None:
    """Write ``train_K.npz`` and ``held_K.npz`` of each fold."""
    spec = importlib.util.find_spec("sktime")
    assert spec is not None
    assert spec.origin is not None
    whole = read_sequences(
        Path(spec.origin).parent / "datasets/data/JapaneseVowels/JapaneseVowels_TRAIN.ts", Reading()
    )
    labels = np.array(whole.labels)
    folds = np.empty(len(labels), int)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        folds[members] = np.arange(len(members)) * FOLDS // len(members)
    folder.mkdir(exist_ok=True)
    for fold in range(FOLDS):
        for name, is_in in (("train", folds != fold), ("held", folds == fold)):
            write(folder / f"{name}_{fold}.npz", whole.chosen(np.flatnonzero(is_in)))


def write(path: Path, data: LabelledSequences) -> None:
    lengths = [len(sequence) for sequence in data.sequences]
    np.savez(path, values=np.concatenate(data.sequences), lengths=lengths, labels=np.array(data.labels))


def train(name: str, seed: int, words: list[str]) -> list[dict[str, str]]:
    """The scores of trainings on all folds but one, each on that one."""
    return [train_but(fold, name, seed, words) for fold in range(FOLDS)]


def train_but(fold: int, name: str, seed: int, words: list[str]) -> dict[str, str]:
    """The score of one training on the fold that it has not seen."""
    settings = BASE | SETTINGS[name]
    files = {"data.train_file": f"folds/train_{fold}.npz"}
    files |= {f"data.{part}_file": f"folds/held_{fold}.npz" for part in ("validation", "test")}
    others = {"data.neighbours": "false", "name": "japanese_vowels_choice", "wandb.mode": "disabled"}
    given = [f"{key}={value}" for key, value in (files | others | settings).items()]
    groups = {
        "experiment": "speech/japanese_vowels",
        "model": "bilstm",
        "scheduler": "cosine",
        "callbacks": "ema",
    }
    given = [f"{key}={value}" for key, value in groups.items() if key not in settings] + given
    # Nothing that chooses an epoch, and nothing that takes time and is not looked at.
    left_out = ("best_checkpoint", "last_checkpoint", "early_stopping", "learning_curves", "result_table")
    given += [
        "data.package=null",
        "trainer.check_val_every_n_epoch=10",
        *(f"~callbacks.{name}" for name in left_out),
    ]
    if main(["train", *given, f"seed={seed}", *words]):
        raise SystemExit(f"{name}, fold {fold}, seed {seed}: did not end")
    summary = Run(Path("runs/last").resolve()).summary()
    test = summary["test"]
    return {
        "step": name,
        "fold": str(fold),
        "seed": str(seed),
        "accuracy": f"{test['accuracy']:.4f}",
        "loss": f"{test['loss']:.4f}",
        "parameters": str(summary["parameters"]),
        "seconds": str(summary["training_seconds"]),
    }


def show() -> None:
    print("\n| settings | seeds | accuracy held out | loss held out |\n|---|---|---|---|")
    for name in SETTINGS:
        own = [row for row in RESULTS.read() if row["step"] == name]
        if own:
            accuracy, loss = (statistics.mean(float(row[key]) for row in own) for key in ("accuracy", "loss"))
            print(f"| {name} | {len(own) // FOLDS} | {100 * accuracy:.2f} | {loss:.4f} |")


if __name__ == "__main__":
    write_folds(Path("folds"))
    run_study(sys.argv[1:], SETTINGS, train, lambda _: RESULTS, seeds="1")
    show()
