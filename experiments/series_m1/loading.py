"""Measure how much of a training step goes into making its batch of windows, as a share of CPU time.

    python experiments/series_m1/loading.py
    python experiments/series_m1/loading.py experiment=series/etth1 model.hidden_size=128

Every word is an override of ``gatewise train``; without one it is the preset of a thousand generated series.
The batches are made in the process that trains, so that their CPU time is time. A step is forward, backward,
clipping and the optimizer's; what Lightning adds is left out, which would make the share smaller.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import torch

from gatewise.bench.loop_overhead import without_output
from gatewise.config.build import build
from gatewise.config.compose import compose
from gatewise.training.parts import make_data, make_task

STEPS = 200
WARM = 10
"""Steps before the measured ones."""


def batches(data: Any) -> Iterator[Any]:
    """The batches of one epoch after another."""
    while True:
        yield from data.train_dataloader()


def run(words: list[str]) -> None:
    config = compose("train", words or ["experiment=series/generated"])
    without_output(config)
    torch.set_num_threads(config.threads or torch.get_num_threads())
    torch.manual_seed(config.seed)
    data = make_data(config)
    assert data.facts is not None
    task = make_task(config, data.facts, {})
    optimizer = build(config.optimizer, "optimizer", params=task.parameters())
    clip = config.trainer.get("gradient_clip_val")
    source = batches(data)
    loading = stepping = 0.0
    windows = 0
    for step in range(WARM + STEPS):
        began = time.process_time()
        batch = next(source)
        loaded = time.process_time()
        optimizer.zero_grad()
        task.score(batch).loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(task.parameters(), clip)
        optimizer.step()
        if step >= WARM:
            loading, stepping = loading + loaded - began, stepping + time.process_time() - loaded
            windows += len(batch.targets)
    print(f"batches of {data.batch_size} windows, {sum(p.numel() for p in task.parameters()):,} weights:")
    print(f"  {1e3 * loading / STEPS:.2f} ms of CPU a batch, {1e3 * stepping / STEPS:.2f} ms a step")
    print(f"  loading is {100 * loading / (loading + stepping):.1f} % of both")
    print(f"  {windows / (loading + stepping):,.0f} windows a second of CPU")


if __name__ == "__main__":
    run(sys.argv[1:])
