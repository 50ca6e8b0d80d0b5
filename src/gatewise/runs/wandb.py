"""The W&B side of a run: same id after a resume, nested config, best values, the right exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import WandbLogger

from gatewise.ranges import WANDB_LOGGER
from gatewise.runs.run import Run


def make_logger(
    run: Run,
    mode: str = "offline",
    project: str = "gatewise",
    entity: str | None = None,
    tags: Sequence[str] = (),
    group: str | None = None,
) -> WandbLogger | None:
    """A WandbLogger that writes to the run's directory under the run's own id; None where it is disabled.

    Raises ValueError for a mode that does not exist.
    """
    WANDB_LOGGER.check(locals())
    if mode == "disabled":
        return None
    import wandb  # a third of a second that a run without it need not wait

    logger = WandbLogger(
        name=run.id,
        id=run.id,
        save_dir=str(run.folder),
        project=project,
        entity=entity,
        tags=list(tags),
        group=group,
        mode=mode,
        # An offline run has no server to resume from; its parts meet under the id when they are synced.
        resume="allow" if mode == "online" else None,
        settings=wandb.Settings(silent=True, console="off"),
    )
    # Lightning hands this on unset, and W&B warns on the screen that it is going away.
    logger._wandb_init.pop("anonymous", None)
    return logger


def describe(logger: WandbLogger, config: DictConfig, monitor: str, mode: str) -> None:
    """Give W&B the resolved config and say which value of the monitored metric is the best."""
    logger.experiment.config.update(OmegaConf.to_container(config, resolve=True), allow_val_change=True)
    logger.experiment.define_metric(monitor, step_metric="trainer/global_step", summary=mode)


def finish(loggers: Sequence[Any], exit_code: int) -> None:
    """End this process's W&B run, as failed for a non-zero exit code; a no-op without one."""
    if any(isinstance(logger, WandbLogger) for logger in loggers):
        import wandb

        wandb.finish(exit_code=exit_code)
