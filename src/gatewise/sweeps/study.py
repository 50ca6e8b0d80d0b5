"""A study: trainings of several steps with several seeds, recorded in a CSV file and not trained again."""

from __future__ import annotations

import csv
import math
import resource
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Row = Mapping[str, str]


@dataclass(frozen=True)
class Rows:
    """The rows of a CSV file, all with the same columns, to which a study appends."""

    path: Path

    def read(self) -> list[dict[str, str]]:
        """All that have been written; none where there is no file yet."""
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def append(self, rows: Sequence[Row]) -> None:
        is_new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerows(rows)

    def has(self, **values: str) -> bool:
        """Whether there is a row with these values."""
        return any(values.items() <= row.items() for row in self.read())


def run_study(
    words: Iterable[str],
    steps: Iterable[str],
    train: Callable[[str, int, list[str]], Sequence[Row]],
    rows: Callable[[str], Rows],
    seeds: str = "1,2,3",
) -> None:
    """Train every step with every seed, a seed of all steps first, and append what is not recorded yet.

    Of ``words``, those of the command line, ``seeds=1,2`` and ``steps=one;another`` choose; all others are
    overrides, which ``train`` gets with the step and the seed. It returns rows with ``step`` and ``seed``,
    and ``rows`` says for a step where they go. Raises ValueError for a step that there is not.
    """
    given = dict(word.split("=", 1) for word in words if word.startswith(("seeds=", "steps=")))
    others = [word for word in words if not word.startswith(("seeds=", "steps="))]
    every = list(steps)
    wanted = given["steps"].split(";") if "steps" in given else every
    for step in wanted:
        if step not in every:
            raise ValueError(f"steps={step}: there is no such step; there are {'; '.join(every)}")
    for seed in map(int, given.get("seeds", seeds).split(",")):
        for step in (step for step in every if step in wanted):
            if not rows(step).has(step=step, seed=str(seed)):
                rows(step).append(train(step, seed, others))


def cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def wilson(correct: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, "Probable inference", 1927)."""
    z = statistics.NormalDist().inv_cdf(0.975)
    share, more = correct / count, z * z / count
    middle = (share + more / 2) / (1 + more)
    half = z / (1 + more) * math.sqrt(share * (1 - share) / count + more / (4 * count))
    return middle - half, middle + half
