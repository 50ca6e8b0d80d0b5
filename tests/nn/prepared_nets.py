"""Nets whose calls are prepared, and who notes that they are."""

from __future__ import annotations

import pytest
import torch

from gatewise.cells import GRU, LSTM, RNN, LayerNormLSTM, MinLSTM, PeepholeLSTM, ProjectedLSTM
from gatewise.nn import Recurrent

CELLS = [LSTM(), GRU(), RNN(), LayerNormLSTM(), PeepholeLSTM(), ProjectedLSTM(2), MinLSTM()]


def noted(prepared: type, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call of a class of prepared calls had a result, from now on."""
    found: list[bool] = []
    run = prepared.run  # type: ignore[attr-defined]

    def spy(self, *args):
        result = run(self, *args)
        found.append(result is not None)
        return result

    monkeypatch.setattr(prepared, "run", spy)
    return found


def make(cell=None, **settings) -> Recurrent:
    torch.manual_seed(0)
    return Recurrent(3, 4, cell=cell or LSTM(), **settings).double()


def draw(net: Recurrent, time: int, batch: int):
    x = torch.randn(*((batch, time) if net.batch_first else (time, batch)), 3, dtype=torch.float64)
    return x, tuple(torch.randn(net.num_layers, batch, size).double() for size in net.state_sizes)
