"""Trainings that a scheduler starts again: each finds the run it had begun."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from gatewise.runs.files import write_text
from gatewise.runs.run import Run

FOLDER = ".jobs"


class Job:
    """What one training of a job leaves for itself, below ``runs_dir``.

    A SLURM job that is put back into the queue keeps its number and starts from the top: the same commands in
    the same folder, told apart by their overrides. When a process is lost, so does what torchrun has started
    under one ``--rdzv-id``.
    """

    def __init__(self, runs_dir: Path, overrides: Sequence[str], environment: Mapping[str, str]) -> None:
        group, slurm = environment.get("TORCHELASTIC_RUN_ID", "none"), environment.get("SLURM_JOB_ID")
        # torchrun says "none" where the user has not named it.
        self._of_torchrun = group != "none"
        self.is_again = self._of_torchrun or environment.get("SLURM_RESTART_COUNT", "0") != "0"
        words = [str(Path.cwd()), group if self._of_torchrun else slurm or "", *overrides]
        digest = hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]
        # A number, or 7_2 in an array; whatever it is, a file's name.
        shown = re.sub(r"[^\w-]", "_", slurm or "", flags=re.ASCII)[:40]
        name = f"torchrun-{digest}" if self._of_torchrun else f"slurm-{shown}-{digest}"
        self._file = runs_dir / FOLDER / name if self._of_torchrun or slurm else None

    def begun(self) -> Path | None:
        """The run directory that this training had made before it was started again, if it was."""
        if self._file is None or not self.is_again or not self._file.is_file():
            return None
        folder = Path(self._file.read_text(encoding="utf-8"))
        if not (folder / "config.yaml").is_file():
            return None
        # torchrun does not say on which machine it starts anew; a name may be used for the next training too.
        return None if self._of_torchrun and Run(folder).state() == "done" else folder

    def begin(self, folder: Path) -> None:
        """Note the run directory of this training, where it belongs to a job."""
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._file, str(folder))
