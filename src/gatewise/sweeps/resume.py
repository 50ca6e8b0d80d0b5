"""What may be given with ``sweep.resume=``."""

from __future__ import annotations

from pathlib import Path

from hydra.core.override_parser.types import Quote, QuotedString

from gatewise.settings import listed
from gatewise.sweeps.folder import Sweep
from gatewise.views.places import short
from gatewise.views.plain import cell, plain_console

CHANGEABLE = ("sweep.jobs", "sweep.retries", "sweep.trials", "hydra.mode")
"""Settings that say how a sweep runs, not what it is; a search may be given more trials."""


def resumed_overrides(given: list[str], sweep: Sweep) -> list[str]:
    """The overrides that a sweep was started with, then those of ``given`` that it may be gone on with.

    Its own may be repeated. Raises ValueError for one that would make it another sweep.
    """
    stored = sweep.plan().overrides
    changed = [text for text in given if text not in stored and text.partition("=")[0] != "sweep.resume"]
    for text in changed:
        key = text.partition("=")[0]
        if key not in (*CHANGEABLE, "paths.sweeps_dir"):
            raise ValueError(
                f"{text}: the sweep {sweep.folder} was started without it; with sweep.resume only "
                f"{', '.join(CHANGEABLE[:-1])} may change: leave {key} out, or start a new sweep"
            )
    kept = [text for text in stored if text.partition("=")[0] not in {t.partition("=")[0] for t in changed}]
    # By its folder: a sweep may be gone on with after another was started, or a setting of paths was edited.
    resume = QuotedString(str(sweep.folder), Quote.single).with_quotes()
    return [*kept, *changed, f"sweep.resume={resume}"]


def warn_of_edited(differing: list[Path], sweep: Sweep) -> None:
    """Say which config files are not what they were when the sweep began: it goes on without the changes."""
    if not differing:
        return
    names = listed([short(path) for path in differing], 3)
    line = (
        f"Config files are not what they were: {names}. The sweep goes on with its own, in "
        f"{short(sweep.configs)}"
    )
    plain_console(soft_wrap=True).print(cell(line))
