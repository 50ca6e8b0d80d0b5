"""Greedy generation, token by token, with the model of the King James experiment: ours beside torch.nn's.

``gatewise train``, then ``python experiments/engine/generation.py [RUN]``; without a run it is the last one
below ``runs``. Both generate the same 1,000 tokens, or it says so.
"""

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gatewise.nn import Recurrent
from gatewise.runs.run import Run
from gatewise.tasks.language_modelling import LanguageModelling
from gatewise.training.parts import load_task

TOKENS, ROUNDS = 1000, 5


@torch.no_grad()
def main() -> None:
    run = Run.open(sys.argv[1] if len(sys.argv) > 1 else "last", Path("runs"))
    task = load_task(run, "best", run.config())
    assert isinstance(task, LanguageModelling)
    ways = {"gatewise": task.encoder, "torch.nn": of_torch(task.encoder)}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        texts = {}
        for _ in range(ROUNDS):
            for name, encoder in ways.items():
                start = time.perf_counter()
                texts[name] = generated(task, encoder)
                speeds[name].append(TOKENS / (time.perf_counter() - start))
        same = "the same tokens" if texts["gatewise"] == texts["torch.nn"] else "OTHER TOKENS"
        shown = ", ".join(f"{name} {statistics.median(found):,.0f}" for name, found in speeds.items())
        print(f"{threads} threads, tokens per second: {shown} ({same})")


def of_torch(ours: Recurrent) -> nn.LSTM:
    """torch's layer with the weights of an LSTM of one layer."""
    theirs = nn.LSTM(ours.input_size, ours.hidden_size, batch_first=True)
    weights = next(iter(ours.layers)).weights()
    theirs.weight_ih_l0.copy_(weights.input)
    theirs.weight_hh_l0.copy_(weights.hidden)
    theirs.bias_ih_l0.copy_(weights.bias)
    theirs.bias_hh_l0.zero_()
    return theirs


def generated(task: LanguageModelling, encoder: Any) -> list[int]:
    token, state, found = torch.zeros(1, 1, dtype=torch.long), None, []
    for _ in range(TOKENS):
        outputs, state = encoder(task.embedding(token), state)
        token = task.head(outputs[:, -1]).argmax(-1, keepdim=True)
        found.append(int(token))
    return found


if __name__ == "__main__":
    main()
