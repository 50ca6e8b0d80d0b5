"""The microscope's pages, open for all of its tests."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from microscope import PAYLOADS

from browser import opened
from gatewise.views.inspect.page import page as made_page


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspected")
    for name, values in PAYLOADS.items():
        (folder / f"{name}.html").write_text(made_page(values), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in PAYLOADS}


@pytest.fixture(scope="module")
def look_at(running, files):
    """Opens a page by its name; it stays open for other tests, and in the end has not complained."""
    pages = {}
    with ExitStack() as stack:

        def look(name):
            if name not in pages:
                pages[name] = stack.enter_context(opened(running, files[name]))
            return pages[name]

        yield look


@pytest.fixture
def one(look_at):
    return look_at("one")


@pytest.fixture
def two(look_at):
    return look_at("two")
