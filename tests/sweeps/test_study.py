"""A study trains what its file lacks, in the order of seeds, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewise.sweeps.study import Rows, run_study, wilson


def test_it_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    rows, trained = Rows(tmp_path / "a.csv"), []

    def train(step: str, seed: int, words: list[str]) -> list[dict[str, str]]:
        if len(trained) == stop_at:
            raise KeyboardInterrupt
        trained.append((step, seed, *words))
        return [{"step": step, "seed": str(seed), "part": part} for part in ("a", "b")]

    stop_at = 3
    with pytest.raises(KeyboardInterrupt):
        run_study(["x=1"], ["one", "the other"], train, lambda _: rows, seeds="1,2")
    assert trained == [("one", 1, "x=1"), ("the other", 1, "x=1"), ("one", 2, "x=1")]
    stop_at = 99
    run_study(["seeds=2,3", "steps=the other;one"], ["one", "the other"], train, lambda _: rows)
    assert trained[3:] == [("the other", 2), ("one", 3), ("the other", 3)]
    assert [(row["step"], row["seed"], row["part"]) for row in rows.read()] == [
        (step, str(seed), part) for step, seed, *_ in trained for part in ("a", "b")
    ]
    with pytest.raises(ValueError, match="steps=two: there is no such step; there are one"):
        run_study(["steps=two"], ["one"], train, lambda _: rows)


def test_wilsons_interval_is_the_published_one() -> None:
    """Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I."""
    for correct, count, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
    ):
        assert wilson(correct, count) == pytest.approx((low, high), abs=5e-5)
