"""A user's cell is one class: defined here, registered nowhere, run by every engine."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, sigmoid, tanh
from torch.nn.functional import layer_norm

from gatewise.cells import LSTM, Cell
from gatewise.engine import ENGINES
from gatewise.nn import Recurrent

T, B, F, H = 5, 3, 2, 4


class CIFG(Cell):
    """Coupled input and forget gate: what is forgotten makes room for what is written."""

    gates = ("f", "n", "o")
    states = ("h", "c")

    def step(self, a, r, s, p):  # noqa: ARG002
        f, n, o = sigmoid(a.f + r.f), tanh(a.n + r.n), sigmoid(a.o + r.o)
        c = f * s.c + (1 - f) * n
        return (o * tanh(c), c), {"f": f, "n": n, "o": o}


class Peephole(LSTM):
    """The gates see the cell state, each feature its own."""

    def own_parameters(self, hidden_size: int) -> dict[str, Tensor]:
        return {name: torch.linspace(-0.5, 0.5, hidden_size) for name in ("peep_i", "peep_f", "peep_o")}

    def step(self, a, r, s, p):
        i, f = sigmoid(a.i + r.i + p.peep_i * s.c), sigmoid(a.f + r.f + p.peep_f * s.c)
        n = tanh(a.n + r.n)
        c = f * s.c + i * n
        o = sigmoid(a.o + r.o + p.peep_o * c)
        return (o * tanh(c), c), {"i": i, "f": f, "n": n, "o": o}


class LayerNormRNN(Cell):
    """Mixes features: r is normalised over H."""

    gates = ("n",)
    states = ("h",)

    def own_parameters(self, hidden_size: int) -> dict[str, Tensor]:
        return {"gain": torch.ones(hidden_size), "bias_norm": torch.zeros(hidden_size)}

    def step(self, a, r, s, p):  # noqa: ARG002
        h = tanh(a.n + layer_norm(r.n, r.n.shape[-1:], p.gain, p.bias_norm, eps=1e-5))
        return (h,), {"n": h}


@dataclass
class Leaky(Cell):
    """A dataclass as a cell, its settings as fields; both states are one tensor."""

    rate: float = 0.25
    gates = ("n",)
    states = ("h", "memory")

    def step(self, a, r, s, p):  # noqa: ARG002
        h = s.memory + self.rate * (tanh(a.n + r.n) - s.memory)
        return (h, h), {"n": h}


def np_sigmoid(z):
    return 1 / (1 + np.exp(-z))


def np_cifg(a, r, s, p):  # noqa: ARG001
    f, n, o = np_sigmoid(a["f"] + r["f"]), np.tanh(a["n"] + r["n"]), np_sigmoid(a["o"] + r["o"])
    c = f * s["c"] + n - f * n
    return {"h": o * np.tanh(c), "c": c}


def np_peephole(a, r, s, p):
    i = np_sigmoid(a["i"] + r["i"] + p["peep_i"] * s["c"])
    f = np_sigmoid(a["f"] + r["f"] + p["peep_f"] * s["c"])
    c = f * s["c"] + i * np.tanh(a["n"] + r["n"])
    o = np_sigmoid(a["o"] + r["o"] + p["peep_o"] * c)
    return {"h": o * np.tanh(c), "c": c}


def np_layer_norm(a, r, s, p):  # noqa: ARG001
    z = r["n"]
    z = (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 1e-5)
    return {"h": np.tanh(a["n"] + z * p["gain"] + p["bias_norm"])}


def np_leaky(a, r, s, p):  # noqa: ARG001
    h = 0.75 * s["memory"] + 0.25 * np.tanh(a["n"] + r["n"])
    return {"h": h, "memory": h}


CELLS = [
    pytest.param(CIFG(), np_cifg, id="cifg"),
    pytest.param(Peephole(), np_peephole, id="peephole"),
    pytest.param(LayerNormRNN(), np_layer_norm, id="layer-norm"),
    pytest.param(Leaky(), np_leaky, id="dataclass"),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("cell", "equations"), CELLS)
def test_recurrent_runs_a_user_cell(cell, equations, engine):
    torch.manual_seed(0)
    recurrent = Recurrent(F, H, cell=cell, engine=engine).double()
    x = torch.randn(T, B, F, dtype=torch.float64)
    outputs, final = recurrent(x)
    expected, expected_final = run_in_numpy(cell, equations, recurrent.layers[0], x.numpy())
    np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=0, atol=1e-13)
    for name, value in final._asdict().items():
        np.testing.assert_allclose(value[0].detach().numpy(), expected_final[name], rtol=0, atol=1e-13)


def run_in_numpy(cell, equations, layer, x):
    U, W, b = (w.detach().numpy() for w in (layer.weight_ih, layer.weight_hh, layer.bias))
    own = {name: value.detach().numpy() for name, value in layer.own.items()}
    state = {name: np.zeros((B, H)) for name in cell.states}
    outputs = []
    for x_t in x:
        a = dict(zip(cell.gates, np.split(x_t @ U.T + b, len(cell.gates), axis=1), strict=True))
        r = dict(zip(cell.gates, np.split(state["h"] @ W.T, len(cell.gates), axis=1), strict=True))
        state = equations(a, r, state, own)
        outputs.append(state["h"])
    return np.stack(outputs), state


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "loop"])
@pytest.mark.parametrize(("cell", "equations"), CELLS)
def test_a_user_cell_has_the_gradients_of_the_loop(cell, equations, engine):  # noqa: ARG001
    def gradients(engine):
        torch.manual_seed(0)
        recurrent = Recurrent(F, H, 2, bidirectional=True, cell=cell, engine=engine).double()
        x = torch.randn(T, B, F, dtype=torch.float64, requires_grad=True)
        outputs, final = recurrent(x, lengths=torch.tensor([2, 5, 0]))
        loss = outputs.square().sum() + sum((k + 1) * s.sin().sum() for k, s in enumerate(final))
        return torch.autograd.grad(loss, [x, *recurrent.parameters()])

    torch.testing.assert_close(gradients(engine), gradients("loop"), rtol=1e-12, atol=1e-12)


def test_own_parameters_are_trained_per_layer_and_direction():
    recurrent = Recurrent(F, H, 2, bidirectional=True, cell=Peephole())
    outputs, _ = recurrent(torch.randn(T, B, F))
    outputs.square().sum().backward()
    own = {name: p.grad for name, p in recurrent.named_parameters() if "peep" in name}
    assert len(own) == 3 * 2 * 2
    assert all(grad.abs().sum() > 0 for grad in own.values())


def test_own_biases_stay_zero_and_untrained_without_biases():
    own = Recurrent(F, H, bias=False, cell=LayerNormRNN()).layers[0].own
    assert own["gain"].requires_grad
    assert not own["bias_norm"].requires_grad
    assert own["bias_norm"].tolist() == [0.0] * H


def test_user_cells_show_their_gates():
    *_, gates = Recurrent(F, H, cell=CIFG())(torch.randn(T, B, F), return_gates=True)
    assert set(gates) == {"f", "n", "o", "h", "c"}
