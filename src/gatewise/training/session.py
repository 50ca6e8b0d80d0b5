"""``gatewise train``: compose a run, train it, test it; or take up one that was interrupted."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from gatewise.config.check import group_choices
from gatewise.config.resume import (
    as_resumed,
    check_resumable,
    resumed_config,
    warn_of_given,
    warn_of_schedule,
)
from gatewise.config.wandb import Trial, settle, warn_of_environment
from gatewise.data.module import SequenceDataModule
from gatewise.kinds.kind import Facts
from gatewise.launch.parent import end_with
from gatewise.launch.ranks import all_ranks, number_of_processes
from gatewise.launch.requeue import Job
from gatewise.launch.signals import Stopped, stoppable
from gatewise.launch.torchrun import Torchrun
from gatewise.runs.checkpoints import read_checkpoint
from gatewise.runs.code import read_code
from gatewise.runs.metrics import read_metrics
from gatewise.runs.opened import check_agreement
from gatewise.runs.reading import is_there
from gatewise.runs.references import as_given, check_filled, note
from gatewise.runs.run import Run
from gatewise.runs.summary import best_row
from gatewise.tasks import Task
from gatewise.training.epochs import StopTogether
from gatewise.training.fit import fit_and_test
from gatewise.training.opened import check_sizes
from gatewise.training.parts import stored_config
from gatewise.training.prepare import prepare
from gatewise.training.resumable import check_resumable_from, check_rows, checkpoint_of
from gatewise.training.resuming import Before, lightnings_refusal, trainer_of
from gatewise.training.trainer import make_trainer
from gatewise.views import screen
from gatewise.views.places import command, setting, short
from gatewise.views.plain import cell, plain_console

_log = logging.getLogger(__name__)

BY_LAUNCHER = "stopped by its launcher"


MakePruning = Callable[[Run, Task, DictConfig], StopTogether]
"""Makes what may stop a training of a sweep early, from its run, its task and the sweep's job."""


def train(config: DictConfig, make_pruning: MakePruning) -> float | None:
    """Train what the config says; returns the best monitored value, a sweep's objective."""
    note(config)
    group = Torchrun.here()
    if group is None:
        return _lead(config, make_pruning)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        raise ValueError("torchrun starts the processes of one training: leave out -m and sweep=...")
    end_with(os.getppid())
    if group.rank > 0:
        _follow(group)
        return None
    try:
        return _lead(config, make_pruning)
    finally:
        group.tell(None)


def _follow(group: Torchrun) -> None:
    """Train the run of rank 0 as one of its other processes."""
    folder = group.told()
    if folder is None:
        return
    run = Run(folder)
    with stoppable() as stop:
        try:
            fit_and_test(run, *prepare(stored_config(run), run.choices()), stop)
        except KeyboardInterrupt:
            return  # rank 0 says so


def _lead(config: DictConfig, make_pruning: MakePruning) -> float | None:
    hydra = HydraConfig.get()
    runs_dir = Path(config.paths.runs_dir)
    overrides = as_given(hydra.overrides.task)
    with open_dict(config):
        # The other settings of a sweep are no part of one training's config.
        job = (config.pop("sweep", None) or {}).get("job")
    asked = config.resume is not None
    if not asked and config.get("resume_from", "last") != "last":
        raise ValueError(f"resume_from={config.resume_from}: say of which run, with resume=DIR")
    folder = None if job is None else Path(job.run)
    if folder is not None and (folder / "config.yaml").is_file():
        config.resume = str(folder)
    requeued = Job(runs_dir, overrides, os.environ)
    if config.resume is None and (begun := requeued.begun()) is not None:
        config.resume = str(begun)
    if config.resume is not None:
        run = Run.open(config.resume, runs_dir, "resume")
        run.config()  # another program's folder is left as it is, without a lock file
        with run.lock():
            source = config.get("resume_from", "last") if asked else "last"
            if requeued.is_again and (run.checkpoints / "last.ckpt").is_file():
                source = "last"  # the one that it has written since
            code = functools.partial(_code, runs_dir, job)
            return _resume(run, config, overrides, job, asked, make_pruning, source, code)
    # Whatever is wrong with the settings or the data shows before there is a run directory.
    choices = group_choices()
    settle(config, choices, os.environ, Trial.of(job, config.paths.sweeps_dir))
    data, task = prepare(config, choices, job)
    if job is None:
        make_trainer(config, Run(runs_dir / "none"))
    # What a look into a problem leaves is not what `run=last` means.
    is_last = choices.get("debug") is None
    run = Run.create(runs_dir, config.name, config, overrides, choices, folder, is_last)
    requeued.begin(run.folder)
    with run.lock():
        run.save_code(_code(runs_dir, job))
        try:
            return _train(run, data, task, job, make_pruning)
        except Exception as error:
            trainer = trainer_of(task)
            line = lightnings_refusal(error) if trainer is None or trainer.global_step == 0 else None
            if line is None:
                raise
            raise ValueError(line) from error


def _code(runs_dir: Path, job: DictConfig | None) -> bytes | None:
    """The code that trains; the trainings of a sweep in one process share it."""
    return read_code(Path.cwd(), runs_dir) if job is None else _code_of(job.folder, Path.cwd(), runs_dir)


@functools.lru_cache(maxsize=1)
def _code_of(sweep: str, folder: Path, runs_dir: Path) -> bytes | None:  # noqa: ARG001
    return read_code(folder, runs_dir)


def _resume(
    run: Run,
    own: DictConfig,
    overrides: list[str],
    job: DictConfig | None,
    asked: bool,
    make_pruning: MakePruning,
    source: str,
    read_code: Callable[[], bytes | None],
) -> float | None:
    """Resume a run whose lock is held from its checkpoint ``source``; a finished one only for more epochs.

    ``own`` is the config that the user's command composes.

    Raises ValueError for a finished one that the user ``asked`` to resume. A sweep, or a job that a cluster
    restarted, finds it by itself and leaves it as it is. The run directory stays as it is where anything is
    refused, be it by Lightning before the first step.
    """
    stored = stored_config(run)
    config = resumed_config(run, overrides, own)
    check_resumable(run, config, source)
    check_filled(config, f"resume={short(run.folder)}")
    note(config)
    if run.state() == "done" and not (config != as_resumed(stored) and _epochs_left(run, config)):
        message = f"{short(run.folder)} is done; train on with trainer.max_epochs=..."
        if asked:
            raise ValueError(f"resume={message}")
        plain_console(soft_wrap=True).print(cell(message))
        return best_value(run)
    warn_of_environment(config, os.environ)
    facts = run.facts() if is_there(run.folder / "facts.json") else None
    checkpoint = checkpoint_of(run, source)
    if facts is not None:
        check_agreement(run, config, facts)
    if checkpoint is not None:
        check_sizes(run, config, checkpoint, facts)
    data, task = prepare(config, run.choices(), job)
    assert data.facts is not None
    if facts is not None and not data.facts.agrees_with(facts):
        raise ValueError(
            f"resume={short(run.folder)}: the data is not what it was trained on "
            f"({_differing(data.facts, facts)} differ): give it the old files back, or start a new run"
        )
    trainer = make_trainer(config, run)
    if checkpoint is not None:
        state = read_checkpoint(checkpoint, "meta")
        check_resumable_from(checkpoint, state, task, trainer)
        check_rows(run, state)
    warn_of_schedule(config)
    warn_of_given(stored)
    # Asked once all is checked: git reads, and may run, what the repository around this folder says.
    code = read_code()
    before = Before(run)
    try:
        said = before.start_from_best() if source == "best" else None
        run.save_code(code)
        run.save_config(config)
        return _train(run, data, task, job, make_pruning, said)
    except Exception as error:
        if before.has_begun(trainer_of(task)):
            raise
        before.put_back()
        line = before.refusal(error)
        if line is None:
            raise
        raise ValueError(line) from error
    finally:
        before.forget()


def _differing(facts: Facts | None, others: Facts) -> str:
    now, before = (facts.to_dict() if facts else {}), others.to_dict()
    return ", ".join(name for name in before if now.get(name) != before[name])


def _epochs_left(run: Run, config: DictConfig) -> bool:
    rows, most = read_metrics(run.metrics_file), config.trainer.max_epochs
    return not rows or most in (None, -1) or int(rows[-1]["epoch"]) < most


def _train(
    run: Run,
    data: SequenceDataModule,
    task: Task,
    job: DictConfig | None,
    make_pruning: MakePruning,
    said: str | None = None,
) -> float | None:
    """Train a run whose lock is held; ``said`` is a line to say first."""
    count = number_of_processes(run.config().trainer)
    run.set_status("running")
    if (group := Torchrun.here()) is not None:
        group.tell(run.folder)
    with stoppable() as stop:
        try:
            pruning = make_pruning(run, task, job) if job is not None and job.prune else None
            with (
                screen.logged_to(run.log_file),
                all_ranks(run, count, "gatewise.training.rank", pruning is not None),
            ):
                if said is not None:
                    _log.info(said)
                fit_and_test(run, data, task, stop, pruning)
        except KeyboardInterrupt:
            if stop.launcher is not None:
                run.set_status("interrupted", BY_LAUNCHER)
                stop.launcher()  # and starts it again elsewhere
            run.set_status("interrupted", f"stopped by {stop.name or 'the user'}")
            again = command("train", setting("resume", run.folder))
            plain_console(soft_wrap=True).print(cell(f"Interrupted. Go on with: {again}"))
            if stop.name is not None:
                raise Stopped(stop.name) from None
            raise
        except SystemExit:
            # A launcher (submitit) stopped its job before a step was running.
            run.set_status("interrupted", BY_LAUNCHER)
            raise
        except BaseException as error:
            with contextlib.suppress(OSError):  # the first error says more
                run.set_status("failed", f"{type(error).__name__}: {error}")
            raise
    pruned_because = None if pruning is None else pruning.reason
    run.set_status("pruned" if pruned_because else "done", pruned_because)
    screen.print_places(run)
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        screen.print_next_steps(run)
    return best_value(run)


def best_value(run: Run) -> float | None:
    """The best monitored value of a run, or None before its first validation."""
    config = run.config()
    row = best_row(read_metrics(run.metrics_file), config.task.monitor, config.task.mode)
    return row.get(config.task.monitor)
