"""What may be given with ``sweep.resume=``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gatewise.sweeps.folder import Sweep

CHANGEABLE = ("sweep.jobs", "sweep.retries", "sweep.trials", "hydra.mode")
"""Settings that say how a sweep runs, not what it is; a search may be given more trials."""


def resumed_overrides(given: list[str], reference: Any, sweeps_dir: Path) -> list[str]:
    """The overrides that a sweep was started with, then those of ``given`` that it may be gone on with.

    Its own may be repeated. Raises ValueError for one that would make it another sweep.
    """
    sweep = Sweep.open(reference, sweeps_dir)
    stored = sweep.plan().overrides
    changed = [text for text in given if text not in stored]
    for text in changed:
        key = text.partition("=")[0]
        if key not in (*CHANGEABLE, "sweep.resume", "paths.sweeps_dir"):
            raise ValueError(
                f"{text}: the sweep {sweep.folder} was started without it; with sweep.resume only "
                f"{', '.join(CHANGEABLE[:-1])} may change: leave {key} out, or start a new sweep"
            )
    kept = [text for text in stored if text.partition("=")[0] not in {t.partition("=")[0] for t in changed}]
    return [*kept, *changed]
