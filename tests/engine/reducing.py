"""Cells whose step reduces along the features, in each way that there is."""

from problem import LayerNormRNN
from torch import sigmoid, softmax, tanh
from torch.nn.functional import layer_norm

from gatewise.cells import Cell, LayerNormLSTM
from gatewise.cells.zoneout import zoneout


class SoftmaxRNN(Cell):
    """Two reductions after each other, of a largest value and of a sum; the state is reduced as well."""

    gates = ("n", "o")
    states = ("h",)

    def step(self, a, r, s, p):  # noqa: ARG002
        attention = softmax(a.n + r.n, -1)
        h = tanh(4 * attention * s.h.sum(-1, keepdim=True) + sigmoid(a.o + r.o) * s.h)
        return (h,), {"n": attention}


class Ranges(Cell):
    """The least and the largest value, and what differs from the mean, of several things at once."""

    gates = ("n", "o")
    recurrent = ("n",)
    states = ("h", "c")

    def step(self, a, r, s, p):  # noqa: ARG002
        n = a.n + r.n
        low, high = n.amin(-1, keepdim=True), n.amax(-1, keepdim=True)
        c = 0.5 * s.c + (n - low) / (high - low) + a.o.mean(-1, keepdim=True)
        return (tanh(c - c.mean(-1, keepdim=True)) / (1 + n.std(-1, keepdim=True)), c), {"c": c}


class NormedMinGRU(Cell):
    """Without a recurrent product, so that the blocks have nothing else to hand on."""

    gates = ("z", "n")
    recurrent = ()
    states = ("h",)

    def step(self, a, r, s, p):  # noqa: ARG002
        z = sigmoid(a.z)
        h = layer_norm((1 - z) * s.h + z * a.n, a.n.shape[-1:])
        return (h,), {"z": z}


class ProjectedLayerNorm(Cell):
    """Its hidden state is projected as well."""

    gates = ("n", "o")
    states = ("h", "c")
    projection_size = 12

    def step(self, a, r, s, p):  # noqa: ARG002
        c = 0.5 * s.c + layer_norm(a.n + r.n, a.n.shape[-1:])
        o = sigmoid(a.o + r.o)
        return (tanh(c) * o, c), {"o": o}


REDUCING = [
    LayerNormLSTM(),
    zoneout(LayerNormLSTM(), {"h": 0.3, "c": 0.5}, training=True),
    LayerNormRNN(),
    SoftmaxRNN(),
    Ranges(),
    NormedMinGRU(),
    ProjectedLayerNorm(),
]
