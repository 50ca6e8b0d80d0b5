"""A decoder's steps one by one are those of the whole sequence, whatever it is made of."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.cells import GRU, LSTM, ProjectedLSTM
from gatewise.nn import Recurrent, Stacked
from gatewise.nn.attention_decoder import AttentionDecoder

law = settings(max_examples=30, deadline=None, derandomize=True, database=None)
CELLS = [LSTM(), GRU(), ProjectedLSTM(4)]
MODELS = [Recurrent, Stacked]


def made(context="layers", layers=2, cell=None, model=Recurrent, engine="function", **more):
    torch.manual_seed(5)
    make = partial(model, hidden_size=4, cell=cell or GRU(), batch_first=True, engine=engine)
    decoder = AttentionDecoder(make, 3, 6, 7, 5, layers=layers, context=context, **more).double()
    return decoder.eval()


def given_sources(decoder, batch=3, time=4):
    generator = torch.Generator().manual_seed(7)
    values = torch.randn(batch, 5, 6, dtype=torch.float64, generator=generator)
    memory = decoder.attention.prepare(values, torch.tensor([5, 2, 1])[:batch])
    summary = torch.randn(batch, 7, dtype=torch.float64, generator=generator)
    inputs = torch.randn(batch, time, 3, dtype=torch.float64, generator=generator)
    return inputs, memory, decoder.start(summary, memory)


@law
@given(
    st.sampled_from(["layers", "input", "output"]),
    st.integers(1, 3),
    st.sampled_from(CELLS),
    st.sampled_from(MODELS),
    st.sampled_from(["general", "additive"]),
    st.booleans(),
)
def test_steps_of_hypotheses_are_those_of_the_whole_sequence(
    context, layers, cell, model, attention, coverage
):
    layers = max(layers, 2) if context == "layers" else layers
    decoder = made(context, layers, cell, model, attention=attention, coverage=coverage)
    inputs, memory, state = given_sources(decoder)
    outputs, weights, final = decoder(inputs, memory, state)
    assert outputs.shape == (3, 4, 5)
    # Two hypotheses of each source, of which the second reads the steps of the next source.
    doubled = torch.stack([inputs, inputs.roll(1, 0)], 1)
    state = tuple(torch.stack([tensor, tensor], 1) for tensor in state)
    for time in range(4):
        output, weight, state = decoder.step(doubled[:, :, time], memory, state)
        torch.testing.assert_close(output[:, 0], outputs[:, time])
        torch.testing.assert_close(weight[:, 0], weights[:, time])
    for tensor, expected in zip(state, final, strict=True):
        torch.testing.assert_close(tensor[:, 0], expected)


@pytest.mark.parametrize("context", ["layers", "input", "output"])
def test_a_step_knows_nothing_of_those_to_come(context):
    decoder = made(context)
    inputs, memory, state = given_sources(decoder)
    outputs, _, _ = decoder(inputs, memory, state)
    inputs[:, 2:] = 9.0
    changed, _, _ = decoder(inputs, memory, state)
    assert torch.equal(outputs[:, :2], changed[:, :2])
    assert not torch.allclose(outputs[:, 2:], changed[:, 2:])


def test_what_goes_into_the_recurrence_decides_whether_it_remembers_contexts():
    """Without contexts in the recurrence, a later output depends on an earlier token's context not at all."""
    depends = {}
    for context in ("layers", "input", "output"):
        decoder = made(context)
        inputs, memory, state = given_sources(decoder)
        values = memory.values.clone().requires_grad_()
        outputs, weights, _ = decoder(inputs, memory._replace(values=values), state)
        # The mean of the last step alone would give the gradient weights[:, -1] times one vector.
        (slope,) = torch.autograd.grad(outputs[0, -1].sum(), values)
        along = slope[0] / weights[0, -1].detach()[:, None]
        depends[context] = not torch.allclose(along, along[:1].expand_as(along))
    assert depends == {"layers": True, "input": True, "output": False}


@pytest.mark.parametrize("context", ["layers", "input", "output"])
@pytest.mark.parametrize("locked", [True, False])
def test_a_locked_mask_is_one_for_all_steps(context, locked):
    decoder = made(context, dropout=0.5, locked=locked).train()
    inputs, memory, state = given_sources(decoder, time=6)
    dropped = decoder(inputs, memory, state)[0] == 0
    assert 0.2 < dropped.double().mean() < 0.8
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped)) == locked


def test_one_layer_cannot_read_contexts_above_it():
    with pytest.raises(ValueError, match="context=input or output"):
        made("layers", layers=1)
