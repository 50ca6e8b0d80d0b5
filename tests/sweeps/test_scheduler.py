"""Which trainings a sweep starts: none for a configuration that it has had, whatever runs side by side."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plans import make_plan

from gatewise.sweeps import report
from gatewise.sweeps.folder import Plan, Sweep
from gatewise.sweeps.jobs import Job, Outcome
from gatewise.sweeps.ranking import configurations
from gatewise.sweeps.scheduler import Scheduler
from gatewise.sweeps.space import Range


class KilledError(Exception):
    """In the place of a SIGKILL."""


class Pretended:
    """Workers that give the size back as the loss, the last job first; 7 fails, 9 is pruned."""

    def __init__(self, size: int, kill_after: int | None = None) -> None:
        self.size, self.kill_after = size, kill_after
        self.busy: list[Job] = []
        self.trained: list[tuple[int, int | None, str]] = []

    def room(self) -> int:
        return self.size - len(self.busy)

    def start(self, job: Job) -> None:
        self.busy.append(job)

    def wait(self) -> Iterator[tuple[Job, Outcome]]:
        if self.kill_after is not None and len(self.trained) >= self.kill_after:
            raise KilledError
        job = self.busy.pop()
        (setting,) = [text for text in job.overrides if text.startswith("size=")]
        self.trained.append((job.trial, job.seed, setting))
        value = float(setting.partition("=")[2]) + 0.1 * (job.seed or 0)
        curve = ((0, value + 1), (1, value))
        outcomes = {
            "size=7": Outcome("failed", "the loss is nan"),
            "size=9": Outcome("pruned", "worse than earlier trials", (value,), curve, 1.0, "val/loss", 2),
        }
        yield job, outcomes.get(setting, Outcome("done", None, (value,), curve, 1.0, "val/loss", 2))

    def stop(self) -> None:
        pass


def carry_out(sweep: Sweep, plan: Plan, workers: Pretended) -> Scheduler:
    def write(_: int, trials: list[Any]) -> None:
        report.write_tables(sweep, plan, configurations(trials, plan))

    scheduler = Scheduler(
        sweep, plan, sweep.folder / "runs", lambda _: "mine", 0, lambda *_: None, write, None
    )
    scheduler.carry_out(workers)
    return scheduler


def new_sweep(folder: Path) -> Sweep:
    folder.mkdir()
    sweep = Sweep(folder)
    sweep.make_folders()
    return sweep


def rows(sweep: Sweep) -> list[dict[str, str]]:
    with (sweep.folder / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def text(sweep: Sweep) -> str:
    return (sweep.folder / "trials.csv").read_text()


RANDOM = {"_target_": "optuna.samplers.RandomSampler"}
SPACES: list[dict[str, Any]] = [
    {"swept": {"size": Range(1, 10, 1)}, "sampler": RANDOM, "trials": 25, "lag": 3},
    {"swept": {"size": Range(1, 10, 1)}, "sampler": RANDOM, "trials": 12, "seeds": [1, 2]},
    {"swept": {"size": ["1e0", "7", "9", "2.0", "1.0"]}, "sampler": RANDOM, "trials": 12, "lag": 2},
    {"swept": {"size": Range(1, 10, 1)}, "sampler": {"_target_": "optuna.samplers.TPESampler"}, "trials": 15},
    # A grid of an earlier version, which kept values that come twice.
    {"swept": {"size": ["1", "2", "1", "9", "7", "2", "7", "9"]}, "trials": 8, "lag": 2},
]


@pytest.mark.parametrize("settings", SPACES, ids=range(len(SPACES)))
def test_no_configuration_is_trained_twice(tmp_path: Path, settings: dict[str, Any]) -> None:
    plan = make_plan(**settings)
    tables = set()
    for size in (1, 2, 5):
        sweep, workers = new_sweep(tmp_path / str(size)), Pretended(size)
        scheduler = carry_out(sweep, plan, workers)
        assert len({(seed, float(text[5:])) for _, seed, text in workers.trained}) == len(workers.trained)
        table = rows(sweep)
        first = {row["trial"]: row for row in table if not row["same as trial"]}
        repeated = [row for row in table if row["same as trial"]]
        assert repeated
        for row in repeated:
            same = first[row["same as trial"]]
            assert int(same["trial"]) < int(row["trial"])
            kept = {name for name in row if name not in ("trial", "same as trial", "size")}
            assert {name: row[name] for name in kept} == {name: same[name] for name in kept}
        results = configurations(scheduler.study.get_trials(), plan)
        assert report.trainings(results) == len(workers.trained)
        assert len(table) == len(results) <= plan.trials
        tables.add(text(sweep))
    assert len(tables) == 1


@pytest.mark.parametrize("settings", SPACES[:3], ids=range(3))
@pytest.mark.parametrize("kill_after", [0, 1, 3])
def test_nor_in_a_sweep_that_was_killed(tmp_path: Path, settings: dict[str, Any], kill_after: int) -> None:
    plan = make_plan(**settings)
    whole, broken = new_sweep(tmp_path / "whole"), new_sweep(tmp_path / "broken")
    carry_out(whole, plan, Pretended(1))
    first, second = Pretended(2, kill_after), Pretended(3)
    with pytest.raises(KilledError):
        carry_out(broken, plan, first)
    carry_out(broken, plan, second)
    if plan.seeds == [None]:  # else that of the first seed is in its run directory, which these do not write
        assert not set(first.trained) & set(second.trained)
    assert text(broken) == text(whole)


@pytest.mark.parametrize("trials", [3, 50])
def test_a_search_ends_where_there_is_no_other_configuration(tmp_path: Path, trials: int) -> None:
    plan = make_plan({"size": ["1", "2"], "x": ["a", "b"]}, sampler=RANDOM, trials=trials)
    sweep, workers = new_sweep(tmp_path / "mine"), Pretended(2)
    scheduler = carry_out(sweep, plan, workers)
    assert scheduler.is_exhausted() == (trials == 50)
    assert len(workers.trained) <= 4
    # The last trial is the one that completes the space.
    if trials == 50:
        assert len(workers.trained) == 4
        assert rows(sweep)[-1].get("same as trial", "") == ""


STAMPED = "2020-01-01_00-00-00_aaaaaa"


@pytest.mark.parametrize(
    "place", ["mine", "runs/../mine", "runs/mine/../../mine", f"mine/{STAMPED}", f"runs/{STAMPED}"]
)
def test_a_journal_that_names_another_folder_is_refused(place: str, tmp_path: Path) -> None:
    """The training would write its files among the user's."""
    plan = make_plan({"size": ["1", "2"]}, trials=2)
    sweep = new_sweep(tmp_path / "sweep")
    with pytest.raises(KilledError):
        carry_out(sweep, plan, Pretended(1, kill_after=0))
    text = sweep.journal.read_text()
    (begun,) = {run for trial in sweep.trials() for run in trial.user_attrs["runs"]}
    sweep.journal.write_text(text.replace(begun, str(sweep.folder / place)))
    (sweep.folder / "runs" / STAMPED).mkdir(parents=True)  # a run of the user's
    (sweep.folder / "runs" / STAMPED / "config.yaml").touch()
    with pytest.raises(
        ValueError, match=r"study.journal: trial 0 names .*, which is no run directory of its"
    ):
        carry_out(sweep, plan, Pretended(1))
