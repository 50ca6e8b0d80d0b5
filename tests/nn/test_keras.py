"""``Recurrent.from_keras``: Keras's arrays, and its equations written down in numpy."""

import numpy as np
import pytest
import torch

from gatewise.cells import GRU, LSTM, RNN, MinGRU
from gatewise.nn import Recurrent

B, T, F, H = 3, 6, 5, 4


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lstm(x, kernel, recurrent_kernel, bias):
    """Blocks i f c o: https://keras.io/api/layers/recurrent_layers/lstm/."""
    h, c, outputs = np.zeros((B, H)), np.zeros((B, H)), []
    for t in range(x.shape[1]):
        i, f, candidate, o = np.split(x[:, t] @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(candidate)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, 1)


def gru(x, kernel, recurrent_kernel, bias):
    """Blocks z r h, the reset gate after the product: https://keras.io/api/layers/recurrent_layers/gru/."""
    h, outputs = np.zeros((B, H)), []
    for t in range(x.shape[1]):
        x_z, x_r, x_h = np.split(x[:, t] @ kernel + bias[0], 3, axis=1)
        h_z, h_r, h_h = np.split(h @ recurrent_kernel + bias[1], 3, axis=1)
        z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
        h = z * h + (1 - z) * np.tanh(x_h + r * h_h)
        outputs.append(h)
    return np.stack(outputs, 1)


def simple_rnn(x, kernel, recurrent_kernel, bias, function=np.tanh):
    h, outputs = np.zeros((B, H)), []
    for t in range(x.shape[1]):
        h = function(x[:, t] @ kernel + h @ recurrent_kernel + bias)
        outputs.append(h)
    return np.stack(outputs, 1)


def simple_rnn_relu(*arguments):
    return simple_rnn(*arguments, function=lambda z: np.maximum(z, 0))


LAYERS = {
    "lstm": (LSTM(), lstm, 4),
    "gru": (GRU(), gru, 3),
    "rnn": (RNN(), simple_rnn, 1),
    "rnn-relu": (RNN("relu"), simple_rnn_relu, 1),
}


def weights(kind, features, draw):
    cell, _, gates = LAYERS[kind]
    bias = (2, gates * H) if isinstance(cell, GRU) else (gates * H,)
    return [draw.standard_normal(shape) / 3 for shape in ((features, gates * H), (H, gates * H), bias)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_outputs_are_those_of_keras(kind, bidirectional, bias):
    cell, equations, _ = LAYERS[kind]
    draw = np.random.default_rng(0)
    x = draw.standard_normal((B, T, F))
    expected, layers = x, []
    for _ in range(2):
        directions = [weights(kind, expected.shape[2], draw) for _ in range(1 + bidirectional)]
        if not bias:
            directions = [[kernel, recurrent, 0 * b] for kernel, recurrent, b in directions]
        outputs = [equations(expected, *directions[0])]
        if bidirectional:
            outputs.append(equations(expected[:, ::-1], *directions[1])[:, ::-1])
        expected = np.concatenate(outputs, 2)
        layers.append([array for arrays in directions for array in arrays[: 3 if bias else 2]])

    recurrent = Recurrent.from_keras(cell, layers)
    outputs, _ = recurrent(torch.from_numpy(x))
    np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=0, atol=1e-13)
    settings = (recurrent.num_layers, recurrent.bidirectional, recurrent.bias, recurrent.batch_first)
    assert settings == (2, bidirectional, bias, True)


def test_arrays_keep_their_dtype_and_are_copied():
    arrays = [array.astype("float32") for array in weights("lstm", F, np.random.default_rng(0))]
    recurrent = Recurrent.from_keras(LSTM(), [arrays], batch_first=False, engine="loop")
    before = recurrent.layers[0].weight_ih.clone()
    arrays[0][:] = 0
    assert torch.equal(recurrent.layers[0].weight_ih, before)
    assert (before.dtype, recurrent.batch_first, recurrent.engine) == (torch.float32, False, "loop")


def zeros(*shapes):
    return [np.zeros(shape) for shape in shapes]


@pytest.mark.parametrize(
    ("cell", "layers", "message"),
    [
        (MinGRU(), [], r"cell must be an LSTM, a GRU or an RNN, as Keras has them, got MinGRU\(\)"),
        (LSTM, [], "cell must be an LSTM, a GRU or an RNN"),
        (LSTM(), [], r"each layer must give kernel, recurrent_kernel and bias .*; got \[\]"),
        (LSTM(), [zeros((5, 16))], r"each layer must give .*; got \[1\]"),
        (
            LSTM(),
            [zeros((5, 16), (4, 16)), zeros((4, 16), (4, 16), 16)],
            r"all layers the same number; got \[2, 3\]",
        ),
        (LSTM(), zeros((5, 16), (4, 16), 16), r"each layer must give .*; got \[5, 4, 16\]"),
        (
            LSTM(),
            [zeros((5, 12), (4, 12), 12)],
            r"kernel of layer 0 must be \[5, 16\] for LSTM\(.*got \[5, 12\]",
        ),
        (LSTM(), [zeros((5, 16), (4, 15), 16)], r"recurrent_kernel of layer 0 must be \[4, 16\]"),
        (LSTM(), [zeros((5, 16), (4, 16), 16)] * 2, r"kernel of layer 1 must be \[4, 16\] .*got \[5, 16\]"),
        (LSTM(), [zeros((), (4, 16), 16)], r"kernel of layer 0 must be \[0, 16\] .*got \[\]"),
        (GRU(), [zeros((5, 12), (4, 12), 12)], r"bias .* \[2, 12\] .*reset_after=False is not supported"),
    ],
)
def test_arrays_that_are_not_of_such_layers(cell, layers, message):
    with pytest.raises(ValueError, match=message):
        Recurrent.from_keras(cell, layers)
