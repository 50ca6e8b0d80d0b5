"""What counts as a run or sweep directory, and what does not."""

from __future__ import annotations

from pathlib import Path

from gatewise.runs.around import run_around


def test_a_project_with_a_file_for_wandb_is_no_sweep(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "sweep.yaml").touch()
    (tmp_path / "config.yaml").touch()
    assert run_around(tmp_path / "conf") is None
    (tmp_path / "study.journal").touch()
    assert run_around(tmp_path / "conf") == str(tmp_path.resolve())
