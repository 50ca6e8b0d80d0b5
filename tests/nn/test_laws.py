"""Laws for every batch: padding, alone or together, directions, steps, order."""

import copy

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.cells import GRU, LSTM, RNN, MinLSTM, ProjectedLSTM
from gatewise.nn import Recurrent

law = settings(max_examples=40, deadline=None, derandomize=True, database=None)
EITHER = st.booleans()
ONE_OR_TWO = st.integers(1, 2)
EXACT = {"rtol": 1e-12, "atol": 1e-12}
CELLS = [LSTM(), GRU(), RNN(), MinLSTM(), ProjectedLSTM(2)]


@st.composite
def batches(draw, layers=ONE_OR_TWO, bidirectional=EITHER):
    """(recurrent, x [T, B, F], lengths [B]) in float64."""
    sizes = st.integers(1, 6)
    time, batch, features = (draw(sizes) for _ in range(3))
    hidden = draw(st.sampled_from([1, 4]))  # each size takes time to compile
    torch.manual_seed(draw(st.integers(0, 1000)))
    recurrent = Recurrent(
        features,
        hidden,
        draw(layers),
        bidirectional=draw(bidirectional),
        cell=draw(st.sampled_from(CELLS)),
        learn_initial_state=draw(st.booleans()),
    ).double()
    with torch.no_grad():
        for parameter in recurrent.parameters():
            parameter.normal_()
    lengths = draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch))
    return recurrent, torch.randn(time, batch, features, dtype=torch.float64), torch.tensor(lengths)


def padding_of(x, lengths):
    """[T, B]"""
    return torch.arange(len(x))[:, None] >= lengths


def loss_of(outputs, final):
    return outputs.square().sum() + sum((k + 1) * s.sin().sum() for k, s in enumerate(final))


@law
@given(batches(), st.sampled_from([0.0, 1e30, float("nan"), float("inf")]))
def test_padding_never_changes_a_result(batch, garbage):
    recurrent, x, lengths = batch
    padding = padding_of(x, lengths)

    def results(x):
        x = x.clone().requires_grad_()
        outputs, final = recurrent(x, lengths=lengths)
        inputs = [x, *(p for p in recurrent.parameters() if p.requires_grad)]
        grads = torch.autograd.grad(loss_of(outputs, final), inputs, allow_unused=True)
        return outputs, *final, *(g for g in grads if g is not None)

    dirty = x.clone()
    dirty[padding] = garbage
    clean, with_garbage = results(x), results(dirty)
    assert all(map(torch.equal, with_garbage, clean))
    assert not with_garbage[0][padding].any()
    grad_x = with_garbage[1 + len(recurrent.cell.states)]
    assert not grad_x[padding].any()
    assert grad_x.isfinite().all()


@law
@given(batches())
def test_a_batch_is_each_sequence_alone(batch):
    recurrent, x, lengths = batch
    outputs, final = recurrent(x, lengths=lengths)
    for b, length in enumerate(lengths.tolist()):
        alone, alone_final = recurrent(x[:length, b])
        torch.testing.assert_close(outputs[:length, b], alone, **EXACT)
        torch.testing.assert_close([s[:, b] for s in final], list(alone_final), **EXACT)


@law
@given(batches(layers=st.just(1), bidirectional=st.just(True)))
def test_reverse_is_forward_on_the_reversed_sequence(batch):
    recurrent, x, _ = batch
    mirrored = copy.deepcopy(recurrent)
    mirrored.layers = torch.nn.ModuleList(reversed(list(mirrored.layers)))
    outputs, final = recurrent(x)
    flipped, flipped_final = mirrored(x.flip(0))
    both_swapped = flipped.flip(0).roll(recurrent.state_sizes[0], 2)
    torch.testing.assert_close(both_swapped, outputs, **EXACT)
    torch.testing.assert_close([s.flip(0) for s in flipped_final], list(final), **EXACT)


@law
@given(batches(bidirectional=st.just(False)), st.data())
def test_steps_with_a_carried_state_are_the_whole_sequence(batch, data):
    recurrent, x, _ = batch
    outputs, final = recurrent(x)
    parts, state, rest = [], None, x
    while len(rest):
        part = data.draw(st.integers(1, len(rest)))
        out, state = recurrent(rest[:part], state)
        parts.append(out)
        rest = rest[part:]
    torch.testing.assert_close(torch.cat(parts), outputs, **EXACT)
    torch.testing.assert_close(list(state), list(final), **EXACT)


@law
@given(batches(), st.randoms(use_true_random=False))
def test_order_in_the_batch_does_not_matter(batch, random):
    recurrent, x, lengths = batch
    order = torch.tensor(random.sample(range(len(lengths)), len(lengths)))
    state = tuple(
        torch.randn(len(recurrent.layers), len(lengths), size, dtype=torch.float64)
        for size in recurrent.state_sizes
    )
    outputs, final = recurrent(x, state, lengths)
    permuted, permuted_final = recurrent(x[:, order], tuple(s[:, order] for s in state), lengths[order])
    torch.testing.assert_close(permuted, outputs[:, order], **EXACT)
    torch.testing.assert_close(list(permuted_final), [s[:, order] for s in final], **EXACT)


@law
@given(batches())
def test_batch_first_only_swaps_axes(batch):
    recurrent, x, lengths = batch
    outputs, final, gates = recurrent(x, lengths=lengths, return_gates=True)
    recurrent.batch_first = True
    swapped, swapped_final, swapped_gates = recurrent(x.transpose(0, 1), lengths=lengths, return_gates=True)
    assert torch.equal(swapped, outputs.transpose(0, 1))
    assert all(map(torch.equal, swapped_final, final))
    for name, gate in gates.items():
        assert torch.equal(swapped_gates[name], gate.transpose(1, 2)), name


@law
@given(batches())
def test_a_sequence_of_length_0_keeps_its_initial_state(batch):
    recurrent, x, lengths = batch
    state = tuple(
        torch.randn(len(recurrent.layers), len(lengths), size, dtype=torch.float64)
        for size in recurrent.state_sizes
    )
    outputs, final = recurrent(x, state, torch.zeros_like(lengths))
    assert not outputs.any()
    assert all(map(torch.equal, final, state))
