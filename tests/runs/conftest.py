"""A run directory to try things on."""

import pytest
from omegaconf import OmegaConf

from gatewise.runs.run import Run

CONFIG = {
    "name": "text/mine",
    "seed": 3,
    "test": True,
    "model": {"hidden_size": 8},
    "task": {"monitor": "val/loss"},
    "data": {"stride": 1},
    "trainer": {"max_epochs": 2, "limit_train_batches": 1.0},
    "callbacks": {"early_stopping": {"patience": 3}},
    "wandb": {"mode": "offline", "project": "gatewise", "tags": []},
    "logger": {"wandb": {"mode": "${wandb.mode}", "tags": "${wandb.tags}", "group": "${name}"}},
    "title": "${name}",
}


@pytest.fixture
def create(tmp_path):
    """Makes runs below ``tmp_path/runs``."""

    def make(name="text/mine"):
        config = OmegaConf.create({**CONFIG, "name": name})
        return Run.create(tmp_path / "runs", name, config, ["model=gru", "seed=3"], {"model": "gru"})

    return make


@pytest.fixture
def run(create):
    return create()
