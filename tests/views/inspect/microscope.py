"""Pages of the gate microscope to look at, and how to find one's way on them."""

from __future__ import annotations

import base64
import json
import re
import zlib
from urllib.parse import unquote

import made_inspections as made
from browser import drawn

VIEWS = (
    *("overview", "gates", "cut", "written", "follow", "remember"),
    *("saturation", "decided", "clamps", "predictions", "gradient"),
)
TEXT = "Bob is a nice person. Dan on the other hand is evil."
PLOTS = "[...document.querySelectorAll('section:not([hidden]) figure')].map((it) => it.plot).filter(Boolean)"
"""The plots of the view that is shown."""

LSTM = made.made_model("LSTM", layers=2, directions=2, hidden=8)
GRU = made.made_model("GRU", layers=1, hidden=6, seed=3)
PAIR = made.matched(LSTM, GRU)
OTHER_INPUT = made.made_model(
    "LSTM",
    ["one", "other", "input", "of", "nine", "words", ",", "no", "more"],
    layers=2,
    directions=2,
    seed=5,
)
OTHER_INPUT["run"] = LSTM["run"]
PAYLOADS = {
    "one": made.made_inspection(LSTM),
    "two": made.made_inspection(LSTM, GRU, matching=PAIR),
    "same": made.made_inspection(LSTM, OTHER_INPUT),
    "characters": made.made_inspection(made.characters(TEXT, hidden=6)),
    "frames": made.made_inspection(made.classified(hidden=5)),
    "series": made.made_inspection(made.forecasting(hidden=5)),
    "bare": made.made_inspection(made.made_model("RNN", parts=False)),
}


def show(page, **state):
    """The view of a state, as if the page had been opened with it."""
    page.evaluate("(given) => change({...structuredClone(USUAL), ...given})", state)
    drawn(page)


def state_in(page):
    # Asked of the page: what the driver knows of its address comes later.
    return json.loads(unquote(page.evaluate("location.href").partition("#")[2]) or "{}")


def section(page):
    return page.locator("section:visible")


def choose(page, label, value):
    control = section(page).locator("label.control", has_text=re.compile(f"^{label} "))
    control.locator("select").select_option(value)
    drawn(page)


def strings(packed):
    """What a page's much text holds."""
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def rows(page, label):
    """The texts of a table's cells, as they are shown."""
    table = section(page).get_by_role("region", name=label).locator("tbody tr")
    return [
        row.split("\t")
        for row in table.evaluate_all(
            "(rows) => rows.map((r) => [...r.cells].map((c) => c.innerText).join('\\t'))"
        )
    ]


def point(page, map_number, column, row):
    """Where a cell of a map of the gates' view is in the window."""
    return page.evaluate(
        """([k, column, row]) => {
          const map = page.views[1].maps[k];
          map.element.scrollIntoView();
          const box = map.canvas.getBoundingClientRect();
          const x = AXIS + (column + 0.5) * map.cell - map.scroll.scrollLeft;
          return [box.left + x, box.top + map.top + (row + 0.5) * map.row];
        }""",
        [map_number, column, row],
    )


def shown(value):
    """A number as the page writes it with four digits."""
    return float(f"{value:.4g}")
