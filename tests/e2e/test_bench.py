"""``gatewise bench``: speeds measured side by side."""

from __future__ import annotations

import re

from workplace import Place

from gatewise.cli import bench


def test_training_is_timed_against_a_bare_loop(place: Place, monkeypatch) -> None:
    monkeypatch.setattr(bench, "ROUNDS", 1)
    # The two loops have to see the same work: as many losses on either side.
    losses = {"bare": 0, "lightning": 0}
    for name in losses:
        timed = getattr(bench, f"_{name}_epoch")

        def counted(config, data, task, name=name, timed=timed):
            score = task._score

            def counting(batch):
                losses[name] += task.training
                return score(batch)

            task._score = counting
            seconds = timed(config, data, task)
            assert seconds > 0
            return seconds

        monkeypatch.setattr(bench, f"_{name}_epoch", counted)
    result = place.ok("bench", "training", "data.batch_size=90", "model.hidden_size=4")
    assert "speech/japanese_vowels: 3 training steps" in result.out  # 270 utterances, a fifth for validation
    assert losses == {"bare": 2 * 3, "lightning": 2 * 3}
    assert re.search(r"bare PyTorch +│ +\d+\.\d\d │", result.out)
    assert re.search(r"overhead of the Lightning loop: -?\d+\.\d %", result.out)
    assert place.runs() == []


def test_bench_says_what_it_measures(place: Place) -> None:
    result = place("bench", "trainin")
    assert result.code == 2
    assert "trainin: give what to measure: gatewise bench training" in result.line()
