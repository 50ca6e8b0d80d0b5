"""A source of files on this machine, that is asked again at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gatewise.data.known import transfer
from http_source import Source


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    monkeypatch.setattr(transfer, "PAUSE_SECONDS", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    served = Source()
    yield served
    served.close()
