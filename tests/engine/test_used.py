"""Which engines a training is said to have run on."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import pytest
import torch
from odd_cells import cell_of
from problem import needs_compiler
from torch import Tensor, nn

from gatewise.cells import LSTM, Cell, CoupledLSTM
from gatewise.engine import auto, choice, engines_used, loop
from gatewise.nn import Recurrent


def ran(net: nn.Module, lengths: Tensor | None = None, calls: int = 1) -> list[str]:
    with engines_used() as used:
        for _ in range(calls):
            net(torch.randn(4, 2, 3), lengths=lengths)[0].sum().backward()
    return used.names


Reading = cell_of(lambda _, h, x: h + float(x.detach().sum() > 0), "Reading")
"""Takes a value out of a tensor, which only the loop runs right."""


@needs_compiler
@pytest.mark.parametrize("lengths", [None, torch.tensor([4, 2])])
@pytest.mark.parametrize(
    ("engine", "cell", "expected"),
    [
        ("auto", LSTM(), ["native"]),
        ("native", CoupledLSTM(), ["native"]),
        ("torch", LSTM(), ["torch"]),
        ("torch", CoupledLSTM(), ["function"]),  # torch.nn has no such cell
        ("function", LSTM(), ["function"]),
        ("auto", Reading, ["loop"]),
        ("loop", LSTM(), []),  # what the setting says is what ran
    ],
)
def test_what_was_taken(engine: str, cell: Cell, expected: list[str], lengths: Tensor | None):
    assert ran(Recurrent(3, 5, cell=cell, engine=engine), lengths, calls=3) == expected


@needs_compiler
def test_several_in_one_model():
    both = [Recurrent(3, 5, cell=LSTM()), Recurrent(3, 5, cell=LSTM(), engine="torch")]
    with engines_used() as used:
        for net in both:
            net(torch.randn(4, 2, 3))[0].sum().backward()
    assert used.names == ["native", "torch"]


@needs_compiler
def test_a_call_that_was_prepared_before():
    net, x = Recurrent(3, 5, cell=LSTM()), torch.randn(4, 2, 3)
    net(x)[0].sum().backward()
    with engines_used() as used:
        for _ in range(3):
            net(x)[0].sum().backward()
    assert used.names == ["native"]


def test_what_has_no_gradients_is_no_training():
    with engines_used() as used, torch.no_grad():
        Recurrent(3, 5, cell=LSTM())(torch.randn(4, 2, 3))
    assert used.names == []


def test_nothing_is_noted_after_the_block():
    with engines_used() as used:
        pass
    Recurrent(3, 5, cell=LSTM())(torch.randn(4, 2, 3))
    assert used.names == []


class Clock:
    """Every later call takes longer."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self, _: torch.device) -> float:
        self.time += 1 + self.time / 100
        return self.time

    def done(self, _: float) -> bool:
        return True

    def milliseconds(self, first: float, last: float) -> float:
        return last - first


def test_turns_that_only_measure_count_where_nothing_was_decided(monkeypatch):
    monkeypatch.setattr(auto, "clocks", {"cpu": Clock()})
    monkeypatch.setattr(auto, "_choices", WeakKeyDictionary())
    monkeypatch.setattr(auto, "_file", lambda *_: None)
    monkeypatch.setattr(auto, "_ENGINES", {**auto._ENGINES, "the loop engine": loop.run})
    net = Recurrent(3, 5, cell=LSTM())
    assert ran(net, calls=8) == ["loop", "torch"]
    found = ran(net, calls=2 * (choice.WARM_UPS + choice.MEASURED) + 1)
    (measured,) = auto._choices[net._run_cells[True]].values()
    assert found == [str(measured.winner).split()[1]]
