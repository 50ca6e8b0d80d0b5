"""The environment that libraries read as they are imported, made such that they do not stumble over it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import MutableMapping

NO_HOME = "/nonexistent"
"""The home directory of a user who has none, as Debian calls it."""
_BACKENDS = (
    *("agg", "cairo", "gtk3agg", "gtk3cairo", "gtk4agg", "gtk4cairo", "inline", "ipympl", "macosx"),
    *("nbagg", "notebook", "pdf", "pgf", "ps", "qt5agg", "qt5cairo", "qtagg", "qtcairo", "svg", "template"),
    *("tkagg", "tkcairo", "webagg", "widget", "wx", "wxagg", "wxcairo"),
)
"""Names that matplotlib takes, by any case."""
_OF_LOADING = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")


def settle_surroundings(environment: MutableMapping[str, str] = os.environ) -> list[str]:
    """Give libraries a home and a user's name, and take away what ends them or changes a training unseen.

    Returns a line for each variable that is not used.
    """
    unused = _name_user(environment)
    _soften_warnings()
    # The address of another program's helper process, which may be gone.
    environment.pop("WANDB_SERVICE", None)
    # Else W&B tells its makers how it is used, from an offline training too.
    environment.setdefault("WANDB_ERROR_REPORTING", "false")
    backend = environment.get("MPLBACKEND", "agg")
    if backend.lower() not in _BACKENDS and not backend.startswith("module://"):
        del environment["MPLBACKEND"]
        unused.append(f"MPLBACKEND={backend} is not used: matplotlib has no such backend")
    if all(environment.get(name, "").lower() in ("1", "y", "yes", "true") for name in _OF_LOADING):
        # With both no checkpoint can be read; the one that stays is what Gatewise asks for anyway.
        del environment[_OF_LOADING[1]]
        unused.append(f"{_OF_LOADING[1]} is not used: {_OF_LOADING[0]} says the opposite")
    # Lightning would train with them, and no config would say so.
    for name in [name for name in environment if name.startswith("PL_TRAINER_")]:
        setting = f"trainer.{name.removeprefix('PL_TRAINER_').lower()}"
        unused.append(f"{name}={environment.pop(name)} is not used: give {setting}=... instead")
    return unused


def _name_user(environment: MutableMapping[str, str]) -> list[str]:
    """In containers a process may run as a number that is nobody's: libraries ask who it is, and fail.

    Where a home is no absolute path they would make folders in the working folder, or in that of the system.
    """
    if not hasattr(os, "getuid"):
        return []
    import pwd

    try:
        home = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        home = NO_HOME
        if not any(environment.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
            environment["LOGNAME"] = f"{os.getuid()}"
    given = environment.get("HOME", "")
    if given.startswith(os.sep):
        return []
    environment["HOME"] = home if home.startswith(os.sep) else NO_HOME
    return [f"HOME={given} is not used: it is no absolute path"] if given else []


def _soften_warnings() -> None:
    """Have Python warn as it does by itself where ``PYTHONWARNINGS=error`` makes errors of all warnings.

    Libraries warn as they are imported.
    """
    if any(option.partition(":")[0].strip() in ("e", "error") for option in sys.warnoptions):
        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
