"""``Cell.noise``: random blocks of a user's own cell, on every engine."""

from __future__ import annotations

import pytest
import torch
from torch import tanh

from gatewise.cells import Cell
from gatewise.engine import ENGINES
from gatewise.nn import Recurrent


class DropCandidate(Cell):
    """Drops features of the candidate, others at each step; in evaluation none."""

    gates = ("n",)
    states = ("h",)
    noise = ("keep",)

    def __init__(self, share: float = 0.25) -> None:
        self.share = share

    def draw_noise(self, name, block, training):
        assert name == "keep"
        return block.bernoulli_(1 - self.share).div_(1 - self.share) if training else block.fill_(1)

    def step(self, a, r, s, p):  # noqa: ARG002
        h = tanh(a.n + r.n) * a.keep
        return (h,), {"n": h}


class Jitter(Cell):
    """Noise as it is where a cell does not say how to draw it, in two blocks."""

    gates = ("n",)
    states = ("h",)
    noise = ("first", "second")

    def step(self, a, r, s, p):  # noqa: ARG002
        return (a.first,), {"first": a.first, "second": a.second}


def alike(cell: Cell, engine: str, **settings) -> Recurrent:
    torch.manual_seed(0)
    return Recurrent(3, 50, cell=cell, engine=engine, **settings)


@pytest.mark.parametrize("engine", ENGINES)
def test_each_step_and_feature_is_drawn_anew_in_training_alone(engine):
    x = torch.randn(40, 10, 3)
    recurrent = alike(DropCandidate(), engine)
    torch.manual_seed(1)
    outputs, _ = recurrent(x)
    dropped = outputs == 0
    # 20,000 draws of probability ¼: a standard deviation of 0.003.
    assert abs(dropped.float().mean().item() - 0.25) < 0.015
    assert not (dropped[1:] == dropped[:-1]).all()
    torch.manual_seed(1)
    torch.testing.assert_close(alike(DropCandidate(), "loop")(x)[0].shape, outputs.shape)
    evaluated, _ = recurrent.eval()(x)
    assert not (evaluated == 0).any()
    torch.testing.assert_close(recurrent(x)[0], evaluated)


@pytest.mark.parametrize("zoneout", [0.0, 0.3])
@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "loop"])
def test_engines_agree_on_the_same_draws(engine, zoneout):
    def run(engine):
        recurrent = alike(DropCandidate(), engine, num_layers=2, bidirectional=True, zoneout=zoneout).double()
        torch.manual_seed(1)
        x = torch.randn(5, 3, 3, dtype=torch.float64, requires_grad=True)
        outputs, _ = recurrent(x, lengths=torch.tensor([5, 2, 4]))
        return outputs, *torch.autograd.grad(outputs.square().sum(), [x, *recurrent.parameters()])

    torch.testing.assert_close(run(engine), run("loop"), rtol=1e-11, atol=1e-11)


def test_without_a_say_it_is_standard_normal_and_none_in_evaluation():
    recurrent = alike(Jitter(), "loop")
    *_, gates = recurrent(torch.zeros(40, 20, 3), return_gates=True)
    for block in (gates["first"], gates["second"]):  # 40,000 draws
        assert abs(block.mean().item()) < 0.03
        assert abs(block.std().item() - 1) < 0.03
    assert not torch.equal(gates["first"], gates["second"])
    assert recurrent.eval()(torch.zeros(4, 2, 3))[0].abs().sum() == 0


@pytest.mark.parametrize("wrong", [lambda block: block[0], lambda block: 0.5])  # noqa: ARG005
def test_noise_of_another_shape_is_one_line(wrong):
    class Wrong(Jitter):
        def draw_noise(self, name, block, training):  # noqa: ARG002
            return wrong(block.zero_())

    with pytest.raises(ValueError, match=r"^Wrong\.draw_noise must return \[\d+, 50\] for 'first', got"):
        alike(Wrong(), "loop")(torch.zeros(4, 2, 3))
