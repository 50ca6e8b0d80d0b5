"""A run to draw pictures for, and a browser to look at pages."""

import pytest
from omegaconf import OmegaConf

from browser import browser
from gatewise.runs.run import Run


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "runs", "mine", OmegaConf.create({"name": "mine"}), [], {})


@pytest.fixture(scope="module")
def running():
    # Of a module: a process can have no second one beside it, and no other event loop while it runs.
    with browser() as it:
        yield it
