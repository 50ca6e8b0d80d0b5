"""The W&B side of a run: same id after a resume, nested config, best values, the right exit code."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only

from gatewise.config.wandb import SETTLED, STEP, VARIABLES, check_environment, with_cache
from gatewise.launch.own_code import OutsideOfRuns
from gatewise.runs.code import is_users_repository
from gatewise.runs.left_behind import own_temporary_folder
from gatewise.runs.references import as_stored, stored
from gatewise.runs.run import Run
from gatewise.runs.summary import best_row
from gatewise.runs.unsent import UNSENT, unsent
from gatewise.settings import Word, Words, checked, first_line
from gatewise.training.loggers import from_one, new_points
from gatewise.training.wandb_parts import Parts, read_parts

if TYPE_CHECKING:
    import wandb

_log = logging.getLogger(__name__)

PATIENCE_SECONDS = 30
"""How long a training waits for the server: at its start, unless WANDB_INIT_TIMEOUT says, and at its end."""

WRITTEN_AFTER_SECONDS = 20
"""W&B writes what it is told within 15 seconds; what a killed process told it just before is lost."""

_RECENT = "wandb_recent"
_NOT_TOLD = {"wandb", "logger", "paths", "resume", "resume_from", "launcher"}
"""Sections, settings and config groups that say how a run was started, and not what it is."""


class RunLogger(WandbLogger):
    """A WandbLogger that begins its W&B run with ``settings`` of ``wandb.init``; they may change until then.

    A resumed run goes on after the ``parts`` that W&B has: its steps continue, and what they hold is not said
    twice. Lightning's own hands on settings that W&B warns of, and keeps them to itself.
    """

    def __init__(self, artifact: Literal["best", False] = False, **settings: Any) -> None:
        super().__init__(name=settings["name"], save_dir=settings["dir"], id=settings["id"])
        self.settings = settings
        self.artifact = artifact
        self.parts = Parts()
        self._begun: wandb.Run | None = None
        self._modes: dict[str, str] = {}
        self._best: dict[str, float] = {}
        self._failed = False
        self._recent: deque[tuple[float, dict[str, float]]] = deque()

    @property
    @rank_zero_experiment
    def experiment(self) -> wandb.Run:
        """The W&B run, which the first use begins."""
        import wandb

        if self._begun is None:
            with _settled_environment(self.settings), with_cache(), OutsideOfRuns():
                self._begun = wandb.init(**self.settings)
            self._begun.define_metric(STEP)
            self._begun.define_metric("*", step_metric=STEP, step_sync=True)
            if self.parts.rows > self._begun.step:
                self._begun.log({}, step=self.parts.rows, commit=False)
        return self._begun

    def keep_best(self, modes: Mapping[str, str], best: Mapping[str, float]) -> None:
        """Have W&B sum up metrics by their least (``min``) or largest value, which were ``best`` so far."""
        self._modes, self._best = dict(modes), dict(best)
        for name, mode in modes.items():
            self.experiment.define_metric(name, step_metric=STEP, summary=mode)
        self._say_best(best)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log what W&B does not have yet. Where W&B fails, the training goes on without it."""
        self._log(from_one(metrics), step)

    def _log(self, metrics: Mapping[str, Any], step: int | None) -> None:
        if self._failed:
            return
        new = new_points(metrics, step, self.parts.last)
        if "epoch" in metrics:
            new["epoch"] = metrics["epoch"]
        if not new.keys() - {"epoch"}:
            return

        def log() -> None:
            self.experiment.log(new if step is None else {**new, STEP: step})
            self._compare(new)
            if step is not None:
                self._keep(step, new)

        self.attempt(log)

    def attempt(self, work: Callable[[], None]) -> None:
        """Do what tells W&B something. Once W&B has failed, the training goes on without it."""
        if self._failed:
            return
        try:
            work()
        except Exception as error:
            self._failed = True
            _log.warning("W&B has failed, training goes on without it (%s)", first_line(error))

    def log_pictures(self, pictures: Mapping[str, Path], step: int) -> None:
        """Log PNG files by name."""
        import wandb

        self.log_metrics({name: wandb.Image(str(path)) for name, path in pictures.items()}, step)

    def recent(self) -> list[dict[str, float]]:
        """What was logged so short a time ago that W&B may not have written it yet: numbers by name."""
        return [row for _, row in self._recent]

    def log_again(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Log rows with the step each is of, as far as W&B lacks them."""
        for row in rows:
            self._log({name: row[name] for name in row if name != "step"}, int(row["step"]))

    def _keep(self, step: int, metrics: Mapping[str, Any]) -> None:
        now = time.monotonic()
        while self._recent and self._recent[0][0] < now - WRITTEN_AFTER_SECONDS:
            self._recent.popleft()
        numbers = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
        self._recent.append((now, {**numbers, "step": step}))

    def _compare(self, metrics: Mapping[str, float]) -> None:
        named = [name for name in self._best if name in metrics]
        for name in named:
            if not math.isnan(metrics[name]):
                better = min if self._modes[name] == "min" else max
                self._best[name] = better(metrics[name], self._best[name])
        self._say_best(named)

    def _say_best(self, names: Iterable[str]) -> None:
        """Correct what W&B counts, which is from this part's first value on."""
        values = {name: {self._modes[name]: self._best[name]} for name in names}
        if values:
            self.experiment.summary.update(values)


class KeepRecent(pl.Callback):
    """Keeps in a checkpoint what W&B may not have written yet, and logs it again after a resume."""

    def __init__(self, logger: RunLogger) -> None:
        self.logger = logger

    def on_save_checkpoint(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        checkpoint[_RECENT] = self.logger.recent()

    def on_load_checkpoint(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self.logger.log_again(checkpoint.get(_RECENT, []))


@checked
def make_logger(
    run: Run,
    mode: Literal["offline", "online", "disabled"] | None = "offline",
    project: Word | None = "gatewise",
    entity: Word | None = None,
    tags: Words | None = None,
    group: Word | None = None,
    name: Word | None = None,
    job_type: Word | None = None,
    notes: Word | None = None,
    id: Word | None = None,
    artifact: Literal["best", False] = False,
) -> RunLogger | None:
    """A logger that writes to the run's directory under the run's own id; None where it is disabled.

    Raises ValueError for a mode that does not exist, or a variable of the environment that W&B does not take.
    """
    if mode == "disabled":
        return None
    if "wandb" not in sys.modules:  # a third of a second that a run without it need not wait
        with own_temporary_folder():
            import wandb
    import wandb

    check_environment(os.environ)
    settings = wandb.Settings(
        silent=True,
        console="off",
        init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT") or PATIENCE_SECONDS),
        finish_timeout=PATIENCE_SECONDS,
        finish_timeout_raises=True,
    )
    if not (is_users_repository(run.folder) and is_users_repository(Path.cwd())):
        settings.disable_git = True
    return RunLogger(
        name=as_stored("logger.wandb.name", name) or run.id,
        id=id or run.id,
        dir=str(run.folder),
        project=project or "gatewise",
        entity=entity,
        tags=as_stored("logger.wandb.tags", list(tags or ())),
        group=as_stored("logger.wandb.group", group),
        job_type=as_stored("logger.wandb.job_type", job_type),
        notes=as_stored("logger.wandb.notes", notes),
        mode=mode or "offline",
        # An offline run has no server to resume from; its parts meet under the id when they are synced.
        resume="allow" if mode == "online" else None,
        settings=settings,
        artifact=artifact,
    )


@contextlib.contextmanager
def _settled_environment(settings: Mapping[str, Any]) -> Iterator[None]:
    """Without the variables that the config's settings stand for: W&B would read them again.

    In a sweep of W&B's it reads some of them from there alone.
    """
    hidden = {name: os.environ.pop(name) for name in SETTLED if name in os.environ}
    if "WANDB_SWEEP_ID" in os.environ:
        of_sweep = {VARIABLES[name]: settings[name] for name in ("id", "project", "entity")}
        os.environ.update({name: value for name, value in of_sweep.items() if value})
    try:
        yield
    finally:
        for name in SETTLED:
            os.environ.pop(name, None)
        os.environ.update(hidden)


def describe(
    logger: RunLogger,
    config: DictConfig,
    choices: Mapping[str, str | None],
    modes: Mapping[str, str],
    rows: Sequence[Mapping[str, float]] = (),
    parameters: int | None = None,
) -> None:
    """Give W&B the config and its ``choices``, the number of parameters, and what sums up the run.

    That is the best value of each metric of which ``modes`` says what is best, also in ``rows``, the epochs
    before this part.
    """
    begun = logger.experiment
    begun.config.update(settings_told(config, choices), allow_val_change=True)
    begun.summary.update({name: value for name, value in logger.parts.summary.items() if name not in modes})
    if parameters is not None:
        begun.summary["parameters"] = parameters
    past = [dict(row) for row in rows]
    best = {name: best_row(past, name, mode).get(name) for name, mode in modes.items()}
    logger.keep_best(modes, {name: value for name, value in best.items() if value is not None})


def settings_told(config: DictConfig, choices: Mapping[str, str | None]) -> dict[str, Any]:
    """What W&B is told of a run's settings: those of its parts, nested, and the choice in each config group.

    What W&B has as fields of its own (project, group, tags) and what only says where the files are is left
    out, and so are callbacks without a setting and ``_partial_``: each would be a column of a table of runs.
    """
    values = {name: _without_marks(value) for name, value in stored(config).items() if name not in _NOT_TOLD}
    callbacks = (values.get("callbacks") or {}).items()
    values["callbacks"] = {name: node for name, node in callbacks if set(node or ()) - {"_target_"}}
    named = {group: choice for group, choice in choices.items() if choice and group not in _NOT_TOLD}
    return {**values, "choices": {group: choice for group, choice in named.items() if "@" not in group}}


def _without_marks(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_marks(child) for name, child in value.items() if name != "_partial_"}
    return value


def start(logger: RunLogger, run: Run) -> None:
    """Begin this process's W&B run, after its earlier parts; where the server does not answer, offline.

    Raises ValueError where W&B has no account to send to.
    """
    import wandb

    try:
        logger.parts = read_parts(run.folder / "wandb")
    except (OSError, ValueError) as error:
        _log.warning("%s: steps of the W&B run may come twice", error)
    if logger.settings["mode"] == "online" and any(f.name.startswith("offline-") for f in unsent(run)):
        _log.warning(
            "W&B lacks the run's first part, training goes on offline: upload both with gatewise sync"
        )
        logger.settings.update(mode="offline", resume=None)
    try:
        begun = logger.experiment
    except wandb.errors.UsageError as error:
        mode = logger.settings["mode"]
        hint = " Or train with wandb.mode=offline, and upload with gatewise sync" if mode == "online" else ""
        raise ValueError(f"wandb.mode={mode}: {error}{hint}") from error
    except (wandb.errors.CommError, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # a disk that is full, and no server that is not there
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
    except Exception as error:
        _log.warning("W&B has failed at the end: what it has is in %s (%s)", begun.dir, first_line(error))
    else:
        _unsent_file(begun).unlink(missing_ok=True)


def _unsent_file(begun: wandb.Run) -> Path:
    return Path(begun.dir).parent / UNSENT
