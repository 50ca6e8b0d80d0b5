"""The page of the gate microscope, used in a real browser: its heat maps, and where memory is cut."""

from __future__ import annotations

import re

import numpy as np
import pytest
from microscope import LSTM, PAYLOADS, TEXT, VIEWS, choose, point, section, show, shown, state_in

import made_inspections as made
from browser import drawn, opened

NEXT_FRAMES = (
    "() => new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(next))))"
)
"""Scrolling is told to a page with its next frame."""


@pytest.mark.parametrize("name", PAYLOADS)
def test_every_view_of_every_kind_fits_the_window(look_at, name):
    page = look_at(name)
    page.set_viewport_size({"width": 390, "height": 800})
    try:
        seen = page.evaluate(
            """async (views) => {
              const seen = [];
              const isReady = () => document.documentElement.dataset.ready === "yes";
              for (const view of views) {
                document.getElementById(`tab-${view}`).click();
                do await new Promise((next) => setTimeout(next, 2));
                while (!isReady());
                const shown = [...document.querySelectorAll("section")].filter((it) => it.checkVisibility());
                const sentence = shown[0].querySelector(".sentence").innerText;
                const width = document.documentElement.scrollWidth;
                seen.push([shown.map((it) => it.id), sentence.length > 40, width]);
              }
              return seen;
            }""",
            VIEWS,
        )
        assert seen == [[[f"view-{view}"], True, 390] for view in VIEWS]
    finally:
        page.set_viewport_size({"width": 1280, "height": 900})


def test_arrays_are_those_of_the_payload_and_decoded_when_needed(running, files):
    with opened(running, files["one"]) as page:
        assert page.evaluate("decoded.size") == 0
        page.click("#tab-gates")
        drawn(page)
        assert page.evaluate("decoded.size") == 6  # one layer and direction of i, f, o, n, h, c
        for array in LSTM["arrays"]:
            for layer in range(2):
                for direction in range(2):
                    where = [0, array["name"], layer, direction]
                    values = page.evaluate(
                        "async (w) => (await load(w), [...valuesOf(...w)].map(String))", where
                    )
                    expected = made.read(LSTM, array["name"], layer, direction)
                    np.testing.assert_allclose(
                        np.array(values, float), expected.ravel(), rtol=1e-6, atol=1e-7
                    )


def test_a_click_and_the_arrow_keys_mark_a_step_and_a_unit_everywhere(one):
    show(one, view="gates", order="number")
    f = made.read(LSTM, "f")
    x, y = point(one, 1, 6, 2)
    one.mouse.move(x, y)
    tip = section(one).locator(".tip:visible").inner_text()
    assert tip == f"6 “Dan”, unit 2: {shown(f[6, 2]):.4g}"
    one.mouse.click(x, y)
    drawn(one)
    assert {key: state_in(one)[key] for key in ("step", "unit")} == {"step": 6, "unit": 2}

    def read():
        return [float(text.rpartition(": ")[2]) for text in section(one).locator(".read").all_inner_texts()]

    def expected(step, unit):
        return [shown(made.read(LSTM, name)[step, unit]) for name in ("i", "f", "o", "n", "h", "c")]

    assert read() == pytest.approx(expected(6, 2), rel=2e-3)
    section(one).locator(".map-scroll").nth(3).focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowDown", "ArrowDown", "ArrowUp"):
        one.keyboard.press(key)
    drawn(one)
    assert (state_in(one)["step"], state_in(one)["unit"]) == (7, 3)
    assert read() == pytest.approx(expected(7, 3), rel=2e-3)
    one.keyboard.press("End")
    drawn(one)
    assert (
        section(one).locator(".read").first.inner_text().endswith("blank")
    )  # i is not there at the last step


def test_layers_directions_arrays_and_orders_are_switched(one):
    show(one, view="gates", step=4, unit=1)
    choose(one, "layer", "1")
    choose(one, "direction", "1")
    title = section(one).locator("figcaption bdi").first.inner_text()
    assert title == "i · layer 1, backward ←"
    text = section(one).locator(".read").nth(1).inner_text()
    assert float(text.rpartition(": ")[2]) == pytest.approx(shown(made.read(LSTM, "f", 1, 1)[4, 1]), rel=2e-3)
    assert one.evaluate("page.views[1].maps[0].rows") == LSTM["units"][1][1]["order"]
    choose(one, "order of units", "number")
    assert one.evaluate("page.views[1].maps[0].rows") == list(range(8))
    for name in ("layer", "direction"):
        choose(one, name, "all")
    assert section(one).locator("canvas.map").count() == 24
    section(one).get_by_text("arrays", exact=True).click()
    section(one).get_by_label("i: input gate").uncheck()
    drawn(one)
    assert section(one).locator("canvas.map").count() == 20
    assert "i" not in state_in(one)["shown"]


def test_colors_are_those_of_the_values(one):
    show(one, view="gates", order="number")
    for number, name in ((1, "f"), (5, "c")):
        scale = next(array["scale"] for array in LSTM["arrays"] if array["name"] == name)
        found = one.evaluate(
            """(k) => {
              const { image, count } = page.views[1].maps[k];
              const data = image.getContext("2d").getImageData(0, 0, count, 8).data;
              return [[...data.slice(0, 3)], paletteOf("share"), paletteOf("diverging")];
            }""",
            number,
        )
        value = made.read(LSTM, name)[0, 0]
        place = round((value - scale[0]) / (scale[1] - scale[0]) * 254)
        assert found[0] == found[1 if scale[2] == "share" else 2][place]


def test_words_joined_and_braced(look_at):
    model = PAYLOADS["characters"]["models"][0]
    page = look_at("characters")
    show(page, view="gates", joined=True, step=10, unit=2)
    text = section(page).locator(".read").nth(1).inner_text()
    assert text.startswith("mean over steps 9–12 “nice”, unit 2: ")
    assert float(text.rpartition(": ")[2]) == pytest.approx(made.read(model, "z")[9:13, 2].mean(), rel=2e-3)
    columns = page.evaluate("page.views[1].maps[0].columns.names")
    assert columns == re.findall(r"\S+| ", TEXT)
    section(page).get_by_label("join to words").uncheck()
    drawn(page)
    assert page.evaluate("[page.views[1].maps[0].count, page.views[1].maps[0].braces]") == [
        len(TEXT),
        True,
    ]
    page.click("#tab-follow")
    drawn(page)
    shown_text = section(page).locator(".ribbon").inner_text()
    assert re.sub(r"\s", "", shown_text).replace("␣", " ") == TEXT


def test_long_inputs_are_scrolled_and_zoomed(one):
    show(one, view="gates", cell=40)
    positions = "page.views[1].maps.map((map) => map.scroll.scrollLeft)"
    assert one.evaluate(positions) == [0] * 6
    section(one).locator(".map-scroll").first.focus()
    one.keyboard.press("End")
    drawn(one)
    one.evaluate(NEXT_FRAMES)
    assert len(set(one.evaluate(positions))) == 1
    assert one.evaluate(positions)[0] > 0
    assert one.evaluate("page.views[1].maps[0].total") == 14 * 40
    section(one).get_by_label("row height").fill("20")
    drawn(one)
    assert one.evaluate("page.views[1].maps[2].row") == 20
    section(one).get_by_role("button", name="fit").click()
    drawn(one)
    assert not {"cell", "row"} & set(state_in(one))


def test_pictures_are_saved(one):
    show(one, view="gates", step=3, unit=3)
    with one.expect_download() as download:
        section(one).get_by_role("button", name="PNG").first.click()
    assert download.value.path().read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert download.value.suggested_filename == "i_layer_0_forward_.png"


def product(kept, at, direction):
    """What is left between a step and every other one, by numpy."""
    values = kept[::-1] if direction else kept
    at = len(values) - 1 - at if direction else at
    found = np.ones_like(values)
    found[at:] = np.cumprod(np.vstack([np.ones(values.shape[1]), values[at + 1 :]]), axis=0)
    for step in range(at):
        found[step] = values[step + 1 : at + 1].prod(axis=0)
    return found[::-1] if direction else found


@pytest.mark.parametrize("direction", [0, 1])
def test_what_is_left_is_the_product_of_what_is_kept(one, direction):
    kept = made.read(LSTM, "kept c", 1, direction)
    np.testing.assert_array_equal(kept, made.read(LSTM, "f", 1, direction))
    for at in (0, 5, 13):
        show(one, view="cut", layer="1", direction=str(direction), step=at, unit=2)
        expected = product(kept, at, direction)
        found = np.array(one.evaluate("[...page.views[2].maps[0].values]")).reshape(kept.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        start, end = (13, 0) if direction else (0, 13)
        account = section(one).locator(".note b").locator("..").inner_text()
        for step in {start, end} - {at}:
            assert f"{round(expected[step].mean() * 100)} %" in account


def test_without_a_mark_most_is_cut_at_the_step_shown(one):
    show(one, view="cut")
    least = int(made.read(LSTM, "kept c").mean(axis=1).argmin())
    assert section(one).locator(".note b").inner_text() == f"Step {least} “{LSTM['names'][least]}”"
    section(one).locator(".step").nth(3).click()
    drawn(one)
    assert section(one).locator(".note b").inner_text() == "Step 3 “nice”"
    one.keyboard.press("ArrowRight")
    drawn(one)
    assert state_in(one)["step"] == 4


def test_sizes_of_what_is_written(one):
    show(one, view="written", unit=5, step=2)
    written = np.abs(made.read(LSTM, "written c"))
    titles = section(one).locator(".step").evaluate_all("(steps) => steps.map((step) => step.title)")
    found = [float(title.rpartition(": ")[2]) for title in titles]
    assert found == pytest.approx(list(written.mean(axis=1)), rel=1e-2, abs=1e-6)


def test_units_of_a_projected_state_keep_their_numbers_where_only_some_are_shown(one):
    numbers = one.evaluate(
        """() => {
          const place = MODELS[0].units[0][0];
          const whole = { ...place };
          Object.assign(place, { numbers: [1, 4, 30], order: [2, 0, 1] });
          const values = (units) => new Float32Array(units * MODELS[0].steps);
          const found = [2, 3].map((units) => unitsOf(0, values(units), 0, 0).numbers);
          Object.assign(place, whole);
          return found;
        }"""
    )
    assert numbers == [[1, 4], [1, 4, 30]]
