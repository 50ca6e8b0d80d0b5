"""What Gatewise uses of Hydra's inside: every such name is here, with the reason.

Hydra may rename them in any release. ``pyproject.toml`` allows the minor versions with which
``tests/config/test_hydra_internals.py`` has passed, and that test says which name is gone in another.
"""

from __future__ import annotations

import copy
import io
from contextlib import redirect_stdout
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.types import TaskFunction
from omegaconf import DictConfig

from gatewise.settings import lines

USED = {
    "run": "runs one job with the callbacks of hydra.callbacks, which no public function makes",
    "multirun": "starts the sweeper of a multirun with those callbacks",
    "show_info": "prints the defaults tree and the search path for --info",
}
"""Methods of the object that ``GlobalHydra`` holds, whose class is Hydra's own; and what each is used for.

Of its attributes ``config_loader``, which composes every config.
"""


def use_loader(loader: Any) -> None:
    """Have ``loader`` compose the configs of the Hydra that is started, in place of its own."""
    _hydra().config_loader = loader


def run(config_name: str, task: TaskFunction, overrides: list[str], config: DictConfig) -> None:
    """Do one job on ``config``, which the overrides describe, in the Hydra that is started.

    Hydra would compose it again, which takes a fifth of a second, and twice with ``hydra.verbose=true``.
    """
    hydra = _hydra()
    loader = hydra.config_loader
    not_given = [config]

    class Composed:
        def __getattr__(self, name: str) -> Any:
            return getattr(loader, name)

        def load_configuration(self, *_: Any, **__: Any) -> DictConfig:
            # What it prints of the config with ``hydra.verbose=true`` it prints of another, which it changes.
            return not_given.pop() if not_given else copy.deepcopy(config)

    def begin(config: DictConfig) -> Any:
        hydra.config_loader = loader
        return task(config)

    hydra.config_loader = Composed()
    try:
        hydra.run(config_name=config_name, task_function=begin, overrides=overrides)
    finally:
        hydra.config_loader = loader


def multirun(config_name: str, task: TaskFunction, overrides: list[str]) -> None:
    """Hand ``task`` and the overrides to the sweeper of the config."""
    _hydra().multirun(config_name=config_name, task_function=task, overrides=overrides)


def show_info(about: str, config_name: str, overrides: list[str]) -> None:
    """Print what ``--info`` lists: the defaults tree, the search path, the plugins."""
    with redirect_stdout(io.StringIO()) as shown:
        _hydra().show_info(about, config_name=config_name, overrides=overrides)
    print(lines(shown.getvalue()), end="")


def _hydra() -> Any:
    return GlobalHydra.instance().hydra
