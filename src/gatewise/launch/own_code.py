"""Which code runs: what is installed and what the user keeps, and nothing that lies in a run directory.

Needs nothing that Python has not loaded at its start but ``gatewise.runs.around``, which needs no more: until
``leave_out_runs`` has returned, each import may take a module from the working folder.
"""

from __future__ import annotations

import os
import sys

from gatewise.runs.around import MARKS, forget_names, name_as_run, run_around

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec

_STANDARD_LIBRARY = os.path.dirname(os.__file__)  # noqa: PTH120 - pathlib imports a dozen modules
_GATEWISE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
_NAMED = ("run=", "resume=", "sweep.resume=")
"""Settings of a command line that name a run or a sweep."""


class _Guard:
    """Refuses to import what lies in a run directory, whatever finds it and whatever would load it.

    The first of ``sys.meta_path``.
    """

    trusted: tuple[str, ...] = ()
    """Folders of the standard library and of installed packages, whose files need not be looked at."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: object = None
    ) -> ModuleSpec | None:
        """None where the next finder is to be asked; ImportError for a module of a run directory."""
        if path is not None and all(str(place).startswith(cls.trusted) for place in path):
            return None
        for finder in sys.meta_path:
            if finder is cls or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)  # type: ignore[arg-type]
            if spec is not None:
                return cls._checked(spec)
        return None

    @classmethod
    def _checked(cls, spec: ModuleSpec) -> ModuleSpec:
        if spec.origin in ("built-in", "frozen"):
            return spec
        locations = list(spec.submodule_search_locations or ())
        if spec.origin is None:
            # A namespace has parts: one in a run directory is left out, and is refused where it is the only.
            inside = [place for place in locations if cls._run(place) is not None]
            if inside and len(inside) < len(locations):
                rest = type(spec)(spec.name, None, is_package=True)
                rest.submodule_search_locations = [place for place in locations if place not in inside]
                return rest
        for place in (spec.origin, spec.cached, *locations):
            run = None if place is None else cls._run(place)
            if run is not None:
                raise ImportError(
                    f"{place} lies in the run directory {run}, and nothing of a run directory is run",
                    name=spec.name,
                )
        return spec

    @classmethod
    def _run(cls, place: str) -> str | None:
        return None if place.startswith(cls.trusted) else run_around(place)


def leave_out_runs(words: Sequence[str] = ()) -> None:
    """Have no module be imported from a run directory, nor from a folder that ``words`` name as one.

    ``words`` are those of a command line. What the module path, or that of programs, has of them is taken out
    of it; and so is the working folder where it lies in one, of this process and of all Python processes
    that it starts.
    """
    forget_names()
    for word in words:
        setting = word.lstrip("+")
        key = next((key for key in _NAMED if setting.startswith(key)), "")
        value = setting[len(key) :].strip("'\"") if key else ""
        if value not in ("", "null", "last", "all"):
            folder = os.path.expanduser(value)  # noqa: PTH111 - see above
            if any(os.path.lexists(os.path.join(folder, mark)) for mark in MARKS):  # noqa: PTH118 - see above
                name_as_run(folder)
    try:
        here = os.getcwd()  # noqa: PTH109 - see above
    except OSError:  # it was removed
        here = os.sep
    kept = [place for place in sys.path if run_around(place or here) is None]
    if kept != sys.path:
        sys.path[:] = kept
        if "PYTHONPATH" in os.environ:
            listed = os.environ["PYTHONPATH"].split(os.pathsep)
            own = [place for place in listed if place and run_around(place) is None]
            os.environ["PYTHONPATH"] = os.pathsep.join(own)
    programs = os.environ.get("PATH", os.defpath).split(os.pathsep)
    kept = [place for place in programs if run_around(place or here) is None]
    if kept != programs:  # a "." in it, where one works in a run that brings a git of its own
        os.environ["PATH"] = os.pathsep.join(kept) or os.devnull  # empty, it would be the working folder
    if run_around(here) is not None:
        os.environ["PYTHONSAFEPATH"] = "1"  # from Python 3.11 on
    _set_guard()


def refuse_imports_from(folder: os.PathLike[str]) -> None:
    """Have no module be imported from a folder, which was opened as a run, whatever it looks like."""
    name_as_run(folder)
    _set_guard()


def _set_guard() -> None:
    installed = [place for place in sys.path if "-packages" in place and run_around(place) is None]
    _Guard.trusted = tuple(f"{place}{os.sep}" for place in (_STANDARD_LIBRARY, _GATEWISE, *installed))
    if _Guard not in sys.meta_path:
        sys.meta_path.insert(0, _Guard)


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs ``module`` in a fresh Python, which finds the modules that this process finds.

    ``python -m`` would look into the working folder first, whosever it is.
    """
    code = (
        f"import sys; sys.path[:] = {sys.path!a}; "
        f"import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", code, *arguments]


class OutsideOfRuns:
    """Works elsewhere where the working folder lies in a run directory, whose settings are a stranger's.

    W&B reads ``wandb/settings`` of the working folder, which names the server that gets the user's key.
    """

    def __enter__(self) -> None:
        self._here = os.getcwd()  # noqa: PTH109
        if run_around(self._here) is not None:
            os.chdir(os.sep)

    def __exit__(self, *_: object) -> None:
        os.chdir(self._here)
