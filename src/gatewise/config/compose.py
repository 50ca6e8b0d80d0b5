"""The configuration behind a verb: where its files lie, and how it is composed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from gatewise.config.explain import Composition, explain
from gatewise.settings import SettingError, UsageError


def conf_folder() -> Path:
    """Gatewise's own ``conf/``: inside the package where it was installed, else beside ``src/``."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parents[1] / "conf"


def user_folder() -> Path | None:
    """``conf/`` of the working folder, or None where there is none or it is Gatewise's own."""
    folder, ours = Path.cwd() / "conf", conf_folder()
    if not folder.is_dir() or (ours.is_dir() and folder.samefile(ours)):
        return None
    return folder


def _warn_of_shadowed(user: Path) -> None:
    """Say which of the user's choices can never be chosen, as ours of that name is found first."""
    ours = conf_folder()
    for path in sorted(user.rglob("*.yaml")):
        name = path.relative_to(user)
        if len(name.parts) > 1 and (ours / name).is_file():
            print(
                f"gatewise: conf/{name} is not used: Gatewise has one of that name; rename it",
                file=sys.stderr,
            )


def register_resolvers() -> None:
    """Make ``${gatewise.cwd:}``, the current working directory, known to OmegaConf."""
    OmegaConf.register_new_resolver("gatewise.cwd", lambda: str(Path.cwd()), replace=True)


@contextmanager
def hydra_session(verb: str, main: str | None = None, extra: str | None = None) -> Iterator[Hydra]:
    """A Hydra that finds configs in ``main`` (default: ours), then ``extra``, then the user's ``conf/``.

    What is found first wins: a user's folder adds choices, and cannot replace ours. Raises UsageError where
    ``extra`` is no folder.
    """
    version.setbase("1.3")
    register_resolvers()
    search_path = create_config_search_path(main or str(conf_folder()))
    # Hydra wants its schemas to come last.
    last = SearchPathQuery(provider="schema")
    if extra is not None:
        if not Path(extra).is_dir():
            raise UsageError(f"--config-dir {extra}: no such folder")
        search_path.prepend("command-line", f"file://{Path(extra).resolve()}", anchor=last)
    user = user_folder()
    if user is not None:
        _warn_of_shadowed(user)
        search_path.prepend("working-folder", f"file://{user}", anchor=last)
    # Hydra keeps itself and its config in singletons; a job that composes another config needs its own back.
    outer, outer_config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    try:
        yield Hydra.create_main_hydra2(task_name=verb, config_search_path=search_path)
    finally:
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = outer_config
        if outer is not None:
            GlobalHydra.instance().initialize(outer)


def compose(verb: str, overrides: list[str]) -> DictConfig:
    """The config that ``gatewise VERB OVERRIDES`` runs with.

    Raises ValueError with the line that the command would print.
    """
    with hydra_session(verb) as hydra, explained(Composition(hydra, verb, overrides)):
        config = hydra.compose_config(verb, list(overrides), RunMode.RUN, from_shell=False)
        with open_dict(config):
            del config["hydra"]
        return config


@contextmanager
def explained(composition: Composition) -> Iterator[None]:
    """Turn what a user misspelt in settings and config files into a SettingError of one line."""
    try:
        yield
    except Exception as error:
        line = explain(error, composition)
        if line is None:
            raise
        raise SettingError(line) from error
