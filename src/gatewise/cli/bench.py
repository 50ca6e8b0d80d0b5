"""``gatewise bench``: choose what to measure, and import it only then."""

from __future__ import annotations

from omegaconf import DictConfig

from gatewise.cli.check import check_training
from gatewise.cli.config import run_verb
from gatewise.cli.errors import UsageError

USAGE = "gatewise bench training [SETTING=VALUE ...], with the settings of gatewise train"


def main(argv: list[str]) -> int:
    """Run the benchmark that the first word names; returns the exit code."""
    if argv[:1] == ["training"]:
        return run_verb("train", argv[1:], _training)
    from gatewise.cli.bench_engine import USAGE as ENGINE_USAGE
    from gatewise.cli.bench_engine import bench_engine

    if argv[:1] == ["engine"]:
        return bench_engine(argv[1:])
    raise UsageError(f"{' '.join(argv[:1]) or 'bench'}: give what to measure: {USAGE}; or {ENGINE_USAGE}")


def _training(config: DictConfig) -> float:
    check_training(config)
    from gatewise.cli.bench_training import bench_training

    return bench_training(config)
