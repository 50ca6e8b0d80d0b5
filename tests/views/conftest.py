"""A run to draw pictures for."""

import pytest
from omegaconf import OmegaConf

from gatewise.runs.run import Run


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "runs", "mine", OmegaConf.create({"name": "mine"}), [], {})
