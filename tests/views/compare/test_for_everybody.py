"""The page by keyboard, in colors that can be read, and on paper."""

from __future__ import annotations

import json

import pytest

from browser import browser, opened
from gatewise.runs.collection import find, read_all
from gatewise.views.compare.page import page as made_page
from gatewise.views.compare.payload import payload
from made_runs import made_run

VIEWS = ("table", "curves", "groups", "sweeps", "pair")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Runs in every state, with a report and code."""
    folder = tmp_path_factory.mktemp("read")
    for lr in (0.01, 0.1):
        for seed in (1, 2, 3):
            made = made_run(
                folder / "runs" / f"{lr}-{seed}",
                {"optimizer.lr": lr, "seed": seed},
                losses=tuple((lr + seed / 50) / epoch for epoch in range(1, 9)),
            )
            report = {"confusion_matrix": {"classes": ["a", "b"], "counts": [[9, 1], [5, 5]]}, "x": {"a": 1}}
            (made / "test_report.json").write_text(json.dumps(report))
            (made / "code.diff").write_text(f"commit {seed:040x} and changes of /x\n\n-old {seed}\n+new\n")
    for i in range(60):
        made_run(folder / "runs" / f"more-{i:02}", {"seed": 10 + i}, losses=(0.9,), state="interrupted")
    made_run(folder / "runs" / "failed", state="failed", reason="ValueError: nan")
    found = find([], folder / "runs", folder / "none")
    page = folder / "x.html"
    page.write_text(made_page(payload(list(read_all(found.places)), found, "x")), encoding="utf-8")
    return page


@pytest.fixture(scope="module")
def running():
    with browser() as it:
        yield it


CONTRASTS = """() => {
  const channels = (color) => {
    const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const light = (color) => {
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = color.map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const below = (element) => {
    if (!element) return [255, 255, 255];
    const own = channels(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, below(element.parentElement));
  };
  const found = [];
  const words = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  const ratio = (text, paper) => {
    const [a, b] = [light(over(channels(text), paper)), light(paper)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  while (words.nextNode()) {
    const parent = words.currentNode.parentElement;
    if (!words.currentNode.data.trim() || !parent.checkVisibility() || parent instanceof SVGElement) continue;
    found.push([words.currentNode.data.slice(0, 40), ratio(getComputedStyle(parent).color, below(parent))]);
  }
  for (const input of document.querySelectorAll("input[placeholder]")) {
    found.push([input.placeholder, ratio(getComputedStyle(input, "::placeholder").color, below(input))]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("chosen", [None, True, False])
def test_text_stands_out_from_what_is_below_it(running, file, scheme, chosen):
    for view in VIEWS:
        state = {"view": view, "dark": chosen, "selected": ["0.01-1", "failed"], "pair": ["0.01-1", "0.1-2"]}
        with opened(running, file, state, color_scheme=scheme) as page:
            page.fill("#filter", "no such = x")  # says what is wrong
            contrasts = page.evaluate(CONTRASTS)
            assert len(contrasts) > 10
            assert [(text, ratio) for text, ratio in contrasts if ratio < 4.5] == []


def focused(page):
    return page.evaluate(
        "document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText"
    )


def test_a_column_is_sorted_by_keyboard(running, file):
    with opened(running, file) as page:
        page.get_by_role("button", name="best val/loss").focus()
        for direction, mark in (("ascending", "▲"), ("descending", "▼"), ("none", "")):
            page.keyboard.press("Enter")
            head = page.locator("th", has_text="best val/loss")
            assert head.get_attribute("aria-sort") == direction
            assert focused(page).removeprefix("best val/loss").strip() == mark  # the focus stays


def test_the_focus_and_open_lists_outlive_a_drawing(running, file):
    with opened(running, file, {"view": "groups"}) as page:
        page.locator("section[aria-label=groups] summary").click()
        box = page.get_by_label("optimizer.lr")
        box.focus()
        page.keyboard.press("Space")
        assert not page.get_by_label("optimizer.lr").is_checked()
        assert page.get_by_label("optimizer.lr").is_visible()
        assert page.evaluate("document.activeElement.type") == "checkbox"
        page.click("#tab-curves")
        page.get_by_label("log y").focus()
        page.keyboard.press("Space")
        page.keyboard.press("Space")
        assert not page.get_by_label("log y").is_checked()
        slider = page.locator("input[type=range]")
        slider.focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        assert page.locator("input[type=range]").input_value() == "0.03"


def test_whatever_has_the_focus_shows_it_and_has_a_name(running, file):
    look = """() => {
      const it = document.activeElement;
      const style = getComputedStyle(it);
      const name = it.getAttribute("aria-label") || it.labels?.[0]?.innerText || it.innerText || it.title;
      const isMarked = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
      return [it.tagName, (name ?? "").trim(), isMarked];
    }"""
    for view in VIEWS:
        with opened(running, file, {"view": view}) as page:
            for _ in range(45):
                page.keyboard.press("Tab")
                tag, name, is_marked = page.evaluate(look)
                if tag == "BODY":
                    break
                assert is_marked, (view, tag, name)
                assert name, (view, tag)


CUT = """() => [...document.querySelectorAll("main .scroll, main .plot-box")]
  .filter((box) => box.checkVisibility())
  .filter((b) => b.scrollWidth > b.clientWidth + 1 || b.scrollHeight > b.clientHeight + 1)
  .map((box) => box.className)"""
"""What shows only a part of what it holds."""


def test_paper_is_light_and_has_everything(running, file):
    for view in VIEWS:
        state = {"view": view, "pair": ["0.01-1", "0.1-2"], "filter": "seed>0"}
        window = {"viewport": {"width": 1000, "height": 700}, "color_scheme": "dark"}
        with opened(running, file, state, **window) as page:
            page.emulate_media(media="print", color_scheme="dark")
            page.evaluate("dispatchEvent(new Event('beforeprint'))")
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
            assert page.evaluate("styled('--ink')") == "#1c2330"
            widths = "[document.documentElement.scrollWidth, innerWidth]"
            wide, sheet = page.evaluate(widths)
            assert wide <= sheet, view
            assert page.evaluate(CUT) == [], view
            assert not page.get_by_role("navigation").is_visible()
            assert "Filter: seed>0" in page.inner_text("main")
            if view == "table":
                assert page.locator("table.runs tbody tr:not(.space)").count() == 67
            else:
                assert page.locator("canvas:visible, .parallel svg:visible").count() > 0
            page.evaluate("dispatchEvent(new Event('afterprint'))")
            page.emulate_media(media="screen", color_scheme="dark")
            assert page.evaluate("styled('--ink')") == "#e6e9ee"


def test_a_pdf_of_all_rows(running, file):
    with opened(running, file, color_scheme="dark") as page:
        assert page.pdf()[:5] == b"%PDF-"
        assert page.evaluate("styled('--ink')") == "#e6e9ee"


def test_a_spike_is_drawn_however_many_points_share_a_pixel(running, file):
    """Points drawn by column: none of what a plot shows is lost, and nothing is added."""
    trace = """([y, column]) => {
      const points = [];
      const ctx = { moveTo: (px, py) => points.push([px, py]), lineTo: (px, py) => points.push([px, py]) };
      const line = { x: Float64Array.from(y, (_, i) => i), y: Float64Array.from(y, (v) => v ?? NaN) };
      new Plot("x", { lines: [line] }).trace(ctx, line, (x) => x / 10, (v) => v, column);
      return points;
    }"""
    values = [((i * 7919) % 101) / 101 for i in range(300)]
    values[150:160] = [None] * 10
    values[77], values[201] = 50.0, -40.0
    with opened(running, file) as page:
        for column in (1, 2):
            points = page.evaluate(trace, [values, column])
            assert len(points) <= 4 * (300 / 10 / column + 3)
            assert {y for _, y in points} <= {v for v in values if v is not None}
            by_column: dict[float, list[float]] = {}
            for x, value in enumerate(values):
                if value is not None:
                    by_column.setdefault(int(x / 10 / column + 0.5) * column, []).append(value)
            for place, members in by_column.items():
                drawn = [y for x, y in points if x == place]
                assert (min(drawn), max(drawn)) == (min(members), max(members))
