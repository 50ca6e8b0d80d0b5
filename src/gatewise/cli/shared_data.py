"""Data that the trainings of a sweep have in common: read once in each process."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from gatewise.cli.assemble import make_data
from gatewise.data.module import SequenceDataModule

MOST = 4
"""DataModules kept: those of several seeds, which may split the data each in its way."""

_kept: dict[tuple[str, str], SequenceDataModule] = {}


def shared_data(config: DictConfig, sweep: str) -> SequenceDataModule:
    """As :func:`make_data`; one object for all trainings of ``sweep`` with the same settings of ``data``.

    It holds what was read and nothing of a training.
    """
    key = (sweep, OmegaConf.to_yaml(config.data, resolve=True))
    data = _kept.pop(key, None)
    if data is None:
        data = make_data(config)
        while len(_kept) >= MOST:
            del _kept[next(iter(_kept))]
    data.trainer = None
    _kept[key] = data
    return data
