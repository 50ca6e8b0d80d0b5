"""Data of a run that W&B's server does not have yet."""

from __future__ import annotations

from pathlib import Path

from gatewise.runs.run import Run

UNSENT = "unsent"
"""Name of a file beside the data of an online run whose server may not have them all."""


def unsent(run: Run) -> list[Path]:
    """Folders with data of the run that W&B's server does not have yet, or not for certain."""
    found = []
    for folder in sorted((run.folder / "wandb").glob("*run-*")):
        offline = folder.name.startswith("offline-run-") and not any(folder.glob("*.wandb.synced"))
        if offline or (folder / UNSENT).is_file():
            found.append(folder)
    return found
