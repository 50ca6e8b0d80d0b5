"""``gatewise bench``: choose what to measure, and import it only then."""

from __future__ import annotations

from omegaconf import DictConfig

from gatewise.cli.verb import run_verb
from gatewise.config.check import check_training
from gatewise.settings import UsageError

USAGE = "gatewise bench training [SETTING=VALUE ...], with the settings of gatewise train"


def main(argv: list[str]) -> int:
    """Run the benchmark that the first word names; returns the exit code."""
    if argv[:1] == ["training"]:
        return run_verb("train", argv[1:], _training)
    from gatewise.bench.engine_speed import USAGE as ENGINE_USAGE
    from gatewise.bench.engine_speed import bench_engine

    if argv[:1] in (["-h"], ["--help"]) or (argv[:1] == ["engine"] and {"-h", "--help"} & {*argv}):
        print(f"{USAGE}\n{ENGINE_USAGE}")
        return 0
    if argv[:1] == ["engine"]:
        return bench_engine(argv[1:])
    raise UsageError(f"{' '.join(argv[:1]) or 'bench'}: give what to measure: {USAGE}; or {ENGINE_USAGE}")


def _training(config: DictConfig) -> float:
    check_training(config)
    from gatewise.bench.loop_overhead import bench_training

    return bench_training(config)
