"""What the tests of two runs show, side by side: what the page draws, any other part, and other pictures."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from browser import browser, opened
from gatewise.runs.collection import find, read_all
from gatewise.runs.record import read_record
from gatewise.views.compare import pictures as pictures_of_runs
from gatewise.views.compare.page import page as made_page
from gatewise.views.compare.payload import payload
from gatewise.views.compare.pictures import pictures
from made_runs import made_run


def png(width: int = 3, height: int = 2, beside: bytes = b"") -> bytes:
    """A white picture; what is ``beside`` it makes the file longer."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\xff" * width) * height)
    parts = [chunk(b"IHDR", head), *([chunk(b"teXt", beside)] if beside else []), chunk(b"IDAT", rows)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def running():
    with browser() as it:
        yield it


def shown(running: Any, folder: Path, reports: list[Any]) -> str:
    """The text of the side by side of runs with these reports."""
    for name, report in zip("ab", reports, strict=True):
        place = folder / "runs" / name
        if not place.exists():
            made_run(place)
        (place / "test_report.json").write_text(json.dumps(report))
    file = written(folder)
    with opened(running, file, {"view": "pair", "pair": ["a", "b"]}) as page:
        return page.inner_text(".side-by-side")


def written(folder: Path) -> Path:
    found = find([], folder / "runs", folder / "none")
    file = folder / "x.html"
    file.write_text(made_page(payload(list(read_all(found.places)), found, "x")), encoding="utf-8")
    return file


def test_a_part_that_the_page_does_not_know(running, tmp_path):
    report = {
        "note": "in words",
        "share": 0.25,
        "by length": {"short": {"accuracy": 0.9, "n": 10}, "long": {"accuracy": 0.5}},
        "matrix": [[1, 2.5], [3, None]],
        "rows": [{"word": "the", "times": 7}, {"word": "and", "times": 5}],
        "totals": {"right": 3, "wrong": 1},
        "deep": {"a": {"b": [{"c": 1}]}},
    }
    text = shown(running, tmp_path, [report, {"note": "other"}])
    for part in (
        "note: in words",
        "share: 0.25",
        "\taccuracy\tn\nshort\t0.9\t10\nlong\t0.5",
        "1\t1\t2.5\n2\t3\tnull",
        "\tword\ttimes\n1\tthe\t7\n2\tand\t5",
        "right\t3\nwrong\t1",
        '"c": 1',
        "note: other",
    ):
        assert part in text


FORECASTS = {
    "targets": ["x", "y"],
    "pictured": ["y"],
    "windows": [
        {"seen": [[1, 5], [2, 6]], "truth": [[3, 7]], "forecast": [[3, 8]], "times": ["1", "2", "3"]}
    ],
    "errors": {"y": {"this run": {"mse": 1.0}, "last value": {"mse": 4.0}}},
}


def test_the_targets_that_are_pictured_and_their_errors(running, tmp_path):
    text = shown(running, tmp_path, [{"forecasts": FORECASTS}, {}])
    assert "y, window 1" in text
    assert "x, window 1" not in text
    assert "errors of y\n\tmse\nthis run\t1\nlast value\t4" in text
    with opened(running, tmp_path / "x.html", {"view": "pair", "pair": ["a", "b"]}) as page:
        lines = "document.querySelector('.side-by-side figure').plot.lines.map((l) => [[...l.x], [...l.y]])"
        assert page.evaluate(lines) == [[[-1, 0], [5, 6]], [[0, 1], [6, 7]], [[0, 1], [6, 8]]]


@pytest.mark.parametrize(
    "report",
    [
        {"confusion_matrix": {"counts": [[1]], "classes": None}},
        {"confusion_matrix": {"counts": 3}},
        {"confusion_matrix": [1, 2]},
        {"forecasts": {"windows": [None], "targets": ["x"]}},
        {"forecasts": {"windows": [{}], "targets": ["x"], "errors": 3}},
        {"forecasts": {"windows": [], "targets": None}},
        {"toString": {"a": 1}, "__proto__": [1], "b": {}},
        {"x": [None, True, []]},
    ],
)
def test_a_damaged_report_does_not_break_the_page(running, tmp_path, report):
    text = shown(running, tmp_path, [report, {"b": "still there"}])
    assert "still there" in text


def test_other_pictures_are_shown(running, tmp_path):
    for name in "ab":
        made_run(tmp_path / "runs" / name)
    plots = tmp_path / "runs" / "a" / "plots"
    plots.mkdir()
    (plots / "<b>mine.png").write_bytes(png())
    (plots / "learning_curves.png").write_bytes(png())  # drawn by the page itself
    (plots / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (plots / "web.png").write_text("<html><script>alert(1)</script>")
    with opened(running, written(tmp_path), {"view": "pair", "pair": ["a", "b"]}) as page:
        picture = page.locator("img")
        assert picture.count() == 1
        assert picture.get_attribute("alt") == "<b>mine"
        assert picture.evaluate("(it) => it.decode().then(() => [it.naturalWidth, it.naturalHeight])") == [
            3,
            2,
        ]
        assert "web: no PNG file: see plots/web.png" in page.inner_text(".side-by-side")


def test_pictures_have_their_room(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures_of_runs, "LARGEST_PICTURE", 1000)
    monkeypatch.setattr(pictures_of_runs, "ALL_PICTURES", 1500)
    folder = made_run(tmp_path / "a")
    plots = folder / "plots"
    plots.mkdir()
    (tmp_path / "elsewhere.png").write_bytes(png())
    (plots / "a.png").write_bytes(png(beside=b"x" * 800))
    (plots / "b.png").write_bytes(png(beside=b"x" * 2000))
    (plots / "c.png").symlink_to(tmp_path / "elsewhere.png")
    (plots / "d.png").write_bytes(png(beside=b"x" * 800))
    (plots / "e.png").write_bytes(png()[:16] + struct.pack(">II", 2**16, 2**16) + png()[24:])
    (plots / "f.png").mkdir()
    (plots / "g.png").write_bytes(png())
    (found,) = pictures([read_record(folder)])
    problems = {entry["name"]: entry.get("problem", "") for entry in found}
    assert base64.b64decode(found[0]["data"]) == png(beside=b"x" * 800)
    assert "too large" in problems["b"]
    assert "a link" in problems["c"]
    assert "no room for more" in problems["d"]
    assert "65536 x 65536 pixels" in problems["e"]
    assert "no file" in problems["f"]
    assert "data" in found[6]
    assert pictures([read_record(made_run(tmp_path / "b"))]) == [[]]
