"""Hydra's way to Gatewise's sweeps: ``hydra/sweeper=gatewise``, which ``gatewise train`` uses.

Hydra takes sweepers from this namespace package alone. It reads this file for every command, so what a sweep
needs is imported when there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

# The settings of a sweep are those of the config's own section.
ConfigStore.instance().store(
    group="hydra/sweeper",
    name="gatewise",
    node={"_target_": "hydra_plugins.gatewise_sweeper.GatewiseSweeper", "params": "${sweep.params}"},
    provider="gatewise",
)


class GatewiseSweeper(Sweeper):
    """Grids, seeds and searches with one directory per sweep, which survive being interrupted."""

    def __init__(self, params: Mapping[str, Any] | None) -> None:
        self._params: Any = {} if params is None else params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._context, self._task, self._config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        """Carry out the sweep of these overrides; raises ValueError where every training failed."""
        if not isinstance(self._params, Mapping):
            from gatewise.settings import SettingError

            raise SettingError(
                f'sweep.params must hold values by setting, as in {{optimizer.lr: "0.1,0.01"}}, got '
                f"{self._params!r}"
            )
        from gatewise.sweeps.sweep import sweep

        return sweep(self._config, self._context, self._task, dict(self._params), arguments)
