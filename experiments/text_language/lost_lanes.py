"""How many of 100 lanes of a validation part, each read from a state of zeros, a trained model is lost in."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch.nn import functional as F

from gatewise.data.text import LanguageText
from gatewise.data.text.lanes import Lanes
from gatewise.kinds.kind import IGNORED
from gatewise.runs.run import Run
from gatewise.training.parts import load_task, make_data

LANES, SKIPPED, LOST = 100, 100, 7.0
"""Lanes, steps at the start of each that are not counted, and nats a token above which one is lost."""


def main() -> None:
    """Print a line for every run directory of the command line."""
    for folder in sys.argv[1:]:
        run = Run(Path(folder))
        config = run.config()
        data, task = make_data(config), load_task(run, "best", config)
        assert isinstance(data, LanguageText)
        lanes = Lanes(data.validation_ids, LANES, len(data.validation_ids))
        tokens, targets = lanes[0]
        with torch.no_grad():
            scores, _ = task(tokens)
            nats = F.cross_entropy(scores.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")
        means = nats[:, SKIPPED:].mean(1)
        others = means[means <= LOST].mean()
        print(
            f"{folder}: {int((means > LOST).sum())} of {LANES} lanes lost, {float(others):.3f} in the others"
        )


if __name__ == "__main__":
    main()
