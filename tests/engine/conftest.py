"""Settings that several tests of engines need."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def tf32() -> Iterator[None]:
    """torch may take TF32 for products in float32."""
    matmul = torch.backends.cuda.matmul
    name, allowed = ("fp32_precision", "tf32") if hasattr(matmul, "fp32_precision") else ("allow_tf32", True)
    before = getattr(matmul, name)
    setattr(matmul, name, allowed)
    yield
    setattr(matmul, name, before)
