"""What the microscope's page says of a network, of two side by side, and of any text, in a browser."""

from __future__ import annotations

import re

import numpy as np
import pytest
from microscope import GRU, LSTM, PAIR, PAYLOADS, PLOTS, VIEWS, choose, rows, section, show, state_in, strings

import made_inspections as made
from browser import drawn, opened
from gatewise.views.inspect.page import page as made_page

HOSTILE = [
    "<script>document.title='x'</script>",
    '"><img src=x onerror=alert(1)>',
    "עברית \u202eيمين",
    "👩‍👩‍👧 🏳️‍🌈",
    "\x1b[31mred\x1b[0m\n\t",
    "x" * 10_000,
    "</bdi>'`${1}",
    " ",
]


def numbers(cells, column):
    """The last number in each cell of a column."""
    return [float(re.findall(r"-?[\d.]+(?:e[-+]?\d+)?", row[column])[-1]) for row in cells]


def test_what_a_unit_follows(one):
    known = LSTM["follows"]["units"][0][0]
    show(one, view="follow", unit=3)
    found = rows(one, "correlations of the unit")
    features = LSTM["follows"]["features"]
    by_size = sorted(range(3), key=lambda f: -abs(known["r"][f][3]))
    assert [row[0] for row in found] == [features[f] for f in by_size]
    for column, key in ((1, "r"), (2, "p"), (3, "holm")):
        assert numbers(found, column) == pytest.approx([known[key][f][3] for f in by_size], rel=6e-3)
    assert [row[4] for row in found] == [f"{known['rank'][f][3]} of 32" for f in by_size]
    text = section(one).inner_text()
    assert "One nice unit is no finding: of 32 units and 3 features, 96 pairs were looked at" in text
    contexts = strings(LSTM["follows"]["contexts"])[0][0]["3"]
    shown = section(one).locator("table.contexts tr").all_inner_texts()
    assert [row.split("\t")[1] for row in shown] == [token for _, token, _, _ in contexts]
    show(one, view="follow", unit=0)
    assert "The page has contexts of the units that matter most" in section(one).inner_text()
    choose(one, "feature", "position")
    followers = rows(one, "units by feature")
    assert [int(row[0].split()[1]) for row in followers] == list(np.argsort(known["rank"][1]))
    show(one, view="follow", feature="position")
    assert section(one).locator("h4").first.inner_text().startswith(f"unit {np.argmin(known['rank'][1])}, h")
    section(one).get_by_role("button", name=followers[0][0], exact=True).click()
    drawn(one)
    assert state_in(one)["unit"] == int(followers[0][0].split()[1])
    assert section(one).locator("tr.selected").count() == 1


def test_text_is_colored_by_a_unit_of_any_array(one):
    show(one, view="follow", unit=4, array="o", layer="1", direction="1")
    titles = section(one).locator(".ribbon .step").evaluate_all("(steps) => steps.map((step) => step.title)")
    values = made.read(LSTM, "o", 1, 1)[:, 4]
    assert [float(title.rpartition(": ")[2]) for title in titles] == pytest.approx(list(values), rel=6e-3)
    colors = (
        section(one).locator(".ribbon .step").evaluate_all("(s) => s.map((step) => step.style.background)")
    )
    palette = one.evaluate("paletteOf('share')")
    expected = [palette[round(value * 254)] for value in values]
    assert [list(map(int, re.findall(r"\d+", color))) for color in colors] == expected


def test_what_is_not_known_is_said(look_at):
    said = {
        "cut": "has no share that is kept",
        "written": "writes its whole state anew",
        "follow": "the run's data are no longer at data/text",
        "remember": "keeps no share of its state",
        "saturation": "no gate between 0 and 1",
        "decided": "was not worked out",
        "clamps": "Nothing was clamped",
        "predictions": "There is no prediction at every step",
        "gradient": "No gradients were measured",
        "overview": "nothing but the arrays was asked for",
    }
    page = look_at("bare")
    for view, words in said.items():
        show(page, view=view)
        assert words in section(page).inner_text()


def test_how_long_units_remember_and_how_saturated_they_are(one):
    half = LSTM["memory"]["half"][1][0]
    show(one, view="remember", layer="1")
    texts = section(one).locator(".note").all_inner_texts()
    lags = [14 if lag is None else lag for lag in half["median"]]
    assert f"has lost half after {np.median(lags):g} steps" in texts[2]
    never = sum(lag is None for lag in half["median"])
    assert never == 0 or f"{never} of 8 units never fall below a half" in texts[2]
    dots = one.evaluate(f"{PLOTS}[2].dots.map((dot) => [dot.label, dot.y])")
    assert [y for _, y in dots] == sorted(lags)
    assert {int(re.findall(r"\d+", label)[0]): y for label, y in dots} == dict(enumerate(lags))
    show(one, view="saturation")
    for place, gate in enumerate(LSTM["saturation"]):
        dots = one.evaluate(f"(k) => {PLOTS}[k].dots.map((dot) => [dot.x, dot.y])", place)
        expected = [
            [above, below]
            for layer in range(2)
            for direction in range(2)
            for above, below in zip(
                gate["above"][layer][direction], gate["below"][layer][direction], strict=True
            )
        ]
        assert dots == expected
        share = round(np.mean([above for above, _ in expected]) * 100)
        assert f"{gate['name']}: above .9 at {share} % of steps" in section(one).inner_text()


def test_what_decided_the_answer_and_what_matters(one):
    decided, clamps = LSTM["decided"], LSTM["clamps"]
    show(one, view="decided")
    assert "agree with a correlation of 0.83" in section(one).inner_text()
    found = rows(one, "contribution of each step")
    assert numbers(found, 2) == pytest.approx(decided["gradient"], rel=6e-3)
    assert numbers(found, 3) == pytest.approx(decided["left_out"], rel=6e-3)
    section(one).get_by_role("button", name="left out").click()
    drawn(one)
    found = rows(one, "contribution of each step")
    assert numbers(found, 3) == sorted(numbers(found, 3), reverse=True)
    assert "sorts" in state_in(one)
    show(one, view="clamps", unit=2)
    found = rows(one, "clamps")
    changes = sorted((row["loss"] - clamps["loss"] for row in clamps["rows"]), reverse=True)
    assert numbers(found, 0) == pytest.approx(changes[: len(found)], rel=6e-3, abs=1e-4)
    is_shown = [row for row in clamps["rows"] if row["loss"] - clamps["loss"] > changes[300]]
    assert section(one).locator("tr.selected").count() == sum(
        (row["layer"], row["direction"], row["unit"]) == (0, 0, 2) for row in is_shown
    )
    other = sum(row["answer"] != clamps["answer"] for row in clamps["rows"])
    assert f"{other} of {len(clamps['rows'])} clamps give another answer" in section(one).inner_text()
    section(one).get_by_role("button", name="probability").click()
    drawn(one)
    most = max(row["probability"] for row in clamps["rows"])
    assert numbers(rows(one, "clamps"), 7)[0] == pytest.approx(most, rel=1e-3)


def test_predictions_at_every_step_and_gradients(one):
    predictions = LSTM["predictions"]
    show(one, view="predictions")
    found = rows(one, "predictions")
    for row, choices, actual, surprise in zip(
        found, predictions["steps"], predictions["actual"], predictions["surprise"], strict=True
    ):
        for cell, (name, probability) in zip(row[2:7], choices, strict=True):
            word, _, number = cell.rpartition(" ")
            assert word == name
            assert float(number) == pytest.approx(probability, rel=6e-2)
        assert row[7] == (actual or "")
        assert row[8] == ("" if surprise is None else row[8])
        assert surprise is None or float(row[8]) == pytest.approx(surprise, rel=6e-3)
    show(one, view="gradient")
    lines = one.evaluate(f"{PLOTS}[0].lines.map((line) => [...line.y])")
    assert lines == [line["median"] for line in LSTM["gradients"]]
    choose(one, "state", "c")
    assert len(one.evaluate(f"{PLOTS}[0].lines")) == 4
    factors = [line["median"][1] / line["median"][0] for line in LSTM["gradients"] if line["state"] == "c"]
    assert numbers(rows(one, "gradients"), 3) == pytest.approx(factors, rel=2e-3)


def test_predictions_of_classes_and_series(look_at):
    for name, title in (("frames", "class after each step"), ("series", "forecast of the next value")):
        page = look_at(name)
        show(page, view="predictions", step=4)
        assert section(page).locator("h4").first.inner_text() == title
        found = rows(page, "predictions")
        (first, value), *_ = PAYLOADS[name]["models"][0]["predictions"]["steps"][4]
        assert found[4][2].startswith(first)
        assert numbers(found, 2)[4] == pytest.approx(value, rel=6e-2)
        assert section(page).locator("tr.selected").count() == 1


def test_two_models_are_matched_by_what_their_units_do(two):
    pairs = {first: (second, r) for first, second, r in PAIR[0]["pairs"]}
    show(two, view="gates", unit=1, step=5)
    second, r = pairs[1]
    note = section(two).locator(".note").first.inner_text()
    assert note.startswith(f"Unit 1 of the first model stands beside unit {second} of the second")
    assert f"correlation {r:.3g}" in note
    reads = section(two).locator(".model").nth(1).locator(".read").all_inner_texts()
    assert [text.rpartition(": ")[0] for text in reads] == [f"5 “.”, unit {second}"] * 4
    values = [made.read(GRU, name)[5, second] for name in ("r", "z", "n", "h")]
    assert [float(text.rpartition(": ")[2]) for text in reads] == pytest.approx(values, rel=2e-3, abs=1e-4)
    section(two).locator(".model").nth(1).locator("canvas.map").nth(1).click(position={"x": 60, "y": 90})
    drawn(two)
    text = section(two).locator(".model").nth(1).locator(".read").first.inner_text()
    chosen = int(re.search(r"unit (\d+)", text).group(1))
    assert pairs[state_in(two)["unit"]][0] == chosen
    show(two, view="gates", unit=7)
    assert "Unit 7 of the first model has no match" in section(two).locator(".note").first.inner_text()
    show(two, view="gradient")
    labels = two.evaluate(f"{PLOTS}[0].lines.map((line) => line.label)")
    assert {label.split(" · ")[0] for label in labels} == {LSTM["name"], GRU["name"]}


def test_two_models_stand_beside_each_other_or_below(two):
    for width, beside in ((1280, True), (700, False)):
        two.set_viewport_size({"width": width, "height": 900})
        for view in ("overview", "cut", "follow", "predictions"):
            show(two, view=view)
            first, second = (section(two).locator(".model").nth(k).bounding_box() for k in (0, 1))
            assert (second["x"] > first["x"]) == beside
            assert (second["y"] > first["y"]) != beside
    two.set_viewport_size({"width": 1280, "height": 900})


def test_two_inputs_of_one_model_keep_the_unit(look_at):
    other = PAYLOADS["same"]["models"][1]
    page = look_at("same")
    show(page, view="gates", unit=6, step=3)
    assert "unit 6 is the same one on both sides" in section(page).locator(".note").first.inner_text()
    text = section(page).locator(".model").nth(1).locator(".read").nth(1).inner_text()
    assert float(text.rpartition(": ")[2]) == pytest.approx(made.read(other, "f")[3, 6], rel=2e-3)


def test_the_address_holds_the_view(running, files):
    state = {
        **{"view": "follow", "layer": "1", "direction": "1", "unitLayer": 1, "unitDirection": 1},
        **{"unit": 5, "step": 4, "array": "c", "feature": "position", "order": "number", "dark": True},
        "sorts": {"features0": ["rank", "up"]},
    }
    with opened(running, files["one"], state) as page:
        assert state_in(page) == state
        assert section(page).locator("h4").first.inner_text().startswith("unit 5, c, layer 1, backward ←")
        assert section(page).locator(".step.chosen").inner_text() == "person"
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 31)"
        page.click("button.scheme")
        drawn(page)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert state_in(page) == {**state, "dark": False}
    wrong = {"view": "none", "layer": "x", "direction": -1, "unit": 1e9, "step": 99, "sorts": 3}
    with opened(running, files["one"], wrong) as page:
        for view in ("gates", "cut", "follow", "clamps"):
            show(page, **{**state_in(page), "view": view})
            assert section(page).locator(".sentence").count() == 1


def test_hostile_text_is_text(running, tmp_path):
    model = made.made_model("LSTM", HOSTILE, name=HOSTILE[0], hidden=4)
    model |= {
        "input": "".join(HOSTILE),
        "sentences": HOSTILE,
        "problems": HOSTILE,
        "equations": HOSTILE[1],
        "task": HOSTILE[6],
    }
    model["arrays"][0]["meaning"] = HOSTILE[1]
    model["decided"]["answer"] = HOSTILE[0]
    model["follows"]["features"] = HOSTILE[:3]
    values = made.made_inspection(model, title=HOSTILE[1])
    (tmp_path / "x.html").write_text(made_page(values), encoding="utf-8")
    with opened(running, tmp_path / "x.html", viewport={"width": 390, "height": 800}) as page:
        for view in VIEWS:
            show(page, view=view, step=4, unit=1)
            assert page.evaluate("document.querySelectorAll('img, section script').length") == 0
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, view
        assert page.inner_text("h1") == HOSTILE[1]
        show(page, view="overview", step=4)
        steps = section(page).locator(".step").all_inner_texts()
        assert steps[:4] == HOSTILE[:4]
        assert steps[4:6] == ["\\x1b[31mred\\x1b[0m⏎\\t", "x" * 60 + "…"]


def test_long_inputs_are_read_in_parts(running, tmp_path):
    model = made.made_model("GRU", [f"w{i}" for i in range(450)], hidden=4)
    (tmp_path / "x.html").write_text(made_page(made.made_inspection(model)), encoding="utf-8")
    with opened(running, tmp_path / "x.html", {"view": "predictions"}) as page:
        assert len(rows(page, "predictions")) == 200
        section(page).get_by_role("button", name="later").click()
        drawn(page)
        assert rows(page, "predictions")[0][:2] == ["200", "w200"]
        show(page, view="gates", step=440)
        assert page.evaluate("page.views[1].maps[0].total") == 450 * 3


def test_printed_in_light_colors_without_what_is_for_the_screen(one):
    show(one, view="gates", dark=True)
    blue = one.evaluate("paletteOf('diverging')[0].join()")
    one.emulate_media(media="print")
    assert not one.locator("nav").is_visible()
    # In one turn, since paper does not wait: what a print is of stands when the listeners are done.
    printed = one.evaluate(
        """async () => {
          dispatchEvent(new Event("beforeprint"));
          await null;
          return [isDark(), document.documentElement.dataset.scheme, paletteOf("diverging")[0].join()];
        }"""
    )
    assert printed[:2] == [False, "light"]
    assert printed[2] != blue
    one.evaluate("dispatchEvent(new Event('afterprint'))")
    drawn(one)
    assert one.evaluate("isDark()")
    one.emulate_media(media="screen")


def test_the_keyboard_reaches_what_the_mouse_does(one):
    show(one, view="gates")
    reached = set()
    one.focus("button.scheme")
    for _ in range(40):
        one.keyboard.press("Tab")
        reached |= set(
            one.evaluate("(({ id, className, tagName }) => [id, className, tagName])(document.activeElement)")
        )
    assert {"tab-gradient", "map-scroll", "SELECT", "INPUT", "SUMMARY"} <= reached
    one.focus("#tab-remember")
    one.keyboard.press("Enter")
    drawn(one)
    assert one.locator("#view-remember").is_visible()
    assert one.evaluate("document.activeElement.id") == "tab-remember"
