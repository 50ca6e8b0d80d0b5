"""A run directory to try things on."""

import pytest
from omegaconf import OmegaConf

from gatewise.runs.run import Run

CONFIG = {"name": "text/mine", "seed": 3, "model": {"hidden_size": 8}, "title": "${name}"}


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
