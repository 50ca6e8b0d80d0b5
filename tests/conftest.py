"""Settings of every test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
BUILT = {"build", "dist"}


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tests run side by side on shared cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(pytestconfig: pytest.Config) -> Iterator[None]:
    """What tests compile stays out of the user's cache, in a folder that test processes share and keep."""
    assert pytestconfig.cache is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(pytestconfig.cache.mkdir("compiled")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _nothing_left_behind():
    """What a test writes belongs in its own folder, or it ends up in somebody's next commit."""

    def names() -> set[str]:
        return {path.name for path in REPOSITORY.iterdir() if not path.name.startswith(".")} - BUILT

    before = names()
    yield
    assert names() <= before, f"tests wrote {sorted(names() - before)} into {REPOSITORY}"
