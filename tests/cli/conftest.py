"""A small conf/ in place of the real one, and commands that use it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FILES = {
    "train.yaml": """
defaults:
  - model: lstm
  - data: vowels
  - _self_
  - experiment: null
  - optional local: default
  - override hydra/job_logging: none
  - override hydra/hydra_logging: none
seed: 1
where: ${gatewise.cwd:}
trainer: {max_epochs: 3, devices: 1}
optimizer: {lr: 0.1}
hydra: {output_subdir: null, run: {dir: .}, sweep: {dir: sweep}}
""",
    "model/lstm.yaml": "hidden_size: 3",
    "model/gru.yaml": "hidden_size: 4",
    "data/vowels.yaml": "file: vowels.csv",
    "data/file.yaml": "file: ???",
    "data/broken.yaml": "rate: 3\nx: [1,",
    "data/twice.yaml": "a: 1\na: 2",
    "data/dangling.yaml": "file: ${nosuch.key}",
    "data/grammar.yaml": "file: ${",
    "data/parent.yaml": "defaults: [nosuch]",
    "experiment/text/sentiment.yaml": "# @package _global_\nseed: 7",
    "choose.yaml": "defaults:\n  - model: ???",
}


def write_files(folder: Path, files: dict[str, str]) -> Path:
    """Write ``files`` (path to text) below ``folder`` and return it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return folder


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The small conf/, with an empty working folder beside it."""
    from gatewise.config import compose as config

    folder = write_files(tmp_path / "ours", FILES)
    monkeypatch.setattr(config, "conf_folder", lambda: folder)
    monkeypatch.delenv("GATEWISE_TRACEBACK", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield folder
    # Hydra's --info puts a handler on the root logger.
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def command(conf: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``command("gatewise ...")`` runs bash with a gatewise that uses the small conf/ and prints its job."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "gatewise"
    script.write_text(
        f"#!{sys.executable}\n"
        "import sys, types\n"
        "from pathlib import Path\n"
        "from gatewise.cli import main\nfrom gatewise.config import compose\n"
        f"compose.conf_folder = lambda: Path({str(conf)!r})\n"
        "train = sys.modules['gatewise.cli.train'] = types.ModuleType('gatewise.cli.train')\n"
        "train.main = print\n"
        "main.VERBS['train'] = main.VERBS['train']._replace(check=None)\n"
        "sys.exit(main.main())\n"
    )
    script.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"

    def run(line: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line],
            env={**os.environ, "PATH": path, **env},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
