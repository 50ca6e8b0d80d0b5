"""Pages looked at in headless Chromium, which must neither complain nor ask for anything from elsewhere."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--force-color-profile=srgb"),
]


def chromium() -> str:
    """The path of Chromium; skips the test where there is none, but fails it with CI=true."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        path = None
    if path is None:
        reason = "needs Chromium and playwright (apt install chromium; pip install playwright)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@contextmanager
def browser() -> Iterator[Any]:
    """A browser to open pages in."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=OPTIONS)
        try:
            yield running
        finally:
            running.close()


@contextmanager
def opened(running: Any, file: Path, state: dict[str, Any] | None = None, **settings: Any) -> Iterator[Any]:
    """A page of a file, once it is ready; in the end, an error where it complained or asked for anything."""
    context = running.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    own = file.as_uri()

    def note(request: Any) -> None:
        if not request.url.startswith((own, "blob:", "data:")):
            complaints.append(f"asked for {request.url}")

    page.on("request", note)
    try:
        page.goto(own + (f"#{quote(json.dumps(state))}" if state else ""))
        drawn(page)
        yield page
        assert complaints == []
    finally:
        context.close()


def drawn(page: Any) -> None:
    """Wait until a page says that it is ready."""
    # Not by wait_for_function, whose text the page's policy does not let it evaluate.
    page.evaluate(
        """async () => {
          const isReady = () => document.documentElement.dataset.ready === "yes";
          while (!isReady()) await new Promise((next) => setTimeout(next, 2));
        }"""
    )
