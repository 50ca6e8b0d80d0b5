"""A setting that does nothing beside the others is said in one line, as torch does for ``dropout``."""

from __future__ import annotations

import logging

import pytest
import torch

from gatewise.cells import GRU, LSTM, Cell, MinGRU, PeepholeLSTM
from gatewise.cells.zoneout import zoneout
from gatewise.nn import Recurrent

NO_PRODUCT = "does nothing: MinGRU() has no recurrent product"
CASES = {
    "one layer": ({"dropout": 0.5}, "dropout=0.5 does nothing: it acts between layers"),
    "one layer, two directions": (
        {"dropout": 0.5, "bidirectional": True},
        "dropout=0.5 does nothing: it acts",
    ),
    "two layers": ({"dropout": 0.5, "num_layers": 2}, None),
    "state_dropout": ({"state_dropout": 0.5, "cell": MinGRU()}, f"state_dropout=0.5 {NO_PRODUCT}"),
    "weight_dropout": ({"weight_dropout": 0.5, "cell": MinGRU()}, f"weight_dropout=0.5 {NO_PRODUCT}"),
    "recompute": ({"recompute": True, "engine": "loop"}, "recompute=True does nothing: only engine=native"),
    "recompute, native": ({"recompute": True, "engine": "native"}, None),
    "forget bias": (
        {"cell": LSTM(2), "bias": False},
        "the starting biases {'f': 2.0} of LSTM(forget_bias=2.0)",
    ),
    "forget bias as it is": ({"cell": LSTM(), "bias": False}, None),
    "forget bias and biases": ({"cell": PeepholeLSTM(2)}, None),
    "input_dropout": ({"input_dropout": 0.5}, None),
    "nothing": ({}, None),
}


@pytest.mark.parametrize(("settings", "line"), CASES.values(), ids=CASES)
def test_what_does_nothing_is_said(settings, line, caplog):
    with caplog.at_level(logging.WARNING, "gatewise"):
        Recurrent(3, 4, **settings)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (line is not None)
    assert line is None or said[0].startswith(line)


def test_dropout_of_one_layer_does_nothing_indeed():
    torch.manual_seed(0)
    with_dropout = Recurrent(3, 4, dropout=0.9)
    torch.manual_seed(0)
    without = Recurrent(3, 4)
    x = torch.randn(5, 2, 3)
    assert torch.equal(with_dropout(x)[0], without(x)[0])


def test_recompute_on_another_engine_than_the_native_is_logged(caplog, monkeypatch):
    from gatewise import engine as engines

    monkeypatch.setattr(engines, "_logged", set())
    recurrent = Recurrent(3, 4, cell=GRU(), state_dropout=0.1, recompute=True)
    with caplog.at_level(logging.INFO, "gatewise"), torch.autocast("cpu", torch.float16):
        recurrent(torch.randn(5, 2, 3))
    assert "recompute=True does nothing: GRU runs on the function engine" in caplog.text


def test_the_name_of_a_cell_is_its_class():
    class Mine(GRU):
        pass

    assert Recurrent(3, 4).cell_name == "LSTM"
    assert Recurrent(3, 4, cell=Mine(), zoneout=0.2).cell_name == "Mine"
    zoned: Cell = zoneout(Mine(), {"h": 0.5}, True)
    assert Recurrent(3, 4, cell=zoned).cell_name == "Mine"
