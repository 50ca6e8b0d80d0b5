"""``Recurrent.trace``: what is inside, what a step keeps of a state and what it writes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tanh
from torch.nn.utils.rnn import pack_padded_sequence

from gatewise.cells import (
    GRU,
    LSTM,
    LSTM1997,
    RNN,
    Cell,
    CoupledLSTM,
    LayerNormLSTM,
    MinGRU,
    MinLSTM,
    PeepholeLSTM,
    ProjectedLSTM,
)
from gatewise.engine import ENGINES
from gatewise.nn import Recurrent

law = settings(max_examples=40, deadline=None, derandomize=True, database=None)
EXACT = {"rtol": 1e-12, "atol": 1e-12}
SHIPPED = [
    LSTM(),
    GRU(),
    RNN(),
    RNN("relu"),
    LSTM1997(),
    PeepholeLSTM(),
    CoupledLSTM(),
    MinGRU(),
    MinLSTM(),
    LayerNormLSTM(),
    ProjectedLSTM(2),
]
# What the equations keep of the old state, from the gates.
KEPT = {
    "LSTM": ("c", lambda gates: gates["f"]),
    "GRU": ("h", lambda gates: gates["z"]),
    "LSTM1997": ("c", lambda gates: torch.ones_like(gates["n"])),
    "PeepholeLSTM": ("c", lambda gates: gates["f"]),
    "CoupledLSTM": ("c", lambda gates: gates["f"]),
    "MinGRU": ("h", lambda gates: 1 - gates["z"]),
    "MinLSTM": ("h", lambda gates: gates["f"]),
    "LayerNormLSTM": ("c", lambda gates: gates["f"]),
    "ProjectedLSTM": ("c", lambda gates: gates["f"]),
}


def made(cell, layers=2, bidirectional=True, seed=0, **settings):
    torch.manual_seed(seed)
    recurrent = Recurrent(3, 4, layers, bidirectional=bidirectional, cell=cell, **settings).double()
    with torch.no_grad():
        for parameter in recurrent.parameters():
            parameter.normal_()
    return recurrent


@st.composite
def batches(draw, **settings):
    """(recurrent, x [T, B, F], lengths [B] or None) in float64."""
    recurrent = made(
        draw(st.sampled_from(SHIPPED)),
        draw(st.integers(1, 2)),
        draw(st.booleans()),
        draw(st.integers(0, 1000)),
        learn_initial_state=draw(st.booleans()),
        batch_first=draw(st.booleans()),
        **settings,
    )
    time, batch = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    lengths = draw(st.none() | st.lists(st.integers(0, time), min_size=batch, max_size=batch))
    shape = (batch, time, 3) if recurrent.batch_first else (time, batch, 3)
    return recurrent, torch.randn(shape, dtype=torch.float64), lengths


def before_each_step(trace, state):
    """[L, D, B, T, H]: the state before each step, from those after the steps and the initial one."""
    after = trace[state]
    before = torch.full_like(after, torch.nan)
    for b, length in enumerate(trace.lengths.tolist()):
        if not length:
            continue
        initial = trace.initial[state][:, :, b]
        before[:, 0, b, 0], before[:, 0, b, 1:length] = initial[:, 0], after[:, 0, b, : length - 1]
        if after.shape[1] == 2:
            before[:, 1, b, length - 1] = initial[:, 1]
            before[:, 1, b, : length - 1] = after[:, 1, b, 1:length]
    return before


@law
@given(batches())
def test_arrays_are_the_gates_and_states_of_a_call(batch):
    recurrent, x, lengths = batch
    trace = recurrent.trace(x, lengths=lengths)
    outputs, final, gates = recurrent(x, lengths=lengths, return_gates=True)
    assert list(trace.arrays) == list(gates)
    assert torch.equal(trace.outputs, outputs)
    assert all(map(torch.equal, trace.state, final))
    padding = torch.arange(gates["h"].shape[2 if recurrent.batch_first else 1]) >= trace.lengths[:, None]
    for name, values in gates.items():
        expected = values if recurrent.batch_first else values.transpose(1, 2)
        expected = expected.masked_fill(padding[:, :, None], torch.nan)
        assert trace[name].shape[:2] == (recurrent.num_layers, recurrent.num_directions)
        torch.testing.assert_close(trace[name].flatten(0, 1), expected, rtol=0, atol=0, equal_nan=True)
        assert not trace[name].requires_grad


@law
@given(batches())
def test_a_new_state_is_what_is_kept_and_what_is_written(batch):
    recurrent, x, lengths = batch
    trace = recurrent.trace(x, lengths=lengths)
    assert trace.kept.keys() == trace.written.keys()
    for state, share in trace.kept.items():
        made_of = share * before_each_step(trace, state) + trace.written[state]
        torch.testing.assert_close(made_of, trace[state], **EXACT, equal_nan=True)


@law
@given(batches())
def test_what_is_kept_is_what_the_equations_say(batch):
    recurrent, x, lengths = batch
    trace = recurrent.trace(x, lengths=lengths)
    if recurrent.cell_name == "RNN":
        assert trace.kept == {}
        return
    state, share = KEPT[recurrent.cell_name]
    assert list(trace.kept) == [state]
    padding = trace[state].isnan()
    expected = share(trace.arrays).masked_fill(padding, torch.nan)
    torch.testing.assert_close(trace.kept[state], expected, **EXACT, equal_nan=True)
    if "i" in trace and state == "c":
        torch.testing.assert_close(
            trace.written["c"], trace["i"] * trace["n"], rtol=1e-9, atol=1e-10, equal_nan=True
        )


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_has_the_loops_trace(engine):
    x, lengths = torch.randn(5, 3, 3, dtype=torch.float64), [5, 0, 3]
    for cell in (LSTM(), GRU(), ProjectedLSTM(2)):
        recurrent = made(cell, engine=engine)
        expected = made(cell, engine="loop").trace(x, lengths)
        trace = recurrent.trace(x, lengths)
        for kind in ("arrays", "kept", "written", "initial"):
            torch.testing.assert_close(getattr(trace, kind), getattr(expected, kind), **EXACT, equal_nan=True)


def test_zoneout_at_evaluation_keeps_a_share_of_every_state():
    recurrent = made(LSTM(), zoneout={"h": 0.25, "c": 0.5}).eval()
    trace = recurrent.trace(torch.randn(5, 3, 3, dtype=torch.float64))
    torch.testing.assert_close(trace.kept["c"], 0.5 + 0.5 * trace["f"], **EXACT)
    torch.testing.assert_close(trace.kept["h"], torch.full_like(trace["h"], 0.25), **EXACT)


def test_zoneout_in_training_keeps_what_was_drawn():
    recurrent = made(LSTM(), layers=1, bidirectional=False, zoneout={"c": 0.5})
    trace = recurrent.trace(torch.randn(50, 3, 3, dtype=torch.float64))
    same = trace["c"] == before_each_step(trace, "c")
    assert 0.3 < same.double().mean() < 0.7
    torch.testing.assert_close(trace.kept["c"], torch.where(same, 1.0, trace["f"]), **EXACT)


def test_dropouts_are_those_of_the_call():
    recurrent = made(GRU(), state_dropout=0.5, weight_dropout=0.5, input_dropout=0.5, dropout=0.5)
    x = torch.randn(5, 3, 3, dtype=torch.float64)
    torch.manual_seed(3)
    trace = recurrent.trace(x)
    torch.manual_seed(3)
    assert torch.equal(trace.outputs, recurrent(x, return_gates=True)[0])
    torch.testing.assert_close(trace.kept["h"], trace["z"], **EXACT)
    assert torch.equal(recurrent.eval().trace(x).outputs, recurrent.trace(x).outputs)


def test_the_forms_of_input_have_the_same_trace():
    recurrent = made(LSTM())
    x, lengths = torch.randn(5, 3, 3, dtype=torch.float64), torch.tensor([2, 5, 4])
    trace = recurrent.trace(x, lengths)
    packed = recurrent.trace(pack_padded_sequence(x, lengths, enforce_sorted=False))
    single = recurrent.trace(x[:4, 2])
    recurrent.batch_first = True
    swapped = recurrent.trace(x.transpose(0, 1), lengths)
    for name, values in trace.arrays.items():
        for other in (packed, swapped):
            torch.testing.assert_close(other[name], values, **EXACT, equal_nan=True)
        torch.testing.assert_close(single[name][:, :, 0], values[:, :, 2, :4], **EXACT)
    assert packed.lengths.tolist() == trace.lengths.tolist() == [2, 5, 4]
    assert single.outputs.shape == (4, 8)


def test_a_given_state_is_the_initial_one():
    recurrent = made(LSTM())
    state = tuple(torch.randn(4, 3, 4, dtype=torch.float64) for _ in "hc")
    trace = recurrent.trace(torch.randn(5, 3, 3, dtype=torch.float64), [1, 5, 0], state)
    for name, given_state in zip("hc", state, strict=True):
        assert torch.equal(trace.initial[name].flatten(0, 1), given_state)


def test_bounds_come_from_the_equations():
    x = torch.randn(2, 1, 3, dtype=torch.float64)
    share, either = (0.0, 1.0), (-1.0, 1.0)
    assert made(LSTM()).trace(x).ranges == {
        "i": share, "f": share, "n": either, "o": share, "h": either, "c": None
    }  # fmt: skip
    assert made(GRU()).trace(x).ranges == {"r": share, "z": share, "n": either, "h": None}
    assert made(MinLSTM()).trace(x).ranges == {"f": share, "i": share, "n": None, "h": None}
    assert made(RNN("relu")).trace(x).ranges == {"n": None, "h": None}
    assert made(ProjectedLSTM(2)).trace(x).ranges["h"] is None


@law
@given(batches())
def test_no_value_lies_outside_of_its_bounds(batch):
    recurrent, x, lengths = batch
    trace = recurrent.trace(100 * x, lengths=lengths)
    for name, bounds in trace.ranges.items():
        values = trace[name][~trace[name].isnan()]
        assert bounds is None or not len(values) or (bounds[0] <= values.min() and values.max() <= bounds[1])


def test_it_is_written_and_read_again(tmp_path):
    trace = made(LSTM()).trace(torch.randn(5, 3, 3, dtype=torch.float64), [5, 2, 3])
    trace.save(tmp_path / "trace.npz")
    with np.load(tmp_path / "trace.npz") as file:
        names = {*"ifnohc", "kept.c", "written.c", "initial.h", "initial.c", "lengths"}
        assert set(file) == names == set(trace.numpy())
        np.testing.assert_array_equal(file["f"], trace["f"].numpy())


def test_an_array_that_there_is_not():
    trace = made(LSTM()).trace(torch.randn(5, 3, 3, dtype=torch.float64))
    assert "f" in trace
    assert "z" not in trace
    with pytest.raises(KeyError, match="fo: the arrays are i, f, n, o, h, c"):
        trace["fo"]


def test_without_steps():
    trace = made(LSTM()).trace(torch.randn(3, 2, 3, dtype=torch.float64), [0, 0])
    assert trace["c"].isnan().all()
    assert trace.kept["c"].shape == (2, 2, 2, 3, 4)


class Peeks(Cell):
    """Its gate sees the old state, and its new state only the gate."""

    gates = ("n",)
    states = ("h",)

    def step(self, a, r, s, p):  # noqa: ARG002
        n = tanh(a.n + r.n + s.h)
        return (2 * n,), {"n": n}


class Mixes(Cell):
    """Features of the old state reach others of the new one."""

    gates = ("n",)
    states = ("h",)

    def step(self, a, r, s, p):  # noqa: ARG002
        n = tanh(a.n + r.n)
        return (n + s.h - s.h.mean(-1, keepdim=True),), {"n": n}


class Draws(Peeks):
    def step(self, a, r, s, p):
        after, gates = super().step(a, r, s, p)
        return (after[0] * torch.rand(()),), gates


def test_what_comes_through_a_gate_is_not_kept():
    x = torch.randn(3, 2, 3, dtype=torch.float64)
    assert made(Peeks()).trace(x).kept == {}


def test_where_features_mix_it_is_the_sum():
    kept = made(Mixes()).trace(torch.randn(3, 2, 3, dtype=torch.float64)).kept["h"]
    torch.testing.assert_close(kept, torch.zeros_like(kept), **EXACT)


def test_of_a_step_that_draws_nothing_is_kept(caplog):
    trace = made(Draws()).trace(torch.randn(3, 2, 3, dtype=torch.float64))
    assert trace.kept == trace.written == {}
    assert "trace.kept is empty: Draws.step" in caplog.text
