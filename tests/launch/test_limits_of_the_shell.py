"""Too little memory to import torch is said before it is tried."""

from __future__ import annotations

import resource

import pytest

from gatewise.launch.limits import check_limits


@pytest.mark.parametrize(
    ("kind", "limit", "said"),
    [("RLIMIT_AS", 700_000 << 10, "ulimit -v 700000"), ("RLIMIT_DATA", 1 << 20, "ulimit -d 1024")],
)
def test_too_little(kind: str, limit: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {getattr(resource, kind): (limit, limit)}
    monkeypatch.setattr(resource, "getrlimit", lambda number: limits.get(number, (-1, -1)))
    with pytest.raises(ValueError, match=said):
        check_limits()


@pytest.mark.parametrize("limit", [1 << 30, 1 << 40, resource.RLIM_INFINITY])
def test_enough(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    check_limits()
