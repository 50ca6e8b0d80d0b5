"""A Sweep: one directory on disk with its plan, its trials and what they came to."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from gatewise.config.freeze import ConfigCopy, copy_configs
from gatewise.runs.config_files import read_yaml
from gatewise.runs.files import write_text
from gatewise.runs.folders import find_folder, new_folder, point_last_to
from gatewise.runs.inside import check_inside
from gatewise.runs.left_behind import FILES_OF_A_SWEEP, remove_unfinished
from gatewise.runs.lock import holding
from gatewise.runs.moved import with_todays_targets
from gatewise.runs.run import LOCK
from gatewise.sweeps.space import MOST, Range, Space

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Plan:
    """All that decides which trainings a sweep holds; written down before the first one starts."""

    name: str
    config: str
    """Primary config that the trainings are composed from."""
    overrides: list[str]
    """As given on the command line, those of Hydra too."""
    space: Space
    seed: int
    """Of the sampler's draws, and of every training where ``space`` has no seeds."""
    trials: int
    lag: int
    sampler: dict[str, Any] | None
    pruner: dict[str, Any] | None
    objectives: list[str] | None
    """Metrics to optimise; None for the one that the task monitors."""
    directions: list[Direction]
    """One for each objective."""
    version: str
    """Of Gatewise."""

    @property
    def seeds(self) -> list[int | None]:
        """One entry for each training of a configuration; None for the seed of the config."""
        return [None] if self.space.seeds is None else list(self.space.seeds)


def _rules(plan: Plan) -> Iterator[tuple[str, bool]]:
    """(name, whether its value is of the kind that it has to be) of what a plan says."""
    for name in ("name", "config", "version"):
        yield name, isinstance(getattr(plan, name), str)
    yield "overrides", _are_texts(plan.overrides)
    yield "seed", _is_whole(plan.seed, 0, 2**64)
    yield "trials", _is_whole(plan.trials, 1, MOST)
    yield "lag", _is_whole(plan.lag, 1, 10 * MOST)
    for name in ("sampler", "pruner"):
        node = getattr(plan, name)
        yield name, node is None or (isinstance(node, dict) and isinstance(node.get("_target_"), str))
    yield "objectives", plan.objectives is None or (_are_texts(plan.objectives) and bool(plan.objectives))
    directions = plan.directions
    yield "directions", _are_texts(directions) and {*directions} <= {"minimize", "maximize"}
    yield "directions", len(directions) == len(plan.objectives or [""])
    seeds = plan.space.seeds
    are_seeds = isinstance(seeds, list) and 0 < len(seeds) <= MOST
    are_seeds = are_seeds and all(_is_whole(seed, 0, 2**64) for seed in seeds or ())
    swept = plan.space.swept.items()
    yield "space", _are_texts(plan.space.fixed) and (seeds is None or are_seeds)
    yield "space", all(isinstance(key, str) and _are_values(values) for key, values in swept)
    yield "space", plan.sampler is not None or plan.trials == len(plan.space.grid())


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _are_values(values: Any) -> bool:
    if not isinstance(values, Range):
        return _are_texts(values) and 0 < len(values) <= MOST
    ends = (values.low, values.high, 1 if values.step is None else values.step)
    are_numbers = all(isinstance(end, (int, float)) and math.isfinite(end) for end in ends)
    return are_numbers and values.low <= values.high and ends[2] > 0 and (values.low > 0 or not values.log)


class Sweep:
    """The directory ``sweeps/<name>/<date_time_unique>/``: ``sweep.yaml`` and Optuna's journal of trials.

    The run directories of the trainings lie where every run lies; the trials name them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "study.journal"
        self.plots = folder / "plots"
        self.output = folder / "output"
        self.configs = folder / "configs"

    @property
    def id(self) -> str:
        """A name no other sweep has; also that of its Optuna study."""
        return self.folder.name

    @classmethod
    def create(cls, sweeps_dir: Path, plan: Plan, config: DictConfig) -> Sweep:
        """A new directory with the plan and a copy of the config files that ``config`` was composed from.

        ``sweeps_dir/last`` points to it from now on.
        """
        sweep = cls(new_folder(sweeps_dir, plan.name))
        sweep.make_folders()
        copy_configs(config, sweep.configs)
        sweep.save_plan(plan)
        point_last_to(sweep.folder, sweeps_dir)
        return sweep

    @classmethod
    def open(cls, reference: Any, sweeps_dir: Path) -> Sweep:
        """The sweep of a directory, or the one started last for ``last``; ValueError where there is none."""
        return cls(find_folder(reference, sweeps_dir, "sweep.yaml", "sweep.resume", "sweep"))

    def config_copy(self) -> ConfigCopy | None:
        """The config files that its trainings are composed from; None in a sweep of before they were kept."""
        return ConfigCopy(self.configs) if self.configs.is_dir() else None

    def save_plan(self, plan: Plan) -> None:
        """Write ``sweep.yaml``."""
        values = {**asdict(plan), "space": plan.space.to_dict()}
        write_text(self.folder / "sweep.yaml", OmegaConf.to_yaml(OmegaConf.create(values)))

    def plan(self) -> Plan:
        """What ``sweep.yaml`` says; raises ValueError where it is damaged."""
        path = self.folder / "sweep.yaml"
        values = OmegaConf.to_container(read_yaml(path, with_todays_targets))
        assert isinstance(values, dict)
        try:
            plan = Plan(**{**values, "space": Space.from_dict(values["space"])})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not the plan of a sweep ({error}); the file is damaged") from None
        for name, is_right in _rules(plan):
            if not is_right:
                shown = f"{getattr(plan, name)!r:.60}"
                raise ValueError(f"{path}: {name}: no plan of a sweep has {shown}; the file is damaged")
        return plan

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the sweep for this process; raises ValueError where another one works on it.

        As :meth:`gatewise.runs.run.Run.lock`, it keeps writes inside and removes what was left unfinished.
        """
        check_inside(self.folder)
        with holding(self.folder / LOCK, patience_seconds=1.0):
            remove_unfinished(self.folder, FILES_OF_A_SWEEP)
            yield

    def study(self, plan: Plan, storage: JournalStorage) -> optuna.Study:
        """Optuna's study of the trials in :meth:`storage` so far, to add to; hold the lock."""
        return optuna.create_study(
            storage=storage, study_name=self.id, directions=plan.directions, load_if_exists=True
        )

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """The trials so far, to look at."""
        study = optuna.load_study(storage=self._open_journal(), study_name=self.id)
        return study.get_trials(deepcopy=False)

    def storage(self) -> JournalStorage:
        """Where the trials are written, to add to; hold the lock."""
        _cut_unfinished_line(self.journal)
        return self._open_journal()

    def make_folders(self) -> None:
        """What trainings and pictures are written to, should it have been removed."""
        self.output.mkdir(exist_ok=True)
        self.plots.mkdir(exist_ok=True)

    def set_journal_aside(self) -> None:
        """Rename a journal that cannot be read, so that a new one can be begun; hold the lock."""
        if self.journal.is_file() and self.journal.stat().st_size:
            self.journal.replace(free_name(self.journal.with_name(f"{self.journal.name}.damaged")))

    def _open_journal(self) -> JournalStorage:
        return JournalStorage(JournalFileBackend(str(self.journal), _Unlocked(str(self.journal))))


class _Unlocked(JournalFileOpenLock):
    """The sweep's own lock is enough; Optuna's would outlive a killed process, and hold up the next."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def free_name(path: Path) -> Path:
    """``path``, with a number where there is such a file already."""
    others = (path.with_name(f"{path.name}.{number}") for number in itertools.count(2))
    return path if not path.exists() else next(other for other in others if not other.exists())


def _cut_unfinished_line(path: Path) -> None:
    """Drop what a killed process had begun to write: Optuna would append to it, and read neither."""
    if not path.is_file():
        return
    with path.open("r+b") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
