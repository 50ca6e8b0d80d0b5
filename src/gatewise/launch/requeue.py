"""Trainings of a SLURM job that was put back into the queue: each finds the run it had begun."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from gatewise.runs.files import write_text

FOLDER = ".slurm"


class SlurmJob:
    """What one training of a SLURM job leaves for itself, below ``runs_dir``.

    A job put back into the queue keeps its number and starts from the top: the same commands in the same
    folder, which are told apart by their overrides.
    """

    def __init__(self, runs_dir: Path, overrides: Sequence[str], environment: Mapping[str, str]) -> None:
        self._restarts = environment.get("SLURM_RESTART_COUNT", "0")
        job = environment.get("SLURM_JOB_ID")
        command = "\0".join([str(Path.cwd()), *overrides])
        name = f"{job}-{hashlib.sha256(command.encode()).hexdigest()[:16]}"
        self._file = None if job is None else runs_dir / FOLDER / name

    def begun(self) -> Path | None:
        """The run directory of this training where the job was put back after it had made one."""
        if self._file is None or self._restarts == "0" or not self._file.is_file():
            return None
        folder = Path(self._file.read_text(encoding="utf-8"))
        return folder if (folder / "config.yaml").is_file() else None

    def begin(self, folder: Path) -> None:
        """Note the run directory of this training, where it belongs to a job."""
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._file, str(folder))
