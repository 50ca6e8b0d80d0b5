"""Importing torch and all that trains: a hundred thousand objects that stay."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from types import ModuleType


def import_to_stay(name: str) -> ModuleType:
    """Import a module without looking for garbage, neither meanwhile nor later in what it brings.

    That would take half a second of the import, and a quarter of a second now and then while a model trains.
    """
    if name in sys.modules:
        return sys.modules[name]
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
