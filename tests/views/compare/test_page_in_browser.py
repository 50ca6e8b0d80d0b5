"""The page of a comparison, used in a real browser."""

from __future__ import annotations

import csv
import io
import json
import math
import random
import re
from urllib.parse import unquote

import numpy as np
import pytest
from scipy import stats
from test_comparison import HOSTILE, unpacked

from browser import opened
from gatewise.runs.collection import find, read_all
from gatewise.views.compare.curves import pack
from gatewise.views.compare.page import page as made_page
from gatewise.views.compare.payload import payload
from made_runs import made_run

SEEDS = (1, 2, 3, 4)
BASE = {"lstm": 0.30, "gru": 0.32}


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory):
    """Two models, two learning rates and four seeds; a failed run, a broken one, one without curves."""
    folder = tmp_path_factory.mktemp("compared") / "runs"
    draw = random.Random(0)
    for model in BASE:
        for lr in (0.003, 0.03):
            for seed in SEEDS:
                low = BASE[model] + (0.2 if lr > 0.01 else 0) + draw.gauss(0, 0.02)
                losses = tuple(low + 1 / (epoch + 1) for epoch in range(20))
                place = made_run(
                    folder / "speech" / f"{model}-{lr}-{seed}",
                    {"seed": seed, "optimizer.lr": lr},
                    losses=losses,
                    model=model,
                )
                report = {"confusion_matrix": {"classes": ["a", "b"], "counts": [[3, 1], [0, 4]]}}
                (place / "test_report.json").write_text(json.dumps(report))
                (place / "code.diff").write_text(
                    f"commit {seed:040x} and changes of /x\n\n-old {seed}\n+new\n same\n"
                )
    made_run(
        folder / "speech" / "failed",
        {"seed": 9},
        state="failed",
        reason="ValueError: nan",
        losses=(0.9, 70.0),
    )
    broken = made_run(folder / "speech" / "broken")
    (broken / "config.yaml").write_text("[")
    made_run(folder / "text" / "empty", {"seed": 8}, state="interrupted", losses=())
    return folder


@pytest.fixture(scope="module")
def runs(runs_dir):
    return list(read_all(find([], runs_dir, runs_dir / "none").places))


@pytest.fixture(scope="module")
def file(runs, runs_dir):
    path = runs_dir.parent / "compare.html"
    path.write_text(
        made_page(payload(runs, find([], runs_dir, runs_dir / "none"), "speech")), encoding="utf-8"
    )
    return path


def column(page, name):
    """The cells of a table's column, by its heading."""
    return page.evaluate(
        """(name) => {
          const table = [...document.querySelectorAll("table")].find((t) => t.checkVisibility());
          const heads = [...table.tHead.rows[0].cells].map((cell) => cell.innerText.replace(/ [▲▼]$/, ""));
          const rows = [...table.tBodies[0].rows].filter((row) => row.className !== "space");
          return rows.map((row) => row.cells[heads.indexOf(name)].innerText);
        }""",
        name,
    )


def state_in(page):
    # Asked of the page: what the driver knows of its address comes later.
    return json.loads(unquote(page.evaluate("location.href").partition("#")[2]) or "{}")


def test_the_table_sorts_filters_and_searches(running, file):
    with opened(running, file) as page:
        assert len(column(page, "run")) == 19
        page.get_by_role("button", name="best val/loss").click()
        values = [float(text) for text in column(page, "best val/loss") if text]
        assert values == sorted(values)
        page.get_by_role("button", name="best val/loss").click()
        values = [float(text) for text in column(page, "best val/loss") if text]
        assert values == sorted(values, reverse=True)
        assert column(page, "best val/loss")[-1] == ""  # what is not there comes last either way
        page.fill("#filter", "model=gru and lr<0.01 and status=done")
        assert column(page, "run") == [f"speech/mine/gru-0.003-{seed}" for seed in column(page, "seed")]
        assert sorted(column(page, "seed")) == ["1", "2", "3", "4"]
        page.fill("#filter", "not (model=gru or model=lstm) or state=broken")
        assert column(page, "status") == ["broken"]
        page.fill("#filter", "")
        page.fill("#search", "FAILED")
        assert column(page, "status") == ["failed"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle=gru", "modle: no such setting or result; did you mean model?"),
        ("lr<high", "high is no number"),
        ("model=gru and", "something is missing at the end"),
        ("model=gru lr<1", 'put "and" or "or" before it'),
        ("(model=gru", "a ) is missing"),
        ("model=", "a value is missing"),
        ("accuracy<1", "which one?"),
    ],
)
def test_a_wrong_filter_is_explained_under_its_field(running, file, text, message):
    with opened(running, file) as page:
        page.fill("#filter", text)
        assert message in page.inner_text("#filter-problem")
        assert len(column(page, "run")) == 19


def test_filters_know_null_and_what_is_not_there(running, tmp_path):
    for name, value in (("a", None), ("b", 1.0), ("c", 0.5)):
        made_run(tmp_path / "runs" / name, {"trainer.gradient_clip_val": value})
    found = find([], tmp_path / "runs", tmp_path)
    runs = list(read_all(found.places))
    (tmp_path / "x.html").write_text(made_page(payload(runs, found, "x")))
    with opened(running, tmp_path / "x.html") as page:
        for text, names in (
            ("gradient_clip_val=null", "a"),
            ("gradient_clip_val!=null", "bc"),
            ("gradient_clip_val<=0.5", "c"),
            ("trainer.max_epochs=3 and run~/b", "b"),
            ("max_epochs>3", ""),
        ):
            page.fill("#filter", text)
            assert page.inner_text("#filter-problem") == ""
            assert [run[-1] for run in column(page, "run")] == list(names)


def test_the_address_holds_the_view(running, file):
    with opened(running, file) as page:
        page.fill("#filter", "status=done")
        page.get_by_role("button", name="in epoch").click()
        for box in page.locator("tbody input[type=checkbox]").all()[:2]:
            box.check()
        page.click("#tab-curves")
        page.get_by_label("log y").check()
        page.get_by_label("metric").select_option("val/loss")
        state = state_in(page)
    assert {key: state[key] for key in ("filter", "view", "logY", "metric", "sort")} == {
        "filter": "status=done",
        "view": "curves",
        "logY": True,
        "metric": "val/loss",
        "sort": [["epoch", "up"]],
    }
    assert len(state["selected"]) == 2
    with opened(running, file, state) as page:
        assert state_in(page) == state
        assert page.input_value("#filter") == "status=done"
        assert page.get_by_label("log y").is_checked()
        assert page.locator("figure.plot").count() == 1
        page.click("#tab-table")
        assert page.locator("tr.selected").count() == 2
    with opened(running, file, {"view": "no such", "sort": "x", "zoom": 3, "selected": ["gone"]}) as page:
        assert page.locator("table.runs tbody tr").count() > 10  # the usual view


def test_curves_are_those_that_were_measured(running, file, runs):
    expected = unpacked(pack([record for _, record in runs]))
    with opened(running, file, {"view": "curves"}) as page:
        found = page.evaluate(
            "CURVES.map((curves) => [...curves].map("
            "([name, c]) => [name, [...c.step], [...c.epoch], [...c.seconds], [...c.values]]))"
        )
    seen = 0
    for run, curves in enumerate(found):
        for name, *mine in curves:
            seen += 1
            for column_of_it, theirs in zip(mine, expected[run, name], strict=True):
                np.testing.assert_allclose(column_of_it, theirs, rtol=1e-7)
    assert seen == len(expected)


def test_hover_names_the_run_and_zoom_stays_in_the_address(running, file):
    state = {"view": "curves", "metric": "val/loss", "filter": "run~lstm-0.003-1"}
    with opened(running, file, state) as page:
        over = page.locator(".u-over")
        box = over.bounding_box()
        for share in np.linspace(0.1, 0.95, 30):  # along the middle, until the curve is near
            page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * share)
            if page.locator(".tip").is_visible():
                break
        assert "lstm-0.003-1" in page.inner_text(".tip")
        assert "epoch" in page.inner_text(".tip")
        page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 52, steps=4)
        page.mouse.up()
        low, high, *_ = state_in(page)["zoom"]["val/loss"]
        assert 1 < low < high < 20
        assert (low, high) == pytest.approx((1 + 19 * 0.3, 1 + 19 * 0.6), abs=0.3)
        page.locator(".u-over").dblclick()
        assert "zoom" not in state_in(page)


def test_groups_are_compared_as_scipy_does(running, file, runs):
    by_group = {}
    for _, record in runs:
        if record.state == "done":
            key = record.choices["model"], record.settings["optimizer.lr"]
            by_group.setdefault(key, {})[record.settings["seed"]] = record.best["val/loss"]
    ordered = sorted(by_group, key=lambda key: np.mean(list(by_group[key].values())))
    best = by_group[ordered[0]]
    ps = []
    with opened(running, file, {"view": "groups", "filter": "status=done"}) as page:
        models, lrs = column(page, "model"), column(page, "optimizer.lr")
        assert [(m, float(lr)) for m, lr in zip(models, lrs, strict=True)] == ordered
        assert column(page, "n") == ["4"] * 4
        for row, key in enumerate(ordered):
            values = list(by_group[key].values())
            assert float(column(page, "best val/loss")[row]) == pytest.approx(np.mean(values), rel=1e-4)
            assert float(column(page, "standard error")[row]) == pytest.approx(stats.sem(values), rel=1e-4)
            if row:
                test = stats.ttest_rel([by_group[key][s] for s in SEEDS], [best[s] for s in SEEDS])
                ps.append(test.pvalue)
                interval = test.confidence_interval()
                low, high = map(float, column(page, "95 % interval")[row].split(" to "))
                assert (low, high) == pytest.approx((interval.low, interval.high), rel=1e-3)
        order = np.argsort(ps)
        corrected = np.empty(3)
        corrected[order] = np.maximum.accumulate(np.minimum(1, np.array(ps)[order] * (3 - np.arange(3))))
        shown = [float(text) for text in column(page, "p (Holm)")[1:]]
        assert shown == pytest.approx(list(corrected), rel=1e-3)
        assert "paired over 4 seeds" in page.inner_text("section[aria-label=groups] .note")


@pytest.mark.parametrize("freedom", [1, 2, 7.3, 60])
def test_students_distribution(running, file, freedom):
    with opened(running, file) as page:
        for t in (0.1, 1.0, 2.5, 12.0):
            found = page.evaluate("([t, f]) => twoSided(t, f)", [t, freedom])
            assert found == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-9)
        found = page.evaluate("(f) => criticalT(0.05, f)", freedom)
        assert found == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)
        pair = [[1.0, 2.0, 4.0, 4.5], [2.0, 2.5, 3.0, 9.0]]
        found = page.evaluate(
            "([a, b]) => difference({values: a, bySeed: new Map()}, {values: b, bySeed: new Map()})", pair
        )
        welch = stats.ttest_ind(*pair, equal_var=False)
        assert found["p"] == pytest.approx(welch.pvalue, rel=1e-9)
        assert found["low"] == pytest.approx(welch.confidence_interval().low, rel=1e-9)


def test_sweeps_are_brushed_and_explained(running, file):
    with opened(running, file, {"view": "sweeps", "filter": "status=done"}) as page:
        assert "16 of 16 runs" in page.inner_text(".parallel .note")
        explained = page.inner_text("section[aria-label=sweeps] table")
        assert explained.splitlines()[0].startswith("optimizer.lr")  # it makes the difference of .2
        axis = page.locator(".parallel .handle").nth(1)
        box = axis.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.6)
        page.mouse.up()
        assert "8 of 16 runs" in page.inner_text(".parallel .note")
        page.get_by_role("button", name="select these runs").click()
        assert {"lstm-0.003-1", "gru-0.003-1"} <= set(state_in(page)["selected"])
        assert len(state_in(page)["selected"]) == 8


def test_two_runs_side_by_side(running, file):
    with opened(running, file, {"view": "pair", "pair": ["lstm-0.003-1", "gru-0.03-2"]}) as page:
        text = page.inner_text("section[aria-label='two runs']")
        for words in ("optimizer.lr", "0.003", "0.03", "confusion matrix", "best val/loss"):
            assert words in text
        removed, added = page.inner_text(".code .removed"), page.inner_text(".code .added")
        assert "commit" in removed
        assert "commit" in added
        assert page.locator(".confusion td").all_inner_texts()[:4] == ["3", "1", "0", "4"]
        assert page.locator("section[aria-label='two runs'] figure.plot canvas").count() == 2


def test_exports(running, file):
    with opened(running, file, {"filter": "model=gru and status=done"}) as page:
        with page.expect_download() as download:
            page.locator("#view-table").get_by_role("button", name="CSV").click()
        rows = list(csv.DictReader(io.StringIO(download.value.path().read_text("utf-8"))))
        assert len(rows) == 8
        assert {row["model"] for row in rows} == {"gru"}
        page.click("#tab-curves")
        with page.expect_download() as download:
            page.get_by_role("button", name="PNG").first.click()
        assert download.value.path().read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        with page.expect_download() as download:
            page.get_by_role("button", name="SVG").first.click()
        drawing = download.value.path().read_text("utf-8")
        assert drawing.startswith("<svg")
        assert drawing.count("<path") == 8


def test_hostile_text_is_text(running, tmp_path):
    for i, text in enumerate(HOSTILE):
        folder = made_run(tmp_path / "runs" / f"run{i}", {"task.note": text, "seed": i}, reason=text)
        metrics = folder / "metrics.csv"
        name = text.replace('"', "'").replace("\x1b", "").replace("\x07", "")[:300]
        metrics.write_text(metrics.read_text().replace("train/loss", f'"{name}"'))
        (folder / "test_report.json").write_text(json.dumps({text[:200]: {"a": text}, "words": text}))
        (folder / "code.diff").write_text(text)
    found = find([], tmp_path / "runs", tmp_path)
    runs = list(read_all(found.places))
    assert not any(record.problems for _, record in runs)
    (tmp_path / "x.html").write_text(made_page(payload(runs, found, HOSTILE[1])), encoding="utf-8")
    for view in ("table", "curves", "groups", "sweeps", "pair"):
        with opened(running, tmp_path / "x.html", {"view": view}) as page:
            assert page.evaluate("document.querySelectorAll('img').length") == 0
            assert page.inner_text("h1") == HOSTILE[1]
    with opened(running, tmp_path / "x.html", {"columns": ["run", "task.note"]}) as page:
        shown = column(page, "task.note")
        assert shown[:2] == HOSTILE[:2]


@pytest.mark.parametrize("width", [390, 2560])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(running, file, width, scheme):
    settings = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    for view in ("table", "curves", "groups", "sweeps", "pair"):
        with opened(running, file, {"view": view}, **settings) as page:
            assert page.evaluate("document.documentElement.scrollWidth") <= width, view
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_the_keyboard_reaches_what_the_mouse_does(running, file):
    with opened(running, file) as page:
        reached = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id || document.activeElement.innerText"))
        assert {"tab-curves", "filter", "search", "CSV"} <= reached
        page.focus("#tab-groups")
        page.keyboard.press("Enter")
        assert page.locator("section[aria-label=groups]").is_visible()


def test_pages_of_little(running, tmp_path):
    made_run(tmp_path / "runs" / "one", losses=(0.5,))
    found = find([], tmp_path / "runs", tmp_path)
    runs = list(read_all(found.places))
    (tmp_path / "one.html").write_text(made_page(payload(runs, found, "one")))
    for view in ("table", "curves", "groups", "sweeps", "pair"):
        with opened(running, tmp_path / "one.html", {"view": view}) as page:
            assert page.locator("main").is_visible()
    assert math.isclose(runs[0][1].best["val/loss"], 0.5)


def test_of_very_many_runs_the_first_are_drawn(running, file):
    with opened(running, file) as page:
        page.evaluate("change({view: 'curves', metric: 'val/loss'})")
        assert "These are the first" not in page.inner_text("section[aria-label=curves] .note")
    html = file.read_text("utf-8").replace("const MOST_LINES = 1000;", "const MOST_LINES = 5;")
    # Another script has another hash, which the policy of the page does not allow.
    many = file.with_name("many.html")
    many.write_text(re.sub(r"script-src [^;]*;", "script-src 'unsafe-inline';", html), "utf-8")
    with opened(running, many, {"view": "curves", "metric": "val/loss"}) as page:
        note = page.inner_text("section[aria-label=curves] .note")
        assert note.startswith("5 runs")
        assert "These are the first of 19 in the table's order" in note
