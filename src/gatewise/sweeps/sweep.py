"""A sweep from its command line to its table."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial

from gatewise import __version__
from gatewise.config import wandb
from gatewise.config.check import check_parts
from gatewise.config.data_files import get_known_files
from gatewise.config.monitors import check_objectives
from gatewise.config.outputs import Output, find_output
from gatewise.launch.devices import most_jobs, usable_cores
from gatewise.launch.signals import Stopped, stoppable
from gatewise.runs.folders import check_parent
from gatewise.runs.references import as_given
from gatewise.settings import choice, names, whole_number
from gatewise.settings.checks import seed
from gatewise.sweeps import lost, report, search
from gatewise.sweeps.folder import Direction, Plan, Sweep
from gatewise.sweeps.overview import Overview
from gatewise.sweeps.ranking import configurations
from gatewise.sweeps.scheduler import Scheduler
from gatewise.sweeps.slurm import SlurmJobs
from gatewise.sweeps.space import MOST, SEED, read_space
from gatewise.sweeps.wandb_sweep import wandb_sweep
from gatewise.sweeps.workers import ByLauncher, InThisProcess, Pool, Workers
from gatewise.views.places import quoted, short
from gatewise.views.plain import cell, plain_console

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)

MODES: dict[str, Direction] = {"min": "minimize", "max": "maximize"}


def sweep(
    config: DictConfig,
    context: HydraContext,
    task: TaskFunction,
    params: Mapping[str, Any],
    arguments: Sequence[str],
) -> list[float | None]:
    """Carry out the sweep that a multirun's config and overrides describe, or go on with it.

    Returns the best value of each objective. Raises ValueError for what cannot be swept, and where every
    training failed.
    """
    if config.sweep.job is not None:
        raise ValueError(
            f"sweep.job={config.sweep.job} is what a sweep tells its trainings; did you mean sweep.jobs?"
        )
    for name in ("runs_dir", "sweeps_dir"):
        check_parent(f"paths.{name}", config.paths[name], last=config.sweep.resume is None)
    sweeps_dir = Path(config.paths.sweeps_dir)
    if config.sweep.resume is None:
        wandb_file = find_output("sweep.wandb_file", config.sweep.wandb_file, (".yaml", ".yml"))
        plan = make_plan(config, context, params, arguments)
        _check(plan, config, context, task)
        if wandb_file is not None:
            return _to_wandb(plan, config, wandb_file)
        folder = Sweep.create(sweeps_dir, plan, config)
    else:
        folder = Sweep.open(config.sweep.resume, sweeps_dir)
        plan = folder.plan()
    with ExitStack() as stack:
        stack.enter_context(folder.lock())
        if plan.sampler is not None and config.sweep.trials != plan.trials:
            plan = _with_trials(plan, whole_number("sweep.trials", config.sweep.trials, most=MOST))
            folder.save_plan(plan)
        remains = None
        if config.sweep.resume is not None:
            remains = _what_remains(folder, plan, Path(config.paths.runs_dir))
        copy = folder.config_copy()
        if copy is None:
            _say(f"{short(folder.configs)} is missing: the sweep goes on with the config files of now")
        else:
            training: Any = task  # of gatewise.sweeps.jobs.Training
            loader = stack.enter_context(training.composing_from(copy))
            given = copy.overrides(_given(config), plan.config)
            config = loader.load_configuration(plan.config, given, RunMode.MULTIRUN)
            context = HydraContext(loader, context.callbacks)
        return _carry_out(folder, plan, config, context, task, remains)


def _what_remains(folder: Sweep, plan: Plan, runs_dir: Path) -> lost.Remains:
    """The run directories of a sweep that is resumed, and a line for each thing that is missing of it.

    Raises ValueError where finished trainings would have to be trained again.
    """
    folder.make_folders()
    remains = lost.Remains(folder, runs_dir)
    fault = lost.journal_fault(folder, plan)
    trials = [] if fault else folder.trials()
    lost.check_complete(folder, trials, remains, fault)
    if fault:
        folder.set_journal_aside()
    again = remains.count_beyond(len(trials))
    if again:
        _say(
            f"study.journal {fault or 'has lost lines'}: {report.counted(again, 'trial')} taken back from "
            f"the run directories"
        )
    gone = lost.missing_runs(trials)
    if gone:
        _say(
            f"{report.counted(len(gone), 'run')} of this sweep removed ({short(gone[0])}"
            f"{', ...' if len(gone) > 1 else ''}): the results are kept in study.journal"
        )
    return remains


def _with_trials(plan: Plan, trials: int) -> Plan:
    others = [text for text in plan.overrides if text.partition("=")[0] != "sweep.trials"]
    return replace(plan, trials=trials, overrides=[*others, f"sweep.trials={trials}"])


def _to_wandb(plan: Plan, config: DictConfig, output: Output) -> list[float | None]:
    output.write(wandb_sweep(plan, config.task.monitor))
    path = output.path
    console = plain_console(soft_wrap=True)
    settings = config.get("wandb") or {}
    project = wandb.project(settings.get("project"), os.environ)
    address = "/".join(filter(None, (wandb.entity(settings.get("entity"), os.environ), project)))
    console.print(cell(f"Written: {short(path)}. On a machine that is logged in to W&B:"))
    console.print(f"  wandb sweep --project {quoted(project)} {quoted(short(path))}")
    agent = quoted(f"{address}/ID")
    console.print(f"  wandb agent {agent}     # with the ID it prints; on as many machines as you like")
    return []


def make_plan(
    config: DictConfig, context: HydraContext, params: Mapping[str, Any], arguments: Sequence[str]
) -> Plan:
    """What is to be trained; raises ValueError where a setting of ``sweep`` is wrong."""
    settings = config.sweep
    sampler, pruner = (_node(f"sweep.{name}", settings[name]) for name in ("sampler", "pruner"))
    drawn = whole_number("sweep.trials", settings.trials, most=MOST)
    space = read_space(params, arguments, settings.seeds, sampler is not None, context.config_loader, _say)
    objectives, directions = _objectives(config)
    if sampler is not None:
        search.check_sampler(sampler)
    if pruner is not None:
        search.make_pruner(pruner)
        if len(directions) > 1:
            raise ValueError("sweep.pruner: several objectives cannot be pruned: give sweep.pruner=null")
    if sampler is None:
        trials = len(space.grid())
    elif not space.swept:
        raise ValueError(
            "sweep.params: there is nothing to search: give a range, such as "
            "'optimizer.lr=tag(log,interval(1e-4,1e-1))'"
        )
    else:
        trials = drawn
    _size(settings)
    return Plan(
        name=config.name,
        config=config.hydra.job.config_name,
        overrides=_overrides(config),
        space=space,
        seed=seed(SEED, config.seed),
        trials=trials,
        lag=whole_number("sweep.lag", settings.lag, most=10 * MOST),
        sampler=sampler,
        pruner=pruner,
        objectives=objectives,
        directions=directions,
        version=__version__,
    )


def _size(settings: DictConfig) -> int:
    """Trainings side by side; ValueError for more than the machine can start, or no number of retries."""
    whole_number("sweep.retries", settings.retries, least=0)
    size = whole_number("sweep.jobs", settings.jobs)
    if size > most_jobs():
        raise ValueError(
            f"sweep.jobs={size}: {usable_cores()} cores are usable here; give at most {most_jobs()}"
        )
    return size


def _say(line: str) -> None:
    plain_console(soft_wrap=True).print(cell(line))


def _given(config: DictConfig) -> list[str]:
    return [*as_given(config.hydra.overrides.hydra), *as_given(config.hydra.overrides.task)]


def _overrides(config: DictConfig) -> list[str]:
    return [text for text in _given(config) if text.partition("=")[0] != "sweep.resume"]


def _node(key: str, node: DictConfig | None) -> dict[str, Any] | None:
    if node is None:
        return None
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    if not isinstance(plain, dict) or "_target_" not in plain:
        raise ValueError(f"{key} must have a _target_, such as a class of optuna's; or give {key}=null")
    return {str(name): value for name, value in plain.items()}


def _objectives(config: DictConfig) -> tuple[list[str] | None, list[Direction]]:
    settings = config.sweep
    if settings.objectives is None:
        if settings.directions is not None:
            raise ValueError(
                f"sweep.directions={settings.directions}: of what? Give sweep.objectives as well"
            )
        return None, [MODES[choice("task.mode", config.task.mode, MODES)]]
    objectives = list(names("sweep.objectives", settings.objectives))
    for name in objectives:
        if name.startswith("test/"):
            raise ValueError(
                f"sweep.objectives: {name}: to choose by the test data would spoil it: take a val/ metric"
            )
    modes = [settings.directions] if isinstance(settings.directions, str) else list(settings.directions or [])
    if len(modes) != len(objectives):
        raise ValueError(
            f"sweep.directions={modes}: give min or max for each of sweep.objectives={objectives}"
        )
    return objectives, [MODES[choice("sweep.directions", mode, MODES)] for mode in modes]


def _check(plan: Plan, config: DictConfig, context: HydraContext, training: Any) -> None:
    """Compose a training with each value there is a list of: a misspelt one shows before the first starts."""
    loader = context.config_loader
    lists = {k: each_kind(k, v, loader) for k, v in plan.space.swept.items() if isinstance(v, list)}
    ranges = {k: [f"{v.low}"] for k, v in plan.space.swept.items() if not isinstance(v, list)}
    first = {key: values[0] for key, values in {**lists, **ranges}.items()}
    points = [first, *({**first, key: value} for key, values in lists.items() for value in values[1:])]
    for point in points:
        given = [*plan.space.fixed, *(f"{key}={value}" for key, value in point.items())]
        composed = loader.load_sweep_config(config, given)
        training.check(composed, given)
        check_objectives(composed, plan.objectives or [])
        get_known_files(
            composed
        )  # once, and not by each of the trainings, whose machines may have no network
        if point is first:
            _check_shared(composed, plan)


def _check_shared(config: DictConfig, plan: Plan) -> None:
    """Raise ValueError for a setting that every training is given and would be refused for.

    What else is wrong with the first of them need not be wrong with the others.
    """
    try:
        check_parts(config, config.hydra.runtime.choices)
    except ValueError as error:
        shared = [re.escape(text.lstrip("+~").partition("=")[0]) for text in plan.space.fixed]
        if any(re.search(rf"(?<![\w.]){key}(?![\w.])", str(error)) for key in shared):
            raise


def each_kind(key: str, values: list[str], loader: ConfigLoader) -> list[str]:
    """The values that composing may refuse each for itself: it looks at no number of a setting's."""
    if loader.get_group_options(key):
        return values
    first: dict[str | bool, str] = {}
    for value in values:
        first.setdefault(value.isdecimal() if _NUMBER.fullmatch(value) else value, value)
    return list(first.values())


def _carry_out(
    folder: Sweep,
    plan: Plan,
    config: DictConfig,
    context: HydraContext,
    task: TaskFunction,
    remains: lost.Remains | None,
) -> list[float | None]:
    size = _size(config.sweep)

    def run_name(overrides: list[str]) -> str:
        """Name of the folder of a training's run, which follows its experiment, task, data and files."""
        deciding = {"name", "experiment", "task", "data"}
        if not any(key in deciding or key.startswith("data.") for key in plan.space.swept):
            return plan.name
        return str(context.config_loader.load_sweep_config(config, overrides).name)

    started = time.monotonic()
    with Overview(folder, plan, size) as overview:

        def trial_ended(number: int, trials: list[FrozenTrial]) -> None:
            so_far = configurations(trials, plan)
            report.write_tables(folder, plan, so_far)
            overview.trial_ended(number, so_far)

        scheduler = Scheduler(
            folder,
            plan,
            Path(config.paths.runs_dir),
            run_name,
            retries=config.sweep.retries,
            on_outcome=overview.job_ended,
            on_trial=trial_ended,
            remains=remains,
        )
        overview.start(scheduler.study.get_trials(deepcopy=False))
        with stoppable() as stop:
            try:
                scheduler.carry_out(_workers(folder, plan, config, context, task, size, overview.say))
            except KeyboardInterrupt:
                overview.interrupted()
                if stop.name is not None:
                    raise Stopped(stop.name) from None
                raise
    return report.finish(folder, plan, scheduler.study.get_trials(deepcopy=False), time.monotonic() - started)


def _workers(
    folder: Sweep,
    plan: Plan,
    config: DictConfig,
    context: HydraContext,
    task: TaskFunction,
    size: int,
    say: Callable[[str], None],
) -> Workers:
    training: Any = task
    if not str(config.hydra.launcher["_target_"]).endswith(".BasicLauncher"):
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=task, config=config
        )
        waits = plan.sampler is not None or plan.pruner is not None
        at_once = plan.lag if waits else plan.trials
        # Only submitit's launcher for SLURM has such a setting and such a name.
        logs = config.hydra.launcher.get("submitit_folder")
        on_slurm = logs and str(config.hydra.launcher["_target_"]).endswith(".SlurmLauncher")
        slurm = SlurmJobs(str(logs), folder.id, say) if on_slurm else None
        return ByLauncher(launcher, plan.objectives, at_once * len(plan.seeds), slurm)
    if size == 1:
        return InThisProcess(training, plan.objectives)
    return Pool(training, plan.objectives, size)
