"""Runs that have little in common: other tasks, other metrics, no test, no checkpoint, one run only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from browser import browser, opened
from gatewise.runs.collection import find, read_all
from gatewise.views.compare.columns import differing
from gatewise.views.compare.page import page as made_page
from gatewise.views.compare.payload import payload
from gatewise.views.compare.table import print_runs
from made_runs import made_run

FORECASTING = {"task._target_": "gatewise.tasks.forecasting.Forecasting"}
VIEWS = ("table", "curves", "groups", "sweeps", "pair")


@pytest.fixture(scope="module")
def running():
    with browser() as it:
        yield it


def written(folder: Path) -> Path:
    found = find([], folder / "runs", folder / "none")
    file = folder / "x.html"
    file.write_text(made_page(payload(list(read_all(found.places)), found, "x")), encoding="utf-8")
    return file


def run(folder: Path, name: str, settings: dict[str, Any] | None = None, **given: Any) -> Path:
    return made_run(folder / "runs" / name, settings, **given)


@pytest.fixture
def unlike(tmp_path):
    """Three classifiers by their loss, two by their accuracy, and two forecasts with a loss of their own."""
    for seed, low in enumerate((0.3, 0.2, 0.4), 1):
        run(tmp_path, f"by-loss-{seed}", {"seed": seed}, losses=(0.9, low))
    for seed, accuracy in enumerate((0.8, 0.7), 1):
        monitored = {"task.monitor": "val/accuracy", "task.mode": "max", "seed": seed}
        made = run(tmp_path, f"by-accuracy-{seed}", monitored, state="interrupted", losses=(0.1, accuracy))
        file = made / "metrics.csv"
        file.write_text(file.read_text().replace("val/loss", "val/accuracy"))
    for seed, low in enumerate((0.01, 0.02), 1):
        run(tmp_path, f"forecast-{seed}", {**FORECASTING, "seed": seed}, losses=(40.0, low))
    return written(tmp_path)


def test_only_what_is_alike_is_ranked(running, unlike):
    with opened(running, unlike, {"view": "groups"}) as page:
        section = page.locator("section[aria-label=groups]")
        note = section.locator(".note").inner_text()
        assert "These are the runs of SequenceClassification: val/loss (smaller is better)." in note
        assert "4 others, of another task or by another metric, are not ranked with them" in note
        assert section.locator("tbody tr").count() == 1
        assert "0.3" in section.locator("tbody").inner_text()  # the mean of .3, .2 and .4
        kinds = page.get_by_label("runs of").locator("option").all_inner_texts()
        assert kinds == [
            "SequenceClassification: val/loss (smaller is better), 3",
            "SequenceClassification: val/accuracy (larger is better), 2",
            "Forecasting: val/loss (smaller is better), 2",
        ]
        page.get_by_label("runs of").select_option(index=1)
        assert "larger value" in section.locator(".note").inner_text()
        assert "0.75" in section.locator("tbody").inner_text()
        page.click("#tab-sweeps")
        assert "val/accuracy (larger is better)" in page.inner_text("section[aria-label=sweeps]")


def test_a_loss_of_another_task_has_a_plot_of_its_own(running, unlike):
    with opened(running, unlike, {"view": "curves", "metric": "val/loss"}) as page:
        titles = page.locator("figure.plot figcaption bdi").all_inner_texts()
        assert titles == ["val/loss · SequenceClassification", "val/loss · Forecasting"]
        page.fill("#filter", "task=Forecasting")
        assert page.locator("figure.plot figcaption bdi").all_inner_texts() == ["val/loss"]


def test_the_table_says_what_was_monitored(running, unlike):
    with opened(running, unlike) as page:
        heads = page.locator("thead th").all_inner_texts()
        assert {"task", "monitored", "best monitored value"} <= set(heads)


def test_the_screen_ranks_each_kind_by_itself(unlike, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    found = find([], unlike.parent / "runs", unlike.parent)
    runs = list(read_all(found.places))
    print_runs(runs, differing([record for _, record in runs]))
    text = capsys.readouterr().out
    order = ["by-accuracy-1", "by-accuracy-2", "by-loss-2", "by-loss-1", "by-loss-3", "forecast-1"]
    places = [text.index(name) for name in order]
    assert places == sorted(places)
    assert "val/loss of Forecasting" in text


def test_small_multiples_share_their_axes(running, tmp_path):
    for lr, losses in ((0.1, (9.0, 8.0)), (0.01, (0.9, 0.5, 0.4)), (1.0, (3.0, 2.0))):
        run(tmp_path, f"lr-{lr}", {"optimizer.lr": lr}, losses=losses)
    state = {"view": "curves", "metric": "val/loss", "facet": "optimizer.lr"}
    ranges = """() => [...document.querySelectorAll("figure.plot")].map(
      ({ plot: { chart: { scales: { x, y } } } }) => [x.min, x.max, y.min, y.max])"""
    with opened(running, written(tmp_path), state) as page:
        titles = page.locator("figure.plot figcaption bdi").all_inner_texts()
        assert [title.split()[-1] for title in titles] == ["0.01", "0.1", "1"]
        first, *others = page.evaluate(ranges)
        assert others == [first, first]
        assert first[2] < 0.4
        assert first[3] > 9
        page.get_by_label("same axes").uncheck()
        assert len({tuple(of) for of in page.evaluate(ranges)}) == 3


def test_runs_without_a_test_and_without_curves_in_common(running, tmp_path):
    checkpoints = run(tmp_path, "a", state="interrupted", losses=(0.5, 0.4)) / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / "last.ckpt").write_bytes(b"")
    other = run(tmp_path, "b", {"trainer.gradient_clip_val": 1.0}, state="interrupted", losses=(0.5, 0.4))
    file = other / "metrics.csv"
    file.write_text(file.read_text().replace("/loss", "/error"))
    run(tmp_path, "c", state="created", losses=())
    file = written(tmp_path)
    for view in VIEWS:
        with opened(running, file, {"view": view, "pair": ["a", "b"]}) as page:
            text = page.inner_text("main")
            assert "undefined" not in text
            assert "NaN" not in text
            if view == "pair":
                assert "These two have no metric in common." in text
                assert text.count("No report: it was not tested.") == 2
                assert "gradient_clip_val\tnull\t1" in text
                assert "checkpoint\t\tnone" in text


def test_hostile_words_as_values_of_settings(running, tmp_path):
    for name, word in (("a", "__proto__"), ("b", "constructor"), ("c", "x")):
        run(tmp_path, name, {"task.note": word})
    file = written(tmp_path)
    for state in ({"view": "curves", "facet": "task.note", "color": "task.note"}, {"view": "sweeps"}):
        with opened(running, file, state) as page:
            assert "constructor" in page.inner_text("main")
