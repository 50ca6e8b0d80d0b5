"""The public data that a test needs and that does not come with pip, where the user's setting says it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = os.environ.get("GATEWISE_DATA", "")
"""Read before a test takes the variable away."""


def public_data(name: str) -> Path:
    """The folder that holds the known set ``name``; without it the test is skipped, in CI it fails."""
    from gatewise.data.known.finding import Places, state
    from gatewise.data.known.sets import SETS

    if DATA and state(Places(SETS[name], Path(DATA))).word == "here":
        return Path(DATA)
    why = f"the known set {name} is not in GATEWISE_DATA={DATA or '(not set)'}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{why}: set it, or run: gatewise data get {name}")
    pytest.skip(why)
