"""Find the data of a run that W&B's server does not have yet."""

from __future__ import annotations

from pathlib import Path

from gatewise.runs.run import Run

UNSENT = "unsent"
"""Marker file in the folder of an online run whose data may not all have reached the server."""


def unsent(run: Run) -> list[Path]:
    """Folders with data of the run that W&B's server does not have yet, or may not have."""
    folders = []
    for folder in sorted((run.folder / "wandb").glob("*run-*")):
        offline = folder.name.startswith("offline-run-") and not any(folder.glob("*.wandb.synced"))
        if offline or (folder / UNSENT).is_file():
            folders.append(folder)
    return folders
