"""The W&B side of a run: same id after a resume, nested config, best values, the right exit code."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment

from gatewise.runs.run import Run
from gatewise.runs.unsent import UNSENT
from gatewise.settings import checked

if TYPE_CHECKING:
    import wandb

_log = logging.getLogger(__name__)

PATIENCE_SECONDS = 30
"""How long a training waits for the server: at its start, unless WANDB_INIT_TIMEOUT says, and at its end."""


class RunLogger(WandbLogger):
    """A WandbLogger that begins its W&B run with ``settings`` of ``wandb.init``; they may change until then.

    Lightning's own hands on settings that W&B warns of, and keeps them to itself.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(name=settings["name"], save_dir=settings["dir"], id=settings["id"])
        self.settings = settings
        self._begun: wandb.Run | None = None

    @property
    @rank_zero_experiment
    def experiment(self) -> wandb.Run:
        """The W&B run, which the first use begins."""
        import wandb

        if self._begun is None:
            self._begun = wandb.init(**self.settings)
            self._begun.define_metric("trainer/global_step")
            self._begun.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return self._begun


@checked
def make_logger(
    run: Run,
    mode: Literal["offline", "online", "disabled"] = "offline",
    project: str = "gatewise",
    entity: str | None = None,
    tags: Sequence[str] = (),
    group: str | None = None,
) -> RunLogger | None:
    """A logger that writes to the run's directory under the run's own id; None where it is disabled.

    Raises ValueError for a mode that does not exist.
    """
    if mode == "disabled":
        return None
    import wandb  # a third of a second that a run without it need not wait

    return RunLogger(
        name=run.id,
        id=run.id,
        dir=str(run.folder),
        project=project,
        entity=entity,
        tags=list(tags),
        group=group,
        mode=mode,
        # An offline run has no server to resume from; its parts meet under the id when they are synced.
        resume="allow" if mode == "online" else None,
        settings=wandb.Settings(
            silent=True,
            console="off",
            init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT", PATIENCE_SECONDS)),
            finish_timeout=PATIENCE_SECONDS,
            finish_timeout_raises=True,
        ),
    )


def describe(logger: RunLogger, config: DictConfig, monitor: str, mode: str) -> None:
    """Give W&B the resolved config and say which value of the monitored metric is the best."""
    logger.experiment.config.update(OmegaConf.to_container(config, resolve=True), allow_val_change=True)
    logger.experiment.define_metric(monitor, step_metric="trainer/global_step", summary=mode)


def start(logger: RunLogger, run: Run) -> None:
    """Begin this process's W&B run; where the server does not answer, offline.

    Raises ValueError where W&B has no account to send to.
    """
    import wandb

    try:
        begun = logger.experiment
    except wandb.errors.UsageError as error:
        raise ValueError(
            f"wandb.mode=online: {error} Or train with wandb.mode=offline, and upload with gatewise sync"
        ) from error
    except (wandb.errors.CommError, OSError) as error:
        reason = str(error).strip().splitlines()[-1]
        _log.warning(
            "W&B cannot be reached, training goes on offline: upload later with gatewise sync run=%s (%s)",
            run.folder,
            reason,
        )
        wandb.teardown()
        logger.settings.update(mode="offline", resume=None)
        begun = logger.experiment
    if not begun.offline:
        _unsent_file(begun).touch()


def finish(loggers: Sequence[Any], exit_code: int) -> None:
    """End this process's W&B run, as failed for a non-zero exit code; a no-op without one.

    Where the server has gone, what it lacks stays on disk for ``gatewise sync``.
    """
    if not any(isinstance(logger, RunLogger) for logger in loggers):
        return
    import wandb

    begun = wandb.run
    if begun is None:
        return
    try:
        wandb.finish(exit_code=exit_code)
    except TimeoutError:
        _log.warning("W&B does not answer: what it lacks stays here; upload it later with gatewise sync")
        wandb.teardown(exit_code)
    else:
        _unsent_file(begun).unlink(missing_ok=True)


def _unsent_file(begun: wandb.Run) -> Path:
    return Path(begun.dir).parent / UNSENT
