"""Real Trainers, small enough for a test, and loaders of ready-made batches."""

import pytest
import pytorch_lightning as pl
from torch.utils.data import DataLoader


@pytest.fixture
def loader():
    """Makes a loader that gives these batches, in this order."""
    return lambda batches: DataLoader(batches, batch_size=None)


@pytest.fixture
def trainer():
    """Makes a Trainer on the CPU that writes nothing, unless told otherwise."""

    def make(**settings):
        quiet = {
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 1,
            "num_sanity_val_steps": 0,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }
        return pl.Trainer(**{**quiet, **settings})

    return make


def pytest_collection_modifyitems(items):
    """Batches here are ready in memory; Lightning's advice to load them in other processes does not apply."""
    for item in items:
        if item.path.parent.name == "tasks":
            item.add_marker(pytest.mark.filterwarnings("ignore:.*does not have many workers.*"))
