"""A working folder in which commands run as a user's would."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from workplace import Place


@pytest.fixture(autouse=True, scope="session")
def _as_on_a_users_machine() -> Iterator[None]:
    """No settings from the environment, and tables as wide as their lines."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GATEWISE_DATA", "GATEWISE_TRACEBACK", "WANDB_MODE", "WANDB_PROJECT", "WANDB_DIR"):
            patch.delenv(name, raising=False)
        patch.setenv("COLUMNS", "200")
        # A shell without job control has what it starts with `&` ignore Ctrl-C, and so do all its children.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "work")
