"""What W&B gets of a training that has ended: the table of its results, and its best weights on request."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewise.runs.run import Run
from gatewise.tasks import Task
from gatewise.training.checkpoints import Chosen
from gatewise.training.wandb import RunLogger
from gatewise.views.tables import results

if TYPE_CHECKING:
    import wandb

TABLE = "results"
_LONGEST_NAME = 128


def log_results(logger: RunLogger, summary: Mapping[str, Any], task: Task, step: int) -> None:
    """Log the test metrics beside the baselines as a table; nothing for a training that was not tested."""
    if not summary["test"]:
        return
    columns, rows = results(summary["test"], summary["baselines"], task.meanings())

    def log() -> None:
        import wandb

        with _files_in(_folder_of(logger.experiment)):
            logger.log_metrics({TABLE: wandb.Table([*columns], [list(row) for row in rows])}, step)

    logger.attempt(log)


def log_weights(logger: RunLogger, run: Run, best: Chosen) -> None:
    """Log the best checkpoint as an artifact where the logger is to, once in all parts of a run."""
    if logger.artifact == "best" and best.path is not None:
        path = best.path
        logger.attempt(lambda: _log_weights(logger, run, path, best))


def _log_weights(logger: RunLogger, run: Run, path: Path, best: Chosen) -> None:
    import wandb

    begun = logger.experiment
    folder = _folder_of(begun)
    metadata = {
        "metric": best.monitor,
        "value": best.row.get(str(best.monitor)),
        "epoch": best.row.get("epoch"),
        "run": run.id,
    }
    name = re.sub(r"[^\w.-]", "-", f"model-{begun.id}", flags=re.ASCII)[:_LONGEST_NAME]
    artifact = wandb.Artifact(name, "model", metadata=metadata)
    with _files_in(folder):
        kept = _kept(path, folder)
        # It is the run's own file, which nothing writes to: no copy in W&B's folders is needed.
        artifact.add_file(str(kept), path.name, policy="immutable", skip_cache=True)
        if artifact.digest not in logger.parts.artifacts:
            begun.log_artifact(artifact, aliases=["best"])


def _kept(path: Path, folder: Path) -> Path:
    """The checkpoint as it is now, among the run's W&B files: training on replaces the one at its place."""
    kept = folder / "artifacts" / path.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.unlink(missing_ok=True)
    try:
        os.link(path, kept)
    except OSError:  # a file system without links
        shutil.copyfile(path, kept)
    return kept


def _folder_of(begun: wandb.Run) -> Path:
    """The folder of the run's W&B files of this process."""
    return Path(begun.dir).parent


@contextlib.contextmanager
def _files_in(folder: Path) -> Iterator[None]:
    """Have W&B put copies of what it is to upload into a folder: else they lie in the user's home.

    There they would be missing where a run directory is moved before ``gatewise sync``, or there is no home.
    """
    from wandb.env import DATA_DIR

    before = os.environ.get(DATA_DIR)
    os.environ[DATA_DIR] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(DATA_DIR)
        if before is not None:
            os.environ[DATA_DIR] = before
