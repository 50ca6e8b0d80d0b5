"""The long short-term memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, sigmoid, tanh

from gatewise.cells.cell import Cell


class LSTM(Cell):
    """Long short-term memory with forget gate.

        i  = σ(U_i x + b_i + W_i h)        input gate: how much of the candidate is written
        f  = σ(U_f x + b_f + W_f h)        forget gate: how much of the cell state is kept
        n  = tanh(U_n x + b_n + W_n h)     candidate
        o  = σ(U_o x + b_o + W_o h)        output gate: how much of the cell state is shown
        c' = f · c + i · n                 cell state, the long-term memory
        h' = o · tanh(c')                  hidden state, the output

    Hochreiter & Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997; the forget gate from
    Gers, Schmidhuber & Cummins, "Learning to Forget", Neural Computation 12(10), 2000. The blocks are in
    torch's order (its ``g`` is our ``n``). ``forget_bias`` starts b_f above zero, so that the cell remembers
    before it has learnt to (Jozefowicz, Zaremba & Sutskever, ICML 2015).
    """

    gates = ("i", "f", "n", "o")
    states = ("h", "c")

    def __init__(self, forget_bias: float = 1.0) -> None:
        self.forget_bias = float(forget_bias)

    def initial_bias(self) -> Mapping[str, float]:
        return {"f": self.forget_bias}

    def step(self, a: Any, r: Any, s: Any, p: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:  # noqa: ARG002
        i = sigmoid(a.i + r.i)
        f = sigmoid(a.f + r.f)
        n = tanh(a.n + r.n)
        o = sigmoid(a.o + r.o)
        c = f * s.c + i * n
        h = o * tanh(c)
        return (h, c), {"i": i, "f": f, "n": n, "o": o}
