"""Small trainings to look at: three tasks, a grid with seeds, a search, and runs that went wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

VOWELS = ("experiment=speech/japanese_vowels", "trainer.max_epochs=6", "wandb.mode=disabled")
COMMANDS: dict[str, tuple[str, ...]] = {
    "cells and learning rates, three seeds each": (
        *("-m", *VOWELS, "model=lstm,gru", "optimizer.lr=0.003,0.03", "sweep.seeds=[1,2,3]"),
    ),
    "a search": (
        *("sweep=random", *VOWELS, "sweep.trials=10", "model=lstm,gru,min_gru"),
        *("optimizer.lr=tag(log,interval(1e-4,1e-1))", "model.hidden_size=choice(16,32,64)"),
    ),
    "forecasts": ("experiment=series/sunspots", "trainer.max_epochs=12", "wandb.mode=disabled"),
    "other forecasts": (
        *("experiment=series/sunspots", "trainer.max_epochs=12", "wandb.mode=disabled"),
        *("model=gru", "seed=2", "trainer.gradient_clip_val=null"),
    ),
    "words": (
        *("experiment=text/king_james", "trainer.max_epochs=2", "trainer.limit_train_batches=60"),
        *("wandb.mode=disabled",),
    ),
    "classes of verses": (
        *("experiment=text/verses", "trainer.max_epochs=2", "trainer.limit_train_batches=100"),
        *("model=stacked_lstm", "model.hidden_size=[48,24]", "task.pooling=attention", "wandb.mode=disabled"),
    ),
    "one that fails": (
        *("experiment=series/sunspots", "trainer.max_epochs=4", "wandb.mode=disabled", "optimizer=sgd"),
        *("optimizer.lr=1e30", "trainer.gradient_clip_val=null"),
    ),
    "one without a test": (*VOWELS, "test=false"),
}
"""Words after ``gatewise train``, by what they make; one that fails is wanted."""


def train(folder: Path) -> None:
    """Make whatever of the examples is not in a folder yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, words in COMMANDS.items():
        done = folder / f".{name.replace(' ', '_').replace(',', '')}"
        if done.exists():
            continue
        print(f"training: {name}", flush=True)
        command = [sys.executable, "-m", "gatewise", "train", *words]
        with (folder / "output.txt").open("a") as output:
            subprocess.run(command, cwd=folder, stdout=output, stderr=output)
        done.touch()
