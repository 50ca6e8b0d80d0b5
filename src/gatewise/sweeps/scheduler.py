"""Carrying out a sweep: which training comes next, and what came of those that ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from gatewise.runs.folders import free_folder
from gatewise.runs.inside import is_inside
from gatewise.sweeps import optuna_internals, search
from gatewise.sweeps.folder import Plan, Sweep
from gatewise.sweeps.jobs import FAILED, KILLED, PRUNED, Job, Outcome, job_setting, outcome
from gatewise.sweeps.lost import Remains, is_of
from gatewise.sweeps.workers import Workers

RUNS, OUTCOMES, SAME_AS = "runs", "outcomes", "same_as"
"""What a trial of the study has beside its parameters: run directory and outcome by seed, and the earlier
trial that it draws again."""


@dataclass
class _Open:
    """A trial whose trainings have not all ended."""

    number: int
    jobs: list[Job]
    """None where it waits for the trial that it is the same as."""
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    """By place in ``jobs``."""
    started: set[int] = field(default_factory=set)
    kills: dict[int, int] = field(default_factory=dict)


class Scheduler:
    """Draws trials, hands their trainings to workers, and writes down what came of them.

    Everything is in the study before it is acted on: whoever opens the sweep again goes on from there. A
    configuration that is drawn again is not trained again: its trial ends as the first one does. ``remains``
    are run directories of trials that the study may have lost: those are taken back instead of trained.
    """

    def __init__(
        self,
        sweep: Sweep,
        plan: Plan,
        runs_dir: Path,
        run_name: Callable[[list[str]], str],
        retries: int,
        on_outcome: Callable[[Job, Outcome], None],
        on_trial: Callable[[int, list[FrozenTrial]], None],
        remains: Remains | None = None,
    ) -> None:
        self.sweep, self.plan, self.retries = sweep, plan, retries
        self._storage = sweep.storage()
        self.study = sweep.study(plan, self._storage)
        self._runs_dir, self._run_name = runs_dir, run_name
        self._on_outcome, self._on_trial = on_outcome, on_trial
        self._remains = remains
        self._space = search.distributions(plan.space)
        self._grid = plan.space.grid() if plan.sampler is None else []
        self._open: dict[int, _Open] = {}
        self._first: dict[tuple[Any, ...], int] = {}
        for trial in self._trials():
            self._first.setdefault(plan.space.point(trial.params), trial.number)

    def carry_out(self, workers: Workers) -> None:
        """Run every training that is left; KeyboardInterrupt passes when what ran has been interrupted."""
        for begun in self._trials():
            if not begun.state.is_finished():
                self._begin(begun, was_lost=False)
        running = 0
        try:
            while True:
                while workers.room() > 0 and (ready := next(self._ready(), None)) is not None:
                    trial, index = ready
                    trial.started.add(index)
                    running += 1
                    workers.start(trial.jobs[index])
                if running == 0:
                    break
                for job, result in workers.wait():
                    running -= 1
                    self._ended(job, result)
        finally:
            workers.stop()

    def is_exhausted(self) -> bool:
        """Whether a search has drawn every configuration there is."""
        return self.plan.sampler is not None and len(self._first) >= self.plan.space.count()

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _ready(self) -> Iterator[tuple[_Open, int]]:
        """Jobs that may start now, in order; a trial that is not drawn yet is drawn when it is its turn."""
        for trial in sorted(self._open.values(), key=lambda t: t.number):
            yield from self._jobs_ready(trial)
        while self._may_draw(number := len(self._trials())):
            self._begin(self._draw(number), was_lost=self._remains is not None)
            if number in self._open:
                yield from self._jobs_ready(self._open[number])

    def _jobs_ready(self, trial: _Open) -> Iterator[tuple[_Open, int]]:
        for index in range(len(trial.jobs)):
            # A pruner judges by the first seed; the others wait for what it says.
            if index > 0 and self.plan.pruner is not None and 0 not in trial.outcomes:
                break
            if index not in trial.started:
                yield trial, index

    def _may_draw(self, number: int) -> bool:
        if number >= self.plan.trials or self.is_exhausted():
            return False
        waits = self.plan.sampler is not None or self.plan.pruner is not None
        return not (waits and any(n <= number - self.plan.lag for n in self._open))

    def _draw(self, number: int) -> FrozenTrial:
        system: dict[str, Any] = {}
        params: dict[str, Any]
        if self.plan.sampler is None:
            params = dict(self._grid[number])
        else:
            before = self._trials()
            params, system = search.draw(
                before, self.plan.lag, self.plan.sampler, self._space, self.plan.directions, self.plan.seed
            )
        notes = self._notes(number, params)
        # In one line of the journal: a kill leaves the whole trial, or none.
        self.study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=params,
                distributions=self._space,
                user_attrs=notes,
                system_attrs=system,
            )
        )
        return self._trials()[number]

    def _notes(self, number: int, params: dict[str, Any]) -> dict[str, Any]:
        """Where the trainings of a new trial go, or those of the trial that it draws again."""
        first = self._first.setdefault(self.plan.space.point(params), number)
        if first != number:
            return {RUNS: self._trials()[first].user_attrs[RUNS], SAME_AS: first}
        name = self._run_name(self._overrides(params))
        runs = [str(free_folder(self._runs_dir, name)) for _ in self.plan.seeds]
        if self._remains is not None:
            left = [self._remains.of_job(job) for job in self._jobs(number, params, runs)]
            runs = [run if folder is None else str(folder) for run, folder in zip(runs, left, strict=True)]
        return {RUNS: runs}

    def _begin(self, trial: FrozenTrial, was_lost: bool) -> None:
        """Open a trial, and end it where what it comes to is there already.

        ``was_lost``: whether run directories of it may be those of a trial that the study has lost.
        """
        number, first = trial.number, trial.user_attrs.get(SAME_AS)
        if first is not None:
            self._open[number] = _Open(number, [])
            if self._trials()[first].state.is_finished():
                self._repeat(number, first)
            return
        opened = self._open[number] = _Open(number, self._jobs(number, trial.params, trial.user_attrs[RUNS]))
        if not was_lost:
            return
        for index, job in enumerate(opened.jobs):
            if (job.run / "config.yaml").is_file():
                result = outcome(job, self.plan.objectives)
                if result.state != KILLED:
                    opened.outcomes[index] = result
                    opened.started.add(index)
        self._tell_if_ended(opened)

    def _overrides(self, params: dict[str, Any]) -> list[str]:
        return [*self.plan.space.fixed, *(f"{key}={value}" for key, value in params.items())]

    def _jobs(self, number: int, params: dict[str, Any], runs: list[str]) -> list[Job]:
        jobs: list[Job] = []
        for seed, path in zip(self.plan.seeds, runs, strict=True):
            run, prune = Path(path), self.plan.pruner is not None and not jobs
            # The journal may have come from anywhere, and a training writes into the folder that it names.
            begun = (run / "config.yaml").is_file()
            if not is_inside(run, self._runs_dir) or (begun and not is_of(self.sweep, run)):
                raise ValueError(
                    f"{self.sweep.journal}: trial {number} names {run}, which is no run directory of its own "
                    f"below {self._runs_dir}: the file is damaged; remove it to take the trials from the runs"
                )
            overrides = self._overrides(params)
            if seed is not None:
                overrides.append(f"seed={seed}")
            overrides.append(job_setting(self.sweep.folder, number, run, prune))
            name = f"{number:04}" + ("" if seed is None else f"_seed{seed}")
            jobs.append(Job(number, seed, run, overrides, self.sweep.output / f"{name}.txt"))
        return jobs

    def _ended(self, job: Job, result: Outcome) -> None:
        trial = self._open[job.trial]
        index = trial.jobs.index(job)
        if result.state == KILLED:
            kills = trial.kills[index] = trial.kills.get(index, 0) + 1
            if kills <= self.retries:
                trial.started.discard(index)
                return
            times = "" if kills == 1 else f", {kills} times"
            result = replace(result, state=FAILED, reason=f"{result.reason}{times}")
        trial.outcomes[index] = result
        self._on_outcome(job, result)
        self._tell_if_ended(trial)

    def _tell_if_ended(self, trial: _Open) -> None:
        if 0 in trial.outcomes and trial.outcomes[0].state == PRUNED:
            trial.jobs = trial.jobs[:1]
        if len(trial.outcomes) < len(trial.jobs):
            return
        outcomes = [trial.outcomes[index] for index in range(len(trial.jobs))]
        state = next((o.state for o in outcomes if o.state == FAILED), outcomes[0].state)
        columns = zip(*(o.values for o in outcomes), strict=True) if state not in (FAILED, PRUNED) else ()
        values = outcomes[0].values if state == PRUNED else [sum(c) / len(outcomes) for c in columns]
        notes = {OUTCOMES: [_plain(o) for o in outcomes]}
        self._tell(trial.number, state, list(values), list(outcomes[0].curve), notes)
        for other in sorted(self._open):
            if self._trials()[other].user_attrs.get(SAME_AS) == trial.number:
                self._repeat(other, trial.number)

    def _repeat(self, number: int, first: int) -> None:
        """End a trial as the one that has the same configuration has ended."""
        same = self._trials()[first]
        state = {TrialState.FAIL: FAILED, TrialState.PRUNED: PRUNED}.get(same.state, "")
        values = [] if state == FAILED else list(same.values)
        notes = {OUTCOMES: same.user_attrs[OUTCOMES]}
        self._tell(number, state, values, sorted(same.intermediate_values.items()), notes)

    def _tell(
        self,
        number: int,
        state: str,
        values: list[float],
        curve: list[tuple[int, float]],
        notes: dict[str, Any],
    ) -> None:
        del self._open[number]
        study = self.study.study_name
        optuna_internals.write_trial(self._storage, study, number, curve, notes)
        if state == FAILED:
            self.study.tell(number, state=TrialState.FAIL)
        elif state == PRUNED:
            optuna_internals.end_pruned(self._storage, study, number, values)
        else:
            self.study.tell(number, values)
        self._on_trial(number, self._trials())


def _plain(result: Outcome) -> dict[str, Any]:
    return {
        "state": result.state,
        "reason": result.reason,
        "values": list(result.values),
        "epochs": len(result.curve),
        "best_epoch": result.best_epoch,
        "seconds": result.seconds,
        "monitor": result.monitor,
    }
