"""Settings of every test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

REPOSITORY = Path(__file__).resolve().parents[1]
BUILT = {"build", "dist"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: one of them that begins last has a process to itself, and the others wait."""
    items.sort(key=lambda item: not {"e2e", "engine"} & set(item.path.relative_to(REPOSITORY).parts))


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
        if pytestconfig.option.markexpr == "not slow and not gpu":
            # A hundred cells are compiled: with -O3, as slow tests have them, that takes two minutes more.
            patch.setenv("CFLAGS", os.environ.get("CFLAGS", "-O1"))
        yield


@pytest.fixture(autouse=True, scope="session")
def _nothing_left_behind():
    """What a test writes belongs in its own folder, or it ends up in somebody's next commit."""

    def names() -> set[str]:
        return {path.name for path in REPOSITORY.iterdir() if not path.name.startswith(".")} - BUILT

    before = names()
    yield
    assert names() <= before, f"tests wrote {sorted(names() - before)} into {REPOSITORY}"


RUN_CONFIG = {
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
        from gatewise.runs.run import Run

        config = OmegaConf.create({**RUN_CONFIG, "name": name})
        return Run.create(tmp_path / "runs", name, config, ["model=gru", "seed=3"], {"model": "gru"})

    return make


@pytest.fixture
def run(create):
    return create()


@pytest.fixture
def figures(monkeypatch):
    """Every figure, in the order of saving; they are saved as well."""
    from gatewise.views.pictures import alignment, confusion_matrix, forecasts, inspected, learning_curves

    drawn = []
    for picture in (alignment, confusion_matrix, forecasts, inspected, learning_curves):

        def keep(path, figure, save=picture.write_picture):
            drawn.append(figure)
            save(path, figure)

        monkeypatch.setattr(picture, "write_picture", keep)
    return drawn


@pytest.fixture
def size():
    """Reads a picture's (width, height) and checks that it is a whole PNG."""

    def read(path):
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert content[12:16] == b"IHDR"
        assert content.endswith(b"IEND\xaeB`\x82")
        return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")

    return read
