"""Find the data of a run that W&B's server does not have yet."""

from __future__ import annotations

from pathlib import Path

from gatewise.runs.run import Run

UNSENT = "unsent"
"""Marker file in the folder of an online run whose data may not all have reached the server."""

BEGINNING = b":W&B"
"""What a file of W&B's begins with."""


def unsent(run: Run) -> list[Path]:
    """Folders with data of the run that W&B's server does not have yet, or may not have."""
    folders = []
    for folder in sorted((run.folder / "wandb").glob("*run-*")):
        # A process that was killed at its start may have left an empty file.
        written = any(path.stat().st_size > 0 for path in folder.glob("*.wandb"))
        offline = folder.name.startswith("offline-run-") and not any(folder.glob("*.wandb.synced"))
        if (offline and written) or (folder / UNSENT).is_file():
            folders.append(folder)
    return folders


def check_files(folder: Path) -> None:
    """Raise ValueError where a file of W&B's in a run's folder is something else: W&B would pass over it.

    And where a link leads out of the folder: W&B would upload what it leads to.
    """
    for path in folder.rglob("*"):
        if path.is_symlink() and not (
            _is_log_of_wandb(path) or path.resolve().is_relative_to(folder.resolve())
        ):
            raise ValueError(f"{path}: is a link out of the run: remove it, or put the file in its place")
    for path in folder.glob("*.wandb"):
        with path.open("rb") as file:
            start = file.read(len(BEGINNING))
            if start != BEGINNING[: len(start)]:
                raise ValueError(f"{path}: not a file of W&B's: remove {folder} to sync without it")


def _is_log_of_wandb(path: Path) -> bool:
    """Whether a link is the one that W&B makes in each of its folders, to a log of its own."""
    place = path.resolve()
    return (
        path.name == "debug-core.log"
        and place.parent.parts[-2:] == ("wandb", "logs")
        and place.match("core-debug-*.log")
    )
