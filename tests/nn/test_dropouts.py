"""Dropouts of ``Recurrent``: variational, between layers, DropConnect, zoneout."""

import pytest
import torch

from gatewise.cells import GRU, RNN
from gatewise.engine import ENGINES
from gatewise.nn import Recurrent

T, B, F, H = 6, 5, 3, 4


def same_weights(recurrent, U=0.0, W=0.0):
    """Multiples of the identity for U and W, no biases: a ReLU network then shows its masks."""
    with torch.no_grad():
        for layer in recurrent.layers:
            torch.nn.init.eye_(layer.weight_ih).mul_(U)
            torch.nn.init.eye_(layer.weight_hh).mul_(W)
            layer.bias.zero_()
    return recurrent


# Dropouts. p = ½ keeps an entry as 1 / (1 - ½) = 2.

DROPOUTS = ("dropout", "input_dropout", "state_dropout", "weight_dropout", "zoneout")


@pytest.mark.parametrize("engine", ["loop", "auto"])
def test_state_dropout_has_one_mask_for_all_steps(engine):
    """With U = 0, W = 1, h₀ = 1: h_t = (m·)ᵗ 1, so 2ᵗ or 0 where one mask m acts at every step."""
    torch.manual_seed(0)
    recurrent = same_weights(Recurrent(8, 8, cell=RNN("relu"), state_dropout=0.5, engine=engine), W=1)
    outputs, _ = recurrent(torch.randn(T, B, 8), torch.ones(1, B, 8))
    mask = outputs[0]
    assert set(mask.unique().tolist()) == {0.0, 2.0}
    for t in range(T):
        assert torch.equal(outputs[t], mask ** (t + 1))
    assert len(mask.unique(dim=0)) > 1  # another for each sequence
    again, _ = recurrent(torch.randn(T, B, 8), torch.ones(1, B, 8))
    assert not torch.equal(again, outputs)  # and for each call


def test_state_dropout_drops_what_the_recurrent_product_sees_and_not_the_state():
    """GRU with z ≈ 1 carries h on: the state itself is never masked."""
    torch.manual_seed(0)
    recurrent = same_weights(Recurrent(H, H, cell=GRU(), state_dropout=0.5))
    with torch.no_grad():
        recurrent.layers[0].gate("z")["bias"].fill_(100.0)  # σ(100) = 1 in float32
    outputs, _ = recurrent(torch.randn(T, B, H), torch.ones(1, B, H))
    assert torch.equal(outputs, torch.ones(T, B, H))


@pytest.mark.parametrize("lengths", [None, [6, 6, 6, 6, 6], [3, 6, 1, 0, 4]], ids=str)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_input_dropout_has_one_mask_per_sequence_for_all_steps(lengths, bidirectional):
    """With U = 1, W = 0: h_t = m·x_t, here m itself."""
    torch.manual_seed(0)
    settings = {"cell": RNN("relu"), "input_dropout": 0.5, "bidirectional": bidirectional}
    recurrent = same_weights(Recurrent(16, 16, **settings), U=1)
    outputs, _ = recurrent(torch.ones(T, B, 16), lengths=None if lengths is None else torch.tensor(lengths))
    for b, length in enumerate(lengths or [T] * B):
        mask = outputs[0, b]
        assert torch.equal(outputs[:length, b], mask.expand(length, -1))
        assert not length or set(mask.unique().tolist()) == {0.0, 2.0}
    assert len(outputs[0, :3].unique(dim=0)) == 3


def test_dropout_draws_anew_at_every_step_between_layers():
    torch.manual_seed(0)
    recurrent = same_weights(Recurrent(16, 16, 2, dropout=0.5, cell=RNN("relu")), U=1)
    outputs, _ = recurrent(torch.ones(T, B, 16))
    assert set(outputs.unique().tolist()) == {0.0, 2.0}
    assert len(outputs.flatten(0, 1).unique(dim=0)) == T * B


def test_dropout_with_one_layer_does_nothing():
    recurrent = Recurrent(F, H, dropout=0.5)
    x = torch.randn(T, B, F)
    assert torch.equal(recurrent(x)[0], recurrent.eval()(x)[0])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", ["dropout", "input_dropout", "state_dropout"])
def test_dropouts_keep_the_mean(name, p):
    """Entries are 1/(1-p) with chance 1-p, mean 1 and variance p/(1-p); 5 σ of the mean of n of them."""
    torch.manual_seed(0)
    n, width = 400 * 50, 50
    layers = 2 if name == "dropout" else 1
    recurrent = same_weights(Recurrent(width, width, layers, cell=RNN("relu"), **{name: p}), U=1, W=1)
    x, h = torch.ones(1, 400, width), torch.zeros(layers, 400, width)
    if name == "state_dropout":
        x, h = torch.zeros(1, 400, width), torch.ones(layers, 400, width)
    outputs, _ = recurrent(x, h)
    assert outputs.mean().item() == pytest.approx(1, abs=5 * (p / (1 - p) / n) ** 0.5)


@pytest.mark.parametrize("name", ["dropout", "input_dropout", "state_dropout", "weight_dropout"])
def test_evaluation_ignores_dropouts(name):
    recurrent = Recurrent(F, H, 2, **{name: 0.5})
    plain = Recurrent(F, H, 2)
    plain.load_state_dict(recurrent.state_dict())
    x = torch.randn(T, B, F)
    assert not torch.equal(recurrent(x)[0], plain(x)[0])
    assert torch.equal(recurrent.eval()(x)[0], plain(x)[0])


@pytest.mark.parametrize("engine", ENGINES)
def test_weight_dropout_has_one_mask_of_the_weights_for_the_whole_pass(engine):
    """With U = 0, W = 1, h₀ = 1: the diagonal d of W alone is seen, and h_t = dᵗ in every sequence."""
    torch.manual_seed(0)
    recurrent = same_weights(Recurrent(8, 8, cell=RNN("relu"), weight_dropout=0.5, engine=engine), W=1)
    outputs, _ = recurrent(torch.randn(T, B, 8), torch.ones(1, B, 8))
    mask = outputs[0, 0]
    assert set(mask.tolist()) == {0.0, 2.0}
    for t in range(T):
        assert torch.equal(outputs[t], (mask ** (t + 1)).expand(B, -1))
    outputs.sum().backward()
    diagonal = recurrent.layers[0].weight_hh.grad.diagonal()
    assert torch.equal(diagonal != 0, mask != 0)  # a weight that was dropped is not trained
    assert not torch.equal(recurrent(torch.randn(T, B, 8), torch.ones(1, B, 8))[0], outputs)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("value", [0.25, {"h": 0.25}], ids=str)
def test_zoneout_keeps_features_for_a_step_with_its_probability(value, engine):
    """With U = 1, W = 0, x_t = t: h_t is t, or what it was before."""
    torch.manual_seed(0)
    recurrent = same_weights(Recurrent(50, 50, cell=RNN("relu"), zoneout=value, engine=engine), U=1)
    x = torch.arange(1.0, 21.0)[:, None, None].expand(20, 4, 50)
    outputs, _ = recurrent(x)
    before = torch.cat([torch.zeros(1, 4, 50), outputs[:-1]])
    kept = outputs == before
    assert torch.equal(outputs, torch.where(kept, before, x))
    # 5 σ of the mean of n draws.
    assert kept.float().mean().item() == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / kept.numel()) ** 0.5)
    assert len(kept.flatten(0, 1).unique(dim=0)) == 20 * 4  # another for each step and sequence


@pytest.mark.parametrize("engine", ENGINES)
def test_zoneout_takes_the_expected_value_in_evaluation(engine):
    """h_t = ¼ h_{t-1} + ¾ x_t, with x = 1 from h₀ = 0: 1 - ¼ᵗ."""
    recurrent = same_weights(Recurrent(3, 3, cell=RNN("relu"), zoneout=0.25, engine=engine), U=1).eval()
    outputs, _ = recurrent(torch.ones(T, B, 3))
    expected = 1 - 0.25 ** torch.arange(1.0, T + 1)
    torch.testing.assert_close(outputs, expected[:, None, None].expand(T, B, 3), rtol=0, atol=1e-6)


def test_zoneout_of_the_cell_state_alone():
    """The gates say what the new c would be; h is made of that in any case."""
    torch.manual_seed(0)
    recurrent = Recurrent(F, H, 2, bidirectional=True, zoneout={"c": 0.5})
    *_, g = recurrent(torch.randn(T, B, F), return_gates=True)
    c = g["c"][0]
    before = torch.cat([torch.zeros(1, B, H), c[:-1]])
    new = g["f"][0] * before + g["i"][0] * g["n"][0]
    kept = c == before
    assert kept.any()
    assert not kept.all()
    torch.testing.assert_close(c, torch.where(kept, before, new))
    torch.testing.assert_close(g["h"][0], g["o"][0] * new.tanh())


def test_zoneout_masks_are_the_sequences_own():
    """More padding behind the same sequences draws the same masks."""
    recurrent = Recurrent(F, H, 2, bidirectional=True, zoneout=0.5)
    x, lengths = torch.randn(T + 3, B, F), torch.tensor([3, 6, 1, 0, 4])
    torch.manual_seed(1)
    outputs, final = recurrent(x[:T], lengths=lengths)
    torch.manual_seed(1)
    longer, longer_final = recurrent(x, lengths=lengths)
    assert torch.equal(longer[:T], outputs)
    assert not longer[T:].any()
    assert all(map(torch.equal, longer_final, final))


def test_dropouts_come_from_the_seed():
    recurrent = Recurrent(F, H, 2, **dict.fromkeys(DROPOUTS, 0.3))
    x = torch.randn(T, B, F)

    def outputs():
        torch.manual_seed(7)
        return recurrent(x)[0]

    assert torch.equal(outputs(), outputs())


def test_dropouts_of_a_batch_without_steps():
    recurrent = Recurrent(F, H, 2, **dict.fromkeys(DROPOUTS, 0.3))
    outputs, _ = recurrent(torch.randn(T, B, F), lengths=torch.zeros(B, dtype=torch.int64))
    outputs.sum().backward()
    assert not any(p.grad.any() for p in recurrent.parameters())
