"""``gatewise sync``: upload the W&B data of runs that were trained offline, or lost their connection."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

from omegaconf import DictConfig

from gatewise.config.wandb import PROJECT, SETTLED, check_environment, with_cache
from gatewise.launch.own_code import OutsideOfRuns, python
from gatewise.runs.inside import check_inside
from gatewise.runs.left_behind import own_temporary_folder
from gatewise.runs.record import Record, read_record
from gatewise.runs.run import LOCK, Run
from gatewise.runs.unsent import UNSENT, check_files, unsent
from gatewise.settings import first_line, lines, one_line, optional, whole_number
from gatewise.settings.checks import word
from gatewise.training.wandb_parts import check_sent
from gatewise.training.wandb_workspace import check_name, save, workspace
from gatewise.views.places import short

ALL = "all"
PATIENCE_SECONDS = 10


def main(config: DictConfig) -> int:
    """Upload what is not uploaded yet of one run or all, several at a time; returns how many folders it was.

    With a ``workspace``, writes one to W&B for these runs afterwards.

    Runs that are being trained are left out, and so are damaged ones. Raises ValueError where there are some,
    where the server cannot be reached or takes something not; what is uploaded then, is, and the rest is left
    for the next time.
    """
    jobs = whole_number("jobs", config.jobs)
    view = optional(word)("workspace", config.workspace)
    if view is not None:
        check_name(view)
    runs_dir = Path(config.paths.runs_dir)
    runs = _all_runs(runs_dir) if config.run == ALL else [Run.open(config.run, runs_dir)]
    folders: list[list[Path]] = []
    damaged: list[Path] = []
    for run in runs:
        try:
            training = run.state() == "running"
            check_inside(run.folder)  # what is sent is marked there
            parts = unsent(run)
            for folder in parts:
                check_files(folder)
                check_sent(folder, run.folder)
        except (OSError, ValueError) as error:
            if config.run != ALL:
                raise
            print(one_line(f"left out: {error}"), flush=True)
            damaged.append(run.folder)
            continue
        if training:
            print(one_line(f"{run.folder}: is being trained, left out"), flush=True)
        elif parts:
            folders.append(parts)
    if folders:
        _check_connection(_server())
        _upload(folders, jobs, config.project, config.entity)
    else:
        print("Nothing to upload.")
    if view is not None:
        _write_workspaces(view, [run for run in runs if run.folder not in damaged], config)
    if damaged:
        raise ValueError(
            f"{len(damaged)} of {len(runs)} runs could not be read and were left out: "
            f"{', '.join(short(folder) for folder in damaged)}"
        )
    return sum(map(len, folders))


def _write_workspaces(name: str, runs: list[Run], config: DictConfig) -> None:
    """Write a workspace to each W&B project that the runs are sent to."""
    by_project: dict[tuple[str | None, str], list[Record]] = {}
    for run in runs:
        record = read_record(run.folder)
        sent_to = [
            config[name] or record.settings.get(f"logger.wandb.{name}") for name in ("entity", "project")
        ]
        by_project.setdefault((sent_to[0], sent_to[1] or PROJECT), []).append(record)
    for (entity, project), records in by_project.items():
        made = workspace(entity or _default_entity(name), project, name, records)
        print(one_line(f"Workspace {name}: {save(made)}"), flush=True)


def _default_entity(name: str) -> str:
    """The user's own entity; raises ValueError where nobody is logged in."""
    with own_temporary_folder():
        import wandb
    check_environment(os.environ)
    _check_connection(_server())
    try:
        entity = wandb.Api().default_entity
    except (wandb.Error, OSError, ValueError) as error:
        raise ValueError(f"workspace={name}: {first_line(error)}") from error
    if not entity:
        raise ValueError(f"workspace={name}: give entity=..., the W&B user or team that the project is of")
    return str(entity)


def _server() -> str:
    """The address of the user's server; raises ValueError for a variable that W&B does not take."""
    with own_temporary_folder():  # W&B makes folders as it is imported
        import wandb
    check_environment(os.environ)
    with with_cache(), OutsideOfRuns():
        return str(wandb.setup().settings.base_url)


def _all_runs(runs_dir: Path) -> list[Run]:
    return [
        Run(path.parent) for path in sorted(runs_dir.resolve().rglob("config.yaml")) if _is_run(path.parent)
    ]


def _is_run(folder: Path) -> bool:
    return (folder / LOCK).is_file() and (folder / "wandb").is_dir()


def _check_connection(url: str) -> None:
    """Raise ValueError where nothing answers at ``url``: wandb itself would try for hours."""
    try:
        address = urlsplit(url)
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname or "", port), PATIENCE_SECONDS).close()
    except (OSError, ValueError) as error:  # ValueError for what is no host's name or port
        raise ValueError(
            f"W&B at {url} cannot be reached ({error}): nothing was uploaded; try again when it can, or set "
            f"WANDB_BASE_URL"
        ) from error


def _upload(runs: list[list[Path]], jobs: int, project: str | None, entity: str | None) -> None:
    """Upload the parts of each run, the first parts before the second ones.

    A run of which a part did not go up is left there: a later part must not come before it.
    """
    to = [word for name, value in (("-p", project), ("-e", entity)) if value for word in (name, str(value))]
    options = ["--yes", "--include-online", "-n", str(jobs), *to]
    failed = 0
    while runs:
        folders = [parts[0] for parts in runs]
        started = time.time()
        command = python("wandb", "sync", *options, *map(str, folders))
        with with_cache(), OutsideOfRuns():
            # They are for a training; each run goes where its own config says.
            environment = {name: value for name, value in os.environ.items() if name not in SETTLED}
            failed = _run(command, environment) or failed
        for folder in folders:
            if failed == 0 or _is_sent(folder, started):
                (folder / UNSENT).unlink(missing_ok=True)
        runs = [parts[1:] for parts in runs if parts[1:] and (failed == 0 or _is_sent(parts[0], started))]
    if failed != 0:
        raise ValueError(
            f"wandb sync ended with exit code {failed}; what is left is uploaded by gatewise sync"
        )


def _run(command: list[str], environment: dict[str, str]) -> int:
    """The exit code of a command whose output is shown as text: it has names that runs bring."""
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="backslashreplace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(lines(line), end="", flush=True)
    return process.returncode


def _is_sent(folder: Path, since: float) -> bool:
    """Whether W&B has noted, since then, that all of a folder was sent."""
    return any(path.stat().st_mtime >= since - 1 for path in folder.glob("*.wandb.synced"))
