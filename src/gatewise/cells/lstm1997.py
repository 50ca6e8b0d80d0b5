"""The first long short-term memory, which never forgets."""

from __future__ import annotations

from typing import Any

from torch import Tensor, sigmoid, tanh

from gatewise.cells.cell import Cell


class LSTM1997(Cell):
    """Long short-term memory without forget gate: the cell state is kept with weight 1.

        i  = σ(U_i x + b_i + W_i h)
        n  = tanh(U_n x + b_n + W_n h)
        o  = σ(U_o x + b_o + W_o h)
        c' = c + i · n                     the constant error carousel
        h' = o · tanh(c')

    Hochreiter & Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, with tanh
    instead of the paper's scaled sigmoids, and full gradients instead of its truncated ones.
    """

    gates = ("i", "n", "o")
    states = ("h", "c")

    def step(self, a: Any, r: Any, s: Any, p: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:  # noqa: ARG002
        i = sigmoid(a.i + r.i)
        n = tanh(a.n + r.n)
        o = sigmoid(a.o + r.o)
        c = s.c + i * n
        return (o * tanh(c), c), {"i": i, "n": n, "o": o}
