"""Settings of every test."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tests run side by side on shared cores."""
    import torch

    torch.set_num_threads(1)
