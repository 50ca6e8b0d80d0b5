"""The configuration behind a verb: in which folders its files lie, and how it is composed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hydra import initialize_config_dir, initialize_config_module
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from gatewise.config import hydra_internals
from gatewise.config.explain import Composition, explain
from gatewise.config.naming import NamingLoader
from gatewise.config.users_files import check_chosen
from gatewise.runs.around import run_around
from gatewise.settings import SettingError, UsageError, one_line
from gatewise.settings.checks import no_path, short

PACKAGE = "pkg://"
"""What the name of a package begins with where a folder may stand as well."""


@dataclass(frozen=True)
class Folders:
    """Where config files are looked for; what is found first wins."""

    main: str
    """An absolute folder, or ``pkg://`` and a package."""
    others: tuple[tuple[str, str], ...] = ()
    """(who brought it, absolute folder), searched in this order after ``main``."""
    are_copies: bool = False
    """Whether they stand in for every folder there is now, so that none of those is searched."""


def conf_folder() -> Path:
    """Gatewise's own ``conf/``: inside the package where it was installed, else beside ``src/``."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parents[1] / "conf"


def user_folder() -> Path | None:
    """``conf/`` of the working folder, or None where there is none that is the user's.

    It may be Gatewise's own, or lie in a run directory, whose files are a stranger's.
    """
    folder, of_gatewise = Path.cwd() / "conf", conf_folder()
    if not folder.is_dir() or (of_gatewise.is_dir() and folder.samefile(of_gatewise)):
        return None
    return None if run_around(folder) is not None else folder


def import_users_modules() -> None:
    """Have the modules of the working folder be found, where the user keeps a ``conf/`` beside them.

    They come last, so that none takes the place of an installed one. A run directory may have come from
    anywhere, and none of its files is run.
    """
    here = Path.cwd()
    if user_folder() is not None and run_around(here) is None and str(here) not in sys.path:
        sys.path.append(str(here))


def folders(main: str | None = None, extra: str | None = None) -> Folders:
    """``main`` (Gatewise's ``conf/`` where it is None), then ``extra``, then the user's ``conf/``.

    So a user's folder adds choices, and cannot replace Gatewise's; stderr names those that tried. Raises
    UsageError where ``extra`` is no folder.
    """
    others = []
    if extra is not None:
        if no_path(extra) is not None:
            raise UsageError(f"--config-dir {short(extra)}: {no_path(extra)}")
        if not extra or not Path(extra).is_dir():
            raise UsageError(f"--config-dir {extra}: no such folder")
        others.append(("command-line", str(Path(extra).resolve())))
    user = user_folder()
    inside = run_around(Path.cwd() / "conf")
    if user is None and inside is not None and Path("conf").is_dir():
        why = f"it lies in the run directory {inside}, which may be a stranger's"
        print(one_line(f"gatewise: {Path.cwd() / 'conf'} is not read: {why}"), file=sys.stderr)
    if user is not None:
        _warn_of_shadowed(user)
        others.append(("working-folder", str(user)))
    if main is None:
        main = str(conf_folder())
    elif no_path(main) is not None:
        raise UsageError(f"--config-path {short(main)}: {no_path(main)}")
    elif not main.startswith(PACKAGE):
        main = str(Path(main).resolve())
    return Folders(main, tuple(others))


def _warn_of_shadowed(user: Path) -> None:
    """Say which of the user's choices can never be chosen, as Gatewise's of that name is found first."""
    of_gatewise = conf_folder()
    for path in sorted(user.rglob("*.yaml")):
        name = path.relative_to(user)
        if len(name.parts) > 1 and (of_gatewise / name).is_file():
            print(
                f"gatewise: conf/{one_line(str(name))} is not used: Gatewise has one of that name; rename it",
                file=sys.stderr,
            )


def register_resolvers() -> None:
    """Make ``${gatewise.cwd:}``, the current working directory, known to OmegaConf."""
    OmegaConf.register_new_resolver("gatewise.cwd", lambda: str(Path.cwd()), replace=True)


class _SearchedFolders(SearchPathPlugin):
    """Adds the folders of the session that is being started; in any other program of Hydra's, nothing."""

    current: ClassVar[Folders | None] = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.current is None:
            return
        if self.current.are_copies:
            path = search_path.get_path()
            path[:] = [e for e in path if e.provider == "main" or not is_folder(str(e.path))]
        for provider, folder in self.current.others:
            search_path.append(provider, f"file://{folder}")


def is_folder(place: str) -> bool:
    """Whether an entry of Hydra's search path is a folder of files, and no package."""
    return "://" not in place or place.startswith("file://")


@contextmanager
def hydra_session(verb: str, where: Folders | None = None) -> Iterator[ConfigLoader]:
    """Hydra started for ``verb``, with the loader that composes from ``where`` (default: :func:`folders`)."""
    where = folders() if where is None else where
    register_resolvers()
    import_users_modules()
    Plugins.instance().register(_SearchedFolders)
    # Hydra keeps itself and its config in singletons; a job that composes another config needs its own back.
    outer, outer_config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    try:
        with _started(verb, where):
            hydra_internals.use_loader(NamingLoader(GlobalHydra.instance().config_loader()))
            yield GlobalHydra.instance().config_loader()
    finally:
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = outer_config
        if outer is not None:
            GlobalHydra.instance().initialize(outer)


def _started(verb: str, where: Folders) -> initialize_config_dir | initialize_config_module:
    _SearchedFolders.current = where
    try:
        if where.main.startswith(PACKAGE):
            return initialize_config_module(where.main.removeprefix(PACKAGE), verb, version_base="1.3")
        return initialize_config_dir(where.main, verb, version_base="1.3")
    finally:
        _SearchedFolders.current = None


def compose(verb: str, overrides: list[str]) -> DictConfig:
    """The config that ``gatewise VERB OVERRIDES`` runs with.

    Raises ValueError with the line that the command would print.
    """
    with hydra_session(verb) as loader, explained(Composition(loader, verb, overrides)):
        config = loader.load_configuration(verb, list(overrides), RunMode.RUN, from_shell=False)
        with open_dict(config):
            del config["hydra"]
        return config


@contextmanager
def explained(composition: Composition) -> Iterator[None]:
    """Turn what a user misspelt in settings and config files into a SettingError of one line."""
    try:
        yield
    except Exception as error:
        check_chosen(composition.loader, composition.overrides)
        line = explain(error, composition)
        if line is None:
            raise
        raise SettingError(line) from error
