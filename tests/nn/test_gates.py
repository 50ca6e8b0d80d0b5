"""``return_gates``: every gate and state at every step."""

import itertools

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from gatewise.cells import GRU, LSTM, RNN
from gatewise.engine import ENGINES
from gatewise.nn import Recurrent

T, B, F, H = 6, 3, 2, 4
LENGTHS = torch.tensor([4, 6, 0])
NAMES = {LSTM: {"i", "f", "n", "o", "h", "c"}, GRU: {"r", "z", "n", "h"}, RNN: {"n", "h"}}


def example(cell, layers=2, bidirectional=True, **settings):
    torch.manual_seed(0)
    recurrent = Recurrent(F, H, layers, bidirectional=bidirectional, cell=cell, **settings)
    return recurrent, torch.randn((B, T, F) if recurrent.batch_first else (T, B, F))


@pytest.mark.parametrize("cell", NAMES)
@pytest.mark.parametrize(("layers", "bidirectional"), itertools.product((1, 2), (False, True)))
@pytest.mark.parametrize("batch_first", [False, True])
def test_names_and_shapes(cell, layers, bidirectional, batch_first):
    recurrent, x = example(cell(), layers, bidirectional, batch_first=batch_first)
    *_, gates = recurrent(x, lengths=LENGTHS, return_gates=True)
    stacked = layers * (1 + bidirectional)
    shape = (stacked, B, T, H) if batch_first else (stacked, T, B, H)
    assert {name: tuple(g.shape) for name, g in gates.items()} == dict.fromkeys(NAMES[cell], shape)
    *_, single = recurrent(x[0] if batch_first else x[:, 0], return_gates=True)
    assert {name: tuple(g.shape) for name, g in single.items()} == dict.fromkeys(NAMES[cell], (stacked, T, H))


@pytest.mark.parametrize("cell", NAMES)
@pytest.mark.parametrize("engine", ENGINES)
def test_outputs_and_gradients_are_those_without(cell, engine):
    recurrent, x = example(cell(), engine=engine)
    results = []
    for return_gates in (False, True):
        inputs = x.clone().requires_grad_()
        outputs, final, *_ = recurrent(inputs, lengths=LENGTHS, return_gates=return_gates)
        results.append((outputs, *final, *torch.autograd.grad(outputs.square().sum(), inputs)))
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("cell", NAMES)
def test_h_of_the_last_layer_is_the_output(cell):
    recurrent, x = example(cell())
    outputs, _, gates = recurrent(x, lengths=LENGTHS, return_gates=True)
    assert torch.equal(torch.cat([*gates["h"][-2:]], dim=-1), outputs)


@pytest.mark.parametrize("cell", NAMES)
def test_last_states_are_the_final_state(cell):
    recurrent, x = example(cell(), bidirectional=False)
    _, final, gates = recurrent(x, lengths=LENGTHS, return_gates=True)
    for name, values in final._asdict().items():
        for b, length in enumerate(LENGTHS.tolist()):
            expected = gates[name][:, length - 1, b] if length else torch.zeros(2, H)
            assert torch.equal(values[:, b], expected), name


def test_equations_of_the_lstm_hold_between_them():
    recurrent, x = example(LSTM(), bidirectional=False)
    *_, g = recurrent(x, return_gates=True)
    for name in ("i", "f", "o"):
        assert ((g[name] > 0) & (g[name] < 1)).all(), name
    before = torch.cat([torch.zeros_like(g["c"][:, :1]), g["c"][:, :-1]], dim=1)
    torch.testing.assert_close(g["c"], g["f"] * before + g["i"] * g["n"], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(g["h"], g["o"] * g["c"].tanh(), rtol=1e-6, atol=1e-6)


def test_equations_of_the_gru_hold_backwards_too():
    recurrent, x = example(GRU(), 1)
    *_, g = recurrent(x, return_gates=True)
    h, z, n = (g[name][1] for name in ("h", "z", "n"))
    after = torch.cat([h[1:], torch.zeros_like(h[:1])])  # the reverse direction starts with the last step
    torch.testing.assert_close(h, (1 - z) * n + z * after, rtol=1e-6, atol=1e-6)


def test_gates_are_zero_on_padding_and_there_without_any_step():
    recurrent, x = example(LSTM())
    *_, gates = recurrent(x, lengths=LENGTHS, return_gates=True)
    padding = torch.arange(T)[:, None] >= LENGTHS
    assert not any(gate[:, padding].any() for gate in gates.values())
    *_, empty = recurrent(x, lengths=torch.zeros_like(LENGTHS), return_gates=True)
    assert {n: g.shape for n, g in empty.items()} == {n: g.shape for n, g in gates.items()}
    assert not any(gate.any() for gate in empty.values())


def test_gates_carry_gradients():
    recurrent, x = example(LSTM())
    *_, gates = recurrent(x, return_gates=True)
    gates["f"].sum().backward()
    assert recurrent.layers[0].weight_hh.grad.abs().sum() > 0


def test_gates_of_a_packed_sequence_are_packed():
    recurrent, x = example(LSTM())
    lengths = torch.tensor([4, 6, 1])
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    outputs, _, gates = recurrent(packed, return_gates=True)
    *_, padded = recurrent(x, lengths=lengths, return_gates=True)
    for name, values in gates.items():
        assert all(isinstance(value, PackedSequence) for value in values)
        for value, expected in zip(values, padded[name], strict=True):
            unpacked, unpacked_lengths = torch.nn.utils.rnn.pad_packed_sequence(value)
            assert unpacked_lengths.tolist() == lengths.tolist()
            torch.testing.assert_close(unpacked, expected)
    assert torch.equal(torch.cat([h.data for h in gates["h"][-2:]], -1), outputs.data)
