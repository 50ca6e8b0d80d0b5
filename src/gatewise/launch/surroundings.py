"""The environment that libraries read as they are imported, made such that they do not stumble over it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import MutableMapping
from pathlib import Path

NO_HOME = "/nonexistent"
"""The home directory of a user who has none, as Debian calls it."""
_BACKENDS = (
    *("agg", "cairo", "gtk3agg", "gtk3cairo", "gtk4agg", "gtk4cairo", "inline", "ipympl", "macosx"),
    *("nbagg", "notebook", "pdf", "pgf", "ps", "qt5agg", "qt5cairo", "qtagg", "qtcairo", "svg", "template"),
    *("tkagg", "tkcairo", "webagg", "widget", "wx", "wxagg", "wxcairo"),
)
"""Names that matplotlib takes, by any case."""


def settle_surroundings(environment: MutableMapping[str, str] = os.environ) -> list[str]:
    """Give libraries a home and a user's name, and take away what ends them or changes a training unseen.

    Returns a line for each variable that is not used.
    """
    _name_user(environment)
    _soften_warnings()
    # The address of another program's helper process, which may be gone.
    environment.pop("WANDB_SERVICE", None)
    unused = []
    backend = environment.get("MPLBACKEND", "agg")
    if backend.lower() not in _BACKENDS and not backend.startswith("module://"):
        del environment["MPLBACKEND"]
        unused.append(f"MPLBACKEND={backend} is not used: matplotlib has no such backend")
    # Lightning would train with them, and no config would say so.
    for name in [name for name in environment if name.startswith("PL_TRAINER_")]:
        setting = f"trainer.{name.removeprefix('PL_TRAINER_').lower()}"
        unused.append(f"{name}={environment.pop(name)} is not used: give {setting}=... instead")
    return unused


def _name_user(environment: MutableMapping[str, str]) -> None:
    """In containers a process may run as a number that is nobody's: libraries ask who it is, and fail."""
    try:
        Path("~").expanduser()
    except RuntimeError:
        environment["HOME"] = NO_HOME
    if not hasattr(os, "getuid") or any(environment.get(n) for n in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        return
    import pwd

    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        environment["LOGNAME"] = f"{os.getuid()}"


def _soften_warnings() -> None:
    """Have Python warn as it does by itself where ``PYTHONWARNINGS=error`` makes errors of all warnings.

    Libraries warn as they are imported.
    """
    if any(option.partition(":")[0].strip() in ("e", "error") for option in sys.warnoptions):
        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
