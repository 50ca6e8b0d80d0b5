"""Libraries that are kept here as they were published: none of their bytes has changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import gatewise.views.vendor

FOLDER = Path(gatewise.views.vendor.__path__[0])
PUBLISHED = {
    # npm, uplot 1.6.32
    "uplot/uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uplot/uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}


def test_what_is_vendored_is_what_was_published():
    for name, digest in PUBLISHED.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, name
    others = {
        path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.*") if path.suffix in (".js", ".css")
    }
    assert others == set(PUBLISHED)
    assert "MIT" in (FOLDER / "uplot" / "LICENSE").read_text()
