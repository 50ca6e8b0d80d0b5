"""Figures as they are drawn, and a run to draw them for."""

import pytest
from omegaconf import OmegaConf

from gatewise.runs.run import Run
from gatewise.views import plots


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "runs", "mine", OmegaConf.create({"name": "mine"}), [], {})


@pytest.fixture
def figures(monkeypatch):
    """Every figure, in the order of saving; they are saved as well."""
    drawn = []
    save = plots.write_picture

    def keep(path, figure):
        drawn.append(figure)
        save(path, figure)

    monkeypatch.setattr(plots, "write_picture", keep)
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
