"""The shipped cells against their equations, written a second time in numpy."""

import pickle

import numpy as np
import pytest
import torch

from gatewise.cells import (
    GRU,
    LSTM,
    LSTM1997,
    RNN,
    CappedLSTM,
    Cell,
    CoupledLSTM,
    LayerNormLSTM,
    MinGRU,
    MinLSTM,
    PeepholeLSTM,
    ProjectedLSTM,
)
from gatewise.cells.zoneout import zoneout

BATCH, HIDDEN = 3, 4


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lstm(a, r, s, p):  # noqa: ARG001
    i, f, o = (sigmoid(a[g] + r[g]) for g in "ifo")
    n = np.tanh(a["n"] + r["n"])
    c = f * s["c"] + i * n
    return {"h": o * np.tanh(c), "c": c}, {"i": i, "f": f, "n": n, "o": o}


def gru(a, r, s, p):
    reset, z = sigmoid(a["r"] + r["r"]), sigmoid(a["z"] + r["z"])
    n = np.tanh(a["n"] + reset * (r["n"] + p["bias_n"]))
    return {"h": (1 - z) * n + z * s["h"]}, {"r": reset, "z": z, "n": n}


def rnn_tanh(a, r, s, p):  # noqa: ARG001
    n = np.tanh(a["n"] + r["n"])
    return {"h": n}, {"n": n}


def rnn_relu(a, r, s, p):  # noqa: ARG001
    n = np.maximum(a["n"] + r["n"], 0)
    return {"h": n}, {"n": n}


def peephole(a, r, s, p):
    i, f = (sigmoid(a[g] + r[g] + p[f"peep_{g}"] * s["c"]) for g in "if")
    n = np.tanh(a["n"] + r["n"])
    c = f * s["c"] + i * n
    o = sigmoid(a["o"] + r["o"] + p["peep_o"] * c)
    return {"h": o * np.tanh(c), "c": c}, {"i": i, "f": f, "n": n, "o": o}


def coupled(a, r, s, p):  # noqa: ARG001
    f, o, n = sigmoid(a["f"] + r["f"]), sigmoid(a["o"] + r["o"]), np.tanh(a["n"] + r["n"])
    c = f * s["c"] + (1 - f) * n
    return {"h": o * np.tanh(c), "c": c}, {"f": f, "n": n, "o": o}


def capped(a, r, s, p):  # noqa: ARG001
    i, f, o = (sigmoid(a[g] + r[g]) for g in "ifo")
    i, n = np.where(i < 1 - f, i, 1 - f), np.tanh(a["n"] + r["n"])
    c = f * s["c"] + i * n
    return {"h": o * np.tanh(c), "c": c}, {"i": i, "f": f, "n": n, "o": o}


def lstm_1997(a, r, s, p):  # noqa: ARG001
    i, o, n = sigmoid(a["i"] + r["i"]), sigmoid(a["o"] + r["o"]), np.tanh(a["n"] + r["n"])
    c = s["c"] + i * n
    return {"h": o * np.tanh(c), "c": c}, {"i": i, "n": n, "o": o}


def layer_norm_lstm(a, r, s, p):
    def normed(z):
        # ε as in torch.nn.LayerNorm; the paper has none.
        return (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-5)

    z = {g: a[g] + p[f"gain_{g}"] * normed(r[g]) for g in "ifno"}
    i, f, o, n = sigmoid(z["i"]), sigmoid(z["f"]), sigmoid(z["o"]), np.tanh(z["n"])
    c = f * s["c"] + i * n
    return {"h": o * np.tanh(p["gain_c"] * normed(c) + p["bias_c"]), "c": c}, {"i": i, "f": f, "n": n, "o": o}


def min_gru(a, r, s, p):  # noqa: ARG001
    z = sigmoid(a["z"])
    return {"h": (1 - z) * s["h"] + z * a["n"]}, {"z": z, "n": a["n"]}


def min_lstm(a, r, s, p):  # noqa: ARG001
    f, i = sigmoid(a["f"]), sigmoid(a["i"])
    f, i = f / (f + i), i / (f + i)
    return {"h": f * s["h"] + i * a["n"]}, {"f": f, "i": i, "n": a["n"]}


EQUATIONS = [
    pytest.param(PeepholeLSTM(), peephole, id="peephole"),
    pytest.param(CoupledLSTM(), coupled, id="coupled"),
    pytest.param(CappedLSTM(), capped, id="capped"),
    pytest.param(LSTM1997(), lstm_1997, id="lstm-1997"),
    pytest.param(LayerNormLSTM(), layer_norm_lstm, id="layer-norm"),
    pytest.param(MinGRU(), min_gru, id="min-gru"),
    pytest.param(MinLSTM(), min_lstm, id="min-lstm"),
    pytest.param(LSTM(), lstm, id="lstm"),
    pytest.param(GRU(), gru, id="gru"),
    pytest.param(RNN(), rnn_tanh, id="rnn-tanh"),
    pytest.param(RNN("relu"), rnn_relu, id="rnn-relu"),
]


@pytest.mark.parametrize(("cell", "equations"), EQUATIONS)
def test_step_is_the_equations_of_the_docstring(cell, equations):
    draw = np.random.default_rng(0).standard_normal
    a = {gate: draw((BATCH, HIDDEN)) for gate in cell.gates}
    r = {gate: draw((BATCH, HIDDEN)) for gate in cell.recurrent}
    s = {state: draw((BATCH, HIDDEN)) for state in cell.states}
    p = {name: draw(value.shape) for name, value in cell.own_parameters(HIDDEN).items()}
    expected_state, expected_gates = equations(a, r, s, p)

    def tensors(values):
        return {name: torch.from_numpy(value) for name, value in values.items()}

    state, gates = cell.step(
        cell.Gates(**tensors(a)), cell.Recurrent(**tensors(r)), cell.State(**tensors(s)), _Named(tensors(p))
    )

    assert list(gates) == list(expected_gates)
    for value, name in zip(state, cell.states, strict=True):
        np.testing.assert_allclose(value.numpy(), expected_state[name], rtol=0, atol=1e-14, err_msg=name)
    for name, value in gates.items():
        np.testing.assert_allclose(value.numpy(), expected_gates[name], rtol=0, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("cell", "equations"), EQUATIONS)
def test_zoneout_is_its_equation(cell, equations, training):
    draw = np.random.default_rng(1).standard_normal
    shape = (BATCH, HIDDEN)
    a, r = ({gate: draw(shape) for gate in names} for names in (cell.gates, cell.recurrent))
    s = {state: draw(shape) for state in cell.states}
    p = {name: draw(value.shape) for name, value in cell.own_parameters(HIDDEN).items()}
    d = {state: (draw(shape) > 0).astype(float) if training else 0.3 for state in cell.states}
    new, expected_gates = equations(a, r, s, p)

    zoned = zoneout(cell, dict.fromkeys(cell.states, 0.3), training)
    noise = [d[state] for state in cell.states] if training else []
    blocks = torch.from_numpy(np.concatenate([*a.values(), *noise], axis=1))
    own = _Named({name: torch.from_numpy(value) for name, value in p.items()})
    arguments = ([torch.from_numpy(value) for value in values.values()] for values in (r, s))
    r, s_named = (
        kind(*values) for kind, values in zip((zoned.Recurrent, zoned.State), arguments, strict=True)
    )
    state, gates = zoned.step(zoned.split_gates(blocks), r, s_named, own)

    for name, value in zip(cell.states, state, strict=True):
        expected = d[name] * s[name] + (1 - d[name]) * new[name]
        np.testing.assert_allclose(value.numpy(), expected, rtol=0, atol=1e-14, err_msg=name)
    assert gates.keys() == expected_gates.keys()


class _Named:
    def __init__(self, values):
        self.__dict__.update(values)


@pytest.mark.parametrize(
    ("cell", "bias", "own"),
    [
        (LSTM(), {"f": 1.0}, {}),  # remembers before it has learnt to
        (LSTM(forget_bias=0), {"f": 0.0}, {}),
        (LSTM(forget_bias=2.5), {"f": 2.5}, {}),
        (GRU(), {}, {"bias_n": [0.0] * HIDDEN}),  # torch's bias_hn
        (RNN(), {}, {}),
    ],
    ids=repr,
)
def test_starting_values(cell, bias, own):
    assert dict(cell.initial_bias()) == bias
    assert {name: value.tolist() for name, value in cell.own_parameters(HIDDEN).items()} == own


@pytest.mark.parametrize("size", [0, -1, 2.0, True, None], ids=repr)
def test_projection_sizes_that_cannot_be(size):
    with pytest.raises(ValueError, match=f"projection_size must be a whole number of at least 1, got {size}"):
        ProjectedLSTM(size)


def test_unknown_nonlinearity_is_named():
    with pytest.raises(ValueError, match="nonlinearity='sine' is unknown; choose one of: tanh, relu"):
        RNN("sine")


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (LSTM(), "LSTM(forget_bias=1.0)"),
        (RNN("relu"), "RNN(nonlinearity='relu')"),
        (GRU(), "GRU()"),
        (ProjectedLSTM(8), "ProjectedLSTM(forget_bias=1.0, projection_size=8)"),
    ],
)
def test_repr_shows_the_settings(cell, text):
    assert repr(cell) == text


def test_split_gates_gives_views_in_storage_order():
    blocks = torch.arange(2 * 4 * HIDDEN).view(2, -1)
    i, f, n, o = LSTM().split_gates(blocks)
    for k, gate in enumerate((i, f, n, o)):
        assert gate.tolist() == blocks[:, k * HIDDEN : (k + 1) * HIDDEN].tolist()
        assert gate.untyped_storage().data_ptr() == blocks.untyped_storage().data_ptr()


def test_gates_with_a_recurrent_product():
    class Half(LSTM):
        recurrent = ("f", "o")

    class Other(Half):
        gates = ("n",)

    assert (LSTM.recurrent, MinGRU.recurrent, Half.recurrent) == (LSTM.gates, (), ("f", "o"))
    assert Other.recurrent == ("n",), "a class with gates of its own says anew which have one"
    f, o = Half().split_recurrent(torch.arange(2 * HIDDEN))
    assert (f.tolist(), o.tolist()) == ([0, 1, 2, 3], [4, 5, 6, 7])
    assert MinGRU().split_recurrent(torch.zeros(BATCH, 0)) == ()
    assert [gate.shape for gate in Half().split_gates(torch.zeros(4 * HIDDEN))] == [(HIDDEN,)] * 4


@pytest.mark.parametrize("wrong", [("o", "f"), ("x",), ("f", "f"), ["f"]], ids=str)
def test_recurrent_names_gates_in_their_order(wrong):
    with pytest.raises(TypeError, match=r"^Wrong: recurrent = .* must name some of its gates \('i', 'f'"):
        type("Wrong", (LSTM,), {"recurrent": wrong})


def test_gates_that_are_both_shut_share_evenly():
    # σ(-200) is 0 in float32, and 0 / (0 + 0) no number.
    shut = torch.full((1, 1), -200.0)
    _, gates = MinLSTM().step(MinLSTM.Gates(f=shut, i=shut, n=shut), (), MinLSTM.State(shut), None)
    assert (gates["f"].item(), gates["i"].item()) == (0.5, 0.5)


def test_a_cell_without_equations_cannot_be_made():
    class Unfinished(Cell):
        gates = ("n",)
        states = ("h",)

    with pytest.raises(TypeError, match="step"):
        Unfinished()


@pytest.mark.parametrize("cell", [LSTM(), GRU(), RNN()], ids=repr)
def test_named_state_can_be_pickled(cell):
    state = cell.name_state([torch.ones(2)] * len(cell.states))
    again = pickle.loads(pickle.dumps(state))
    assert type(again) is cell.State
    assert again._fields == cell.states
