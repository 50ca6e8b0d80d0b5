"""``gatewise sync``: upload the W&B data of runs that were trained offline, or lost their connection."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import wandb
from omegaconf import DictConfig

from gatewise.runs.run import LOCK, Run
from gatewise.runs.unsent import UNSENT, unsent
from gatewise.settings import whole_number

ALL = "all"
PATIENCE_SECONDS = 10


def main(config: DictConfig) -> int:
    """Upload what is not uploaded yet of one run or all, several at a time; returns how many folders it was.

    Runs that are being trained are left out. Raises ValueError where the server cannot be reached or takes
    something not; what is uploaded then, is, and the rest is left for the next time.
    """
    jobs = whole_number("jobs", config.jobs)
    runs_dir = Path(config.paths.runs_dir)
    runs = _all_runs(runs_dir) if config.run == ALL else [Run.open(config.run, runs_dir)]
    training = [run for run in runs if run.state() == "running"]
    for run in training:
        print(f"{run.folder}: is being trained, left out", flush=True)
    folders = [folder for run in runs if run not in training for folder in unsent(run)]
    if not folders:
        print("Nothing to upload.")
        return 0
    _check_connection(wandb.setup().settings.base_url)
    _upload(folders, jobs, config.project, config.entity)
    return len(folders)


def _all_runs(runs_dir: Path) -> list[Run]:
    return [
        Run(path.parent) for path in sorted(runs_dir.resolve().rglob("config.yaml")) if _is_run(path.parent)
    ]


def _is_run(folder: Path) -> bool:
    return (folder / LOCK).is_file() and (folder / "wandb").is_dir()


def _check_connection(url: str) -> None:
    """Raise ValueError where nothing answers at ``url``: wandb itself would try for hours."""
    address = urlsplit(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), PATIENCE_SECONDS).close()
    except OSError as error:
        raise ValueError(
            f"W&B at {url} cannot be reached ({error}): nothing was uploaded; try again when it can, or set "
            f"WANDB_BASE_URL"
        ) from error


def _upload(folders: list[Path], jobs: int, project: str | None, entity: str | None) -> None:
    to = [word for name, value in (("-p", project), ("-e", entity)) if value for word in (name, str(value))]
    options = ["--yes", "--include-online", "-n", str(jobs), *to]
    command = [sys.executable, "-m", "wandb", "sync", *options, *map(str, folders)]
    code = subprocess.run(command).returncode
    if code != 0:
        raise ValueError(f"wandb sync ended with exit code {code}; what is left is uploaded by gatewise sync")
    for folder in folders:
        (folder / UNSENT).unlink(missing_ok=True)
