"""Carrying out a sweep: which training comes next, and what came of those that ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from gatewise.runs.folders import free_folder
from gatewise.sweeps import optuna_internals, search
from gatewise.sweeps.folder import Plan, Sweep
from gatewise.sweeps.jobs import FAILED, KILLED, PRUNED, Job, Outcome, job_setting
from gatewise.sweeps.workers import Workers

RUNS, OUTCOMES = "runs", "outcomes"
"""What a trial of the study has beside its parameters: run directory and outcome by seed."""


@dataclass
class _Open:
    """A trial whose trainings have not all ended."""

    number: int
    jobs: list[Job]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    """By place in ``jobs``."""
    started: set[int] = field(default_factory=set)
    kills: dict[int, int] = field(default_factory=dict)


class Scheduler:
    """Draws trials, hands their trainings to workers, and writes down what came of them.

    Everything is in the study before it is acted on: whoever opens the sweep again goes on from there.
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
    ) -> None:
        self.sweep, self.plan, self.retries = sweep, plan, retries
        self._storage = sweep.storage()
        self.study = sweep.study(plan, self._storage)
        self._runs_dir, self._run_name = runs_dir, run_name
        self._on_outcome, self._on_trial = on_outcome, on_trial
        self._space = search.distributions(plan.space)
        self._grid = plan.space.grid() if plan.sampler is None else []
        self._open: dict[int, _Open] = {}

    def carry_out(self, workers: Workers) -> None:
        """Run every training that is left; KeyboardInterrupt passes when what ran has been interrupted."""
        for begun in self.study.get_trials(deepcopy=False):
            if not begun.state.is_finished():
                self._open[begun.number] = _Open(begun.number, self._jobs(begun))
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
                for job, outcome in workers.wait():
                    running -= 1
                    self._ended(job, outcome)
        finally:
            workers.stop()

    def _ready(self) -> Iterator[tuple[_Open, int]]:
        """Jobs that may start now, in order; a trial that is not drawn yet is drawn when it is its turn."""
        for trial in sorted(self._open.values(), key=lambda t: t.number):
            for index in range(len(trial.jobs)):
                # A pruner judges by the first seed; the others wait for what it says.
                if index > 0 and self.plan.pruner is not None and 0 not in trial.outcomes:
                    break
                if index not in trial.started:
                    yield trial, index
        number = len(self.study.get_trials(deepcopy=False))
        waits = self.plan.sampler is not None or self.plan.pruner is not None
        if number < self.plan.trials and not (waits and any(n <= number - self.plan.lag for n in self._open)):
            drawn = self._open[number] = _Open(number, self._jobs(self._draw(number)))
            yield drawn, 0

    def _draw(self, number: int) -> FrozenTrial:
        system: dict[str, Any] = {}
        params: dict[str, Any]
        if self.plan.sampler is None:
            params = dict(self._grid[number])
        else:
            before = self.study.get_trials(deepcopy=False)
            params, system = search.draw(
                before, self.plan.lag, self.plan.sampler, self._space, self.plan.directions, self.plan.seed
            )
        name = self._run_name(self._overrides(params))
        runs = [str(free_folder(self._runs_dir, name)) for _ in self.plan.seeds]
        # In one line of the journal: a kill leaves the whole trial, or none.
        self.study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=params,
                distributions=self._space,
                user_attrs={RUNS: runs},
                system_attrs=system,
            )
        )
        return self.study.get_trials(deepcopy=False)[number]

    def _overrides(self, params: dict[str, Any]) -> list[str]:
        return [*self.plan.space.fixed, *(f"{key}={value}" for key, value in params.items())]

    def _jobs(self, trial: FrozenTrial) -> list[Job]:
        jobs: list[Job] = []
        for seed, path in zip(self.plan.seeds, trial.user_attrs[RUNS], strict=True):
            run, prune = Path(path), self.plan.pruner is not None and not jobs
            overrides = self._overrides(trial.params)
            if seed is not None:
                overrides.append(f"seed={seed}")
            overrides.append(job_setting(self.sweep.folder, trial.number, run, prune))
            name = f"{trial.number:04}" + ("" if seed is None else f"_seed{seed}")
            jobs.append(Job(trial.number, seed, run, overrides, self.sweep.output / f"{name}.txt"))
        return jobs

    def _ended(self, job: Job, outcome: Outcome) -> None:
        trial = self._open[job.trial]
        index = trial.jobs.index(job)
        if outcome.state == KILLED:
            kills = trial.kills[index] = trial.kills.get(index, 0) + 1
            if kills <= self.retries:
                trial.started.discard(index)
                return
            times = "" if kills == 1 else f", {kills} times"
            outcome = replace(outcome, state=FAILED, reason=f"{outcome.reason}{times}")
        trial.outcomes[index] = outcome
        self._on_outcome(job, outcome)
        if index == 0 and outcome.state == PRUNED:
            trial.jobs = trial.jobs[:1]
        if len(trial.outcomes) == len(trial.jobs):
            self._tell(trial)

    def _tell(self, trial: _Open) -> None:
        outcomes = [trial.outcomes[index] for index in range(len(trial.jobs))]
        del self._open[trial.number]
        study, notes = self.study.study_name, {OUTCOMES: [_plain(outcome) for outcome in outcomes]}
        optuna_internals.write_trial(self._storage, study, trial.number, outcomes[0].curve, notes)
        if any(outcome.state == FAILED for outcome in outcomes):
            self.study.tell(trial.number, state=TrialState.FAIL)
        elif outcomes[0].state == PRUNED:
            optuna_internals.end_pruned(self._storage, study, trial.number, outcomes[0].values)
        else:
            columns = zip(*(outcome.values for outcome in outcomes), strict=True)
            self.study.tell(trial.number, [sum(column) / len(outcomes) for column in columns])
        self._on_trial(trial.number, self.study.get_trials(deepcopy=False))


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "state": outcome.state,
        "reason": outcome.reason,
        "values": list(outcome.values),
        "epochs": len(outcome.curve),
        "seconds": outcome.seconds,
        "monitor": outcome.monitor,
    }
