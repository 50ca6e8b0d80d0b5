"""Run directories made by hand: what a reader of many runs has to cope with, without a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

CONFIG: dict[str, Any] = {
    "name": "speech/mine",
    "seed": 1,
    "task": {
        "_target_": "gatewise.tasks.classification.SequenceClassification",
        "monitor": "val/loss",
        "mode": "min",
    },
    "data": {"_target_": "gatewise.data.sequences.FeatureSequences", "batch_size": 16, "seed": 1},
    "model": {
        "_target_": "gatewise.nn.Recurrent",
        "hidden_size": 32,
        "cell": {"_target_": "gatewise.cells.LSTM"},
    },
    "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.003, "betas": [0.9, 0.999]},
    "trainer": {"max_epochs": 3, "gradient_clip_val": None},
    "paths": {"runs_dir": "/somewhere/runs"},
}
TARGETS = {"lstm": "gatewise.cells.LSTM", "gru": "gatewise.cells.GRU"}


def made_run(
    folder: Path,
    settings: dict[str, Any] | None = None,
    state: str = "done",
    reason: str | None = None,
    losses: tuple[float, ...] = (0.9, 0.5, 0.6),
    model: str = "lstm",
    summary: dict[str, Any] | None = None,
) -> Path:
    """A run directory with these settings by dotted key, and a curve of validation losses."""
    folder.mkdir(parents=True)
    config = json.loads(json.dumps(CONFIG))
    config["model"]["cell"]["_target_"] = TARGETS[model]
    for key, value in (settings or {}).items():
        *above, last = key.split(".")
        node = config
        for name in above:
            node = node.setdefault(name, {})
        node[last] = value
    config["data"]["seed"] = config["seed"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    composed = {"overrides": [f"model={model}"], "choices": {"model": model, "task": "classification"}}
    (folder / "overrides.yaml").write_text(yaml.safe_dump(composed))
    status = {
        "state": state,
        "reason": reason,
        "changed": "2026-11-26T14:25:32+00:00",
        "pid": 1,
        "host": "there",
    }
    (folder / "status.json").write_text(json.dumps(status))
    lines = ["epoch,step,train/loss,val/loss"]
    lines += [f"{epoch},{10 * epoch},{loss - 0.1},{loss}" for epoch, loss in enumerate(losses, 1)]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    if state == "done":
        best = min(range(len(losses)), key=losses.__getitem__)
        values = {
            "monitor": "val/loss",
            "mode": "min",
            "best": {"epoch": best + 1, "step": 10 * best + 10, "val/loss": losses[best]},
            "final": {"epoch": len(losses), "step": 10 * len(losses), "val/loss": losses[-1]},
            "test": {"accuracy": 0.9, "loss": losses[best]},
            "baselines": {"majority class": {"accuracy": 0.2}},
            "parameters": 1000,
            "training_seconds": 12.5,
            "processes": 1,
        }
        (folder / "summary.json").write_text(json.dumps(values | (summary or {})))
    return folder
