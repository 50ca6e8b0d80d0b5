"""``Recurrent.state_gradients``: what a loss changes by when a state changes after a step."""

import pytest
import torch
from test_trace import SHIPPED, made
from torch.nn.utils.rnn import pack_padded_sequence

from gatewise.cells import GRU, LSTM, Cell, ProjectedLSTM
from gatewise.nn import Clamp, Recurrent

EXACT = {"rtol": 1e-12, "atol": 1e-12}
LENGTHS = [4, 0, 3]


def randn(*shape):
    return torch.randn(shape, dtype=torch.float64)


def loss(outputs, state):
    return outputs.square().sum() + sum((k + 1) * s.sin().sum() for k, s in enumerate(state))


def assert_derivative(recurrent, x, lengths, name, grads, intervene):
    """Finite differences: a state is set to a little more, and to a little less, than it is."""
    trace = recurrent.trace(x, lengths, intervene=intervene)
    step = 1e-5
    places = torch.nonzero(~trace[name].isnan())
    generator = torch.Generator().manual_seed(0)
    for place in places[torch.randperm(len(places), generator=generator)[:12]].tolist():
        at, found = tuple(place), []
        for shift in (step, -step):
            values = torch.full_like(trace[name], torch.nan)
            values[at] = trace[name][at] + shift
            outputs = recurrent(x, lengths=lengths, intervene={**(intervene or {}), name: values})
            found.append(loss(*outputs))
        expected = (found[0] - found[1]) / (2 * step)
        torch.testing.assert_close(grads[name][at], expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("cell", SHIPPED, ids=repr)
def test_it_is_the_derivative(cell):
    recurrent, x = made(cell, engine="loop").eval(), randn(4, 3, 3)
    grads = recurrent.state_gradients(x, loss, LENGTHS)
    trace = recurrent.trace(x, LENGTHS)
    assert list(grads) == list(cell.states)
    for name, values in grads.items():
        assert torch.equal(values.isnan(), trace[name].isnan())
        if name != "h" or cell.projection_size is None:
            assert_derivative(recurrent, x, LENGTHS, name, grads, None)


def test_with_interventions_it_is_the_derivative():
    recurrent, x = made(LSTM(), engine="loop"), randn(4, 3, 3)
    intervene = {"f": Clamp(0.5, units=[0, 1]), "i": Clamp(0.2, layer=1)}
    grads = recurrent.state_gradients(x, loss, LENGTHS, intervene=intervene)
    for name in "hc":
        assert_derivative(recurrent, x, LENGTHS, name, grads, intervene)


def by_hand(recurrent, x, state_of):
    """The gradients of one layer and direction of an LSTM, by a loop whose states have gradients."""
    layer, states = recurrent.layers[0], []
    h = torch.zeros(x.shape[1], recurrent.state_sizes[0], dtype=x.dtype)
    c = torch.zeros(x.shape[1], 4, dtype=x.dtype)
    for x_t in x:
        gates = x_t @ layer.weight_ih.T + layer.bias + h @ layer.weight_hh.T
        i, f, n, o = gates.chunk(4, 1)
        new = f.sigmoid() * c + i.sigmoid() * n.tanh()
        h, c = state_of(h, c, o.sigmoid() * new.tanh(), new)
        states.append((h, c))
    outputs = torch.stack([h for h, _ in states])
    value = loss(outputs, (h[None], c[None]))
    of_h, of_c = (torch.autograd.grad(value, of, retain_graph=True) for of in zip(*states, strict=True))
    return {"h": torch.stack(of_h, 1)[None, None], "c": torch.stack(of_c, 1)[None, None]}


def test_a_projected_state():
    recurrent, x = made(ProjectedLSTM(2), 1, False), randn(5, 2, 3)
    expected = by_hand(recurrent, x, lambda _h, _c, m, c: (m @ recurrent.layers[0].weight_hr.T, c))
    torch.testing.assert_close(recurrent.state_gradients(x, loss), expected, **EXACT)


def test_zoneout():
    recurrent, x = made(LSTM(), 1, False, zoneout={"h": 0.3, "c": 0.5}).eval(), randn(5, 2, 3)
    expected = by_hand(recurrent, x, lambda h, c, m, new: (m + 0.3 * (h - m), new + 0.5 * (c - new)))
    torch.testing.assert_close(recurrent.state_gradients(x, loss), expected, **EXACT)


def test_the_forms_of_input_have_the_same_gradients():
    recurrent, x, lengths = made(GRU()), randn(5, 3, 3), torch.tensor([2, 5, 4])
    grads = recurrent.state_gradients(x, loss, lengths)["h"]
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    of_packed = recurrent.state_gradients(packed, lambda outputs, state: loss(outputs.data, state))["h"]
    torch.testing.assert_close(of_packed, grads, **EXACT, equal_nan=True)
    single = recurrent.state_gradients(x[:4, 2], loss)["h"]
    torch.testing.assert_close(single[:, :, 0], grads[:, :, 2, :4], **EXACT)
    recurrent.batch_first = True
    swapped = recurrent.state_gradients(x.transpose(0, 1), loss, lengths)["h"]
    torch.testing.assert_close(swapped, grads, **EXACT, equal_nan=True)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_need_no_mode_and_no_trained_weights(mode):
    recurrent, x = made(LSTM(), 1, False), randn(5, 2, 3)
    expected = recurrent.state_gradients(x, loss)
    recurrent.requires_grad_(False)
    with mode():
        torch.testing.assert_close(recurrent.state_gradients(x * 1, loss), expected, **EXACT)
    assert all(parameter.grad is None for parameter in recurrent.parameters())


def test_dropouts_draw_in_training_alone():
    recurrent, x = made(GRU(), state_dropout=0.5, dropout=0.5), randn(5, 2, 3)
    first, second = (recurrent.state_gradients(x, loss)["h"] for _ in range(2))
    assert not torch.equal(first, second)
    recurrent.eval()
    first, second = (recurrent.state_gradients(x, loss)["h"] for _ in range(2))
    assert torch.equal(first, second)


class Holds(Cell):
    """Both states are one tensor; the third stays what it was."""

    gates = ("n",)
    states = ("h", "twin", "held")

    def step(self, a, r, s, p):  # noqa: ARG002
        h = torch.tanh(a.n + r.n) + s.twin * s.held
        return (h, h, s.held), {}


def test_states_that_are_one_tensor_or_the_old_one():
    recurrent = Recurrent(3, 4, cell=Holds(), engine="loop").double()
    x, state = randn(4, 2, 3), tuple(randn(1, 2, 4) for _ in range(3))

    def of_held(outputs, state):
        return outputs[-1].sum() + 0 * state[0].sum()

    grads = recurrent.state_gradients(x, of_held, state=state)
    ones = torch.ones(2, 4, dtype=torch.float64)
    torch.testing.assert_close(grads["h"][0, 0, :, -1], ones, **EXACT)
    torch.testing.assert_close(grads["twin"][0, 0, :, -2], state[2][0], **EXACT)
    # After the last step nothing depends on it any more; before that, its product with the twin does.
    assert not grads["held"][0, 0, :, -1].any()
    before = recurrent(x[:3], state)[1].twin[0]
    torch.testing.assert_close(grads["held"][0, 0, :, -2], before, **EXACT)


def test_without_steps():
    grads = made(LSTM()).state_gradients(randn(3, 2, 3), loss, [0, 0])
    assert grads["c"].isnan().all()


CASES = [
    (lambda outputs, _: outputs, r"must return a scalar tensor, got a tensor of \[5, 2, 8\]: sum over the"),
    (lambda _outputs, _state: 1.0, "must return a scalar tensor, got float"),
    (lambda outputs, _: outputs.detach().sum(), "depends on neither of the two: does it detach"),
]


@pytest.mark.parametrize(("wrong", "message"), CASES)
def test_a_wrong_loss_is_one_line(wrong, message):
    with pytest.raises(ValueError, match=message):
        made(LSTM()).state_gradients(randn(5, 2, 3), wrong)
