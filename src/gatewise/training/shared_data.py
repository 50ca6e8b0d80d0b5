"""Data that the trainings of a sweep have in common: read once in each process."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from gatewise.config.build import class_of
from gatewise.data.module import SequenceDataModule
from gatewise.training.parts import make_data

MOST = 4
"""DataModules kept: those of several seeds, which may split the data each in its way."""

_kept: dict[tuple[str, str], SequenceDataModule] = {}


def shared_data(config: DictConfig, sweep: str) -> SequenceDataModule:
    """As :func:`make_data`; one object for all trainings of ``sweep`` with the same settings of ``data``.

    It holds what was read and nothing of a training. Where the seed decides nothing of that, it is one for
    all seeds.
    """
    settings = config.data.copy()
    if not getattr(class_of(settings, "data"), "load_draws", True):
        settings.seed = 0
    key = (sweep, OmegaConf.to_yaml(settings, resolve=True))
    data = _kept.pop(key, None)
    if data is None:
        data = make_data(config)
        while len(_kept) >= MOST:
            del _kept[next(iter(_kept))]
    data.trainer = None
    data.seed = int(config.data.get("seed", data.seed))
    _kept[key] = data
    return data
