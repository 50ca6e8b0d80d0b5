"""Stacked: layers of different sizes, against the same layers by hand."""

import pytest
import torch

from gatewise.cells import GRU, LSTM, RNN, ProjectedLSTM
from gatewise.nn import Recurrent, Stacked

T, B, F = 5, 3, 4


def make(hidden_size=(7, 6, 5), cell=None, **settings):
    torch.manual_seed(0)
    layers = 3 if isinstance(hidden_size, int) else len(hidden_size)
    return Stacked(F, hidden_size, layers, cell=cell or LSTM(), **{"batch_first": True, **settings})


def by_hand(stacked, x, state=None, lengths=None):
    """(Outputs of every layer, their final states)."""
    outputs, finals = [], []
    for index, layer in enumerate(stacked.layers):
        x, final = layer(x, None if state is None else state[index], lengths)
        outputs.append(x)
        finals.append(final)
    return outputs, finals


@pytest.mark.parametrize("cell", [LSTM(), GRU(), RNN(), ProjectedLSTM(projection_size=2)], ids=repr)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_it_is_its_layers_one_after_the_other(cell, bidirectional):
    stacked = make(cell=cell, bidirectional=bidirectional)
    x = torch.randn(B, T, F)
    outputs, final = stacked(x)
    expected, finals = by_hand(stacked, x)
    assert torch.equal(outputs, expected[-1])
    assert stacked.output_size == outputs.shape[-1]
    flat = [tensor for layer in finals for tensor in layer]
    assert len(final) == len(flat) == 3 * len(cell.states)
    assert all(map(torch.equal, final, flat))
    assert [layer.hidden_size for layer in stacked.layers] == [7, 6, 5]


def test_equal_sizes_are_a_recurrent_of_several_layers():
    stacked = make(6, batch_first=False)
    recurrent = Recurrent(F, 6, 3, cell=LSTM())
    for ours, theirs in zip(stacked.layers, recurrent.layers, strict=True):
        theirs.load_state_dict(ours.layers[0].state_dict())
    x = torch.randn(T, B, F)
    outputs, final = stacked(x)
    expected, state = recurrent(x)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(torch.cat(final[0::2]), state.h)
    torch.testing.assert_close(torch.cat(final[1::2]), state.c)


def test_a_state_goes_on_where_it_stood():
    stacked = make()
    x = torch.randn(B, 2 * T, F)
    whole, _ = stacked(x)
    first, state = stacked(x[:, :T])
    second, _ = stacked(x[:, T:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)


def test_a_state_of_other_layers_is_refused():
    with pytest.raises(ValueError, match=r"state must be 2 tensors \(h, c\) for each of 3 layers, got 2"):
        make()(torch.randn(B, T, F), (torch.zeros(1, B, 7), torch.zeros(1, B, 7)))


def test_lengths_keep_padding_out():
    stacked = make(bidirectional=True)
    x, lengths = torch.randn(B, T, F), [5, 2, 3]
    outputs, _ = stacked(x, lengths=lengths)
    for row, length in enumerate(lengths):
        alone, _ = stacked(x[row : row + 1, :length])
        torch.testing.assert_close(outputs[row, :length], alone[0])
        assert not outputs[row, length:].any()


def test_skip_connections_add_up_the_outputs():
    stacked = make(6, skip_connections=True)
    x = torch.randn(B, T, F)
    outputs, _ = stacked(x)
    expected, _ = by_hand(stacked, x)
    torch.testing.assert_close(outputs, expected[0] + expected[1] + expected[2])


def test_dropout_between_layers_has_one_mask_for_all_steps_and_none_before_the_first():
    stacked = make(9, between_dropout=0.5)
    seen = []
    for layer in stacked.layers:
        layer.register_forward_pre_hook(lambda _module, args: seen.append(args[0].detach()))
    x = torch.randn(40, T, F)
    outputs, _ = stacked(x)
    assert torch.equal(seen[0], x)
    with torch.no_grad():
        first, _ = stacked.layers[0](x)
    masks = seen[1] / first
    torch.testing.assert_close(masks, masks[:, :1].expand_as(masks), rtol=1e-4, atol=1e-4)
    assert masks[:, 0].round(decimals=2).unique().tolist() == [0.0, 2.0]
    assert abs(float((seen[1] == 0).float().mean()) - 0.5) < 0.14  # 360 draws
    last, _ = stacked.layers[2](seen[2])
    torch.testing.assert_close(outputs, last)  # nothing is dropped after the last
    assert torch.equal(stacked.eval()(x)[0], by_hand(stacked, x)[0][-1])


def test_dropout_of_each_step_is_drawn_anew():
    stacked = make(9, dropout=0.5)
    seen = []
    stacked.layers[1].register_forward_pre_hook(lambda _module, args: seen.append(args[0].detach()))
    stacked(torch.randn(40, T, F))
    zeros = seen[0] == 0
    assert not torch.equal(zeros[:, 0], zeros[:, 1])


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"hidden_size": [7, 6], "num_layers": 3}, r"hidden_size has 2 sizes for num_layers=3: give one for"),
        ({"hidden_size": [7, 6], "num_layers": 2, "skip_connections": True}, r"whose sizes \[7, 6\] differ"),
        ({"hidden_size": [7, 0], "num_layers": 2}, r"hidden_size\[1\] must be a whole number of at least 1"),
        ({"hidden_size": []}, r"hidden_size must be a whole number or a list of them"),
        ({"hidden_size": "7,6"}, r"hidden_size must be a whole number"),
        ({"hidden_size": 7, "between_dropout": 1.0}, r"between_dropout must be a probability"),
    ],
)
def test_sizes_that_cannot_be(settings, match):
    with pytest.raises(ValueError, match=match):
        Stacked(F, **settings)


@pytest.mark.parametrize("settings", [{}, {"bidirectional": True}, {"batch_first": False}])
def test_the_trace_is_that_of_each_layer(settings):
    stacked = make(**settings).eval()
    x, lengths = torch.randn(B, T, F), torch.tensor([5, 2, 4])
    given = x if stacked.batch_first else x.transpose(0, 1)
    trace = stacked.trace(given, lengths)
    outputs, final, gates = stacked(given, lengths=lengths, return_gates=True)
    assert torch.equal(trace.outputs, outputs)
    assert all(map(torch.equal, trace.state, final))
    inputs, directions = x, stacked.num_directions
    for layer, each, returned in zip(stacked.layers, trace.layers, gates, strict=True):
        alone = layer.trace(inputs, lengths)
        for name in ("i", "f", "n", "o", "h", "c"):
            assert torch.equal(each[name].nan_to_num(), alone[name].nan_to_num())
            of_batch = returned[name] if stacked.batch_first else returned[name].transpose(1, 2)
            torch.testing.assert_close(of_batch, alone[name][0].nan_to_num())
        assert each["c"].shape == (1, directions, B, T, layer.hidden_size)
        inputs = alone.outputs


@pytest.mark.parametrize("skip_connections", [False, True])
def test_state_gradients_are_slopes(skip_connections):
    """Against the change of the loss as a state is moved by hand in what is left of the network."""
    stacked = make(6, GRU(), skip_connections=skip_connections).double()
    x = torch.randn(B, T, F, dtype=torch.float64)
    weight = torch.randn(B, T, 6, dtype=torch.float64)
    gradients = stacked.state_gradients(x, lambda outputs, _: (outputs * weight).sum())
    assert [of_layer["h"].shape for of_layer in gradients] == [(1, 1, B, T, 6)] * 3
    for number, step in ((0, 4), (1, 2), (2, 0)):
        moved = []
        for size in (1e-5, -1e-5):
            wanted = torch.full((1, 1, B, T, 6), torch.nan, dtype=torch.float64)
            wanted[..., 1, step, 3] = stacked.trace(x).layers[number]["h"][0, 0, 1, step, 3] + size
            held = [{} for _ in range(3)]
            held[number] = {"h": wanted}
            moved.append(float((stacked(x, intervene=held)[0] * weight).detach().sum()))
        slope = (moved[0] - moved[1]) / 2e-5
        assert float(gradients[number]["h"][0, 0, 1, step, 3]) == pytest.approx(slope, abs=1e-6)


def test_interventions_are_one_for_each_layer():
    stacked = make()
    x = torch.randn(B, T, F)
    held, _ = stacked(x, intervene=[{}, {"o": 0.0}, {}])
    expected, _ = stacked.layers[2](torch.zeros(B, T, 6))
    torch.testing.assert_close(held, expected)
    with pytest.raises(ValueError, match="intervene has 1 dicts for 3 layers"):
        stacked(x, intervene=[{}])
