"""The long short-term memory whose input gate is capped by its forget gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, minimum, sigmoid, tanh

from gatewise.cells.cell import Cell


class CappedLSTM(Cell):
    """Long short-term memory with a capped input gate.

        f  = σ(U_f x + b_f + W_f h)
        i  = min(1 - f, σ(U_i x + b_i + W_i h))     no more is written than is forgotten
        n  = tanh(U_n x + b_n + W_n h)
        o  = σ(U_o x + b_o + W_o h)
        c' = f · c + i · n                          stays between -1 and 1
        h' = o · tanh(c')

    Melis, Dyer & Blunsom, "On the State of the Art of Evaluation in Neural Language Models", ICLR 2018. The
    gate i that is shown is the capped one.
    """

    gates = ("i", "f", "n", "o")
    states = ("h", "c")

    def __init__(self, forget_bias: float = 1.0) -> None:
        self.forget_bias = float(forget_bias)

    def initial_bias(self) -> Mapping[str, float]:
        return {"f": self.forget_bias}

    def step(self, a: Any, r: Any, s: Any, p: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:  # noqa: ARG002
        f = sigmoid(a.f + r.f)
        i = minimum(1 - f, sigmoid(a.i + r.i))
        n = tanh(a.n + r.n)
        o = sigmoid(a.o + r.o)
        c = f * s.c + i * n
        return (o * tanh(c), c), {"i": i, "f": f, "n": n, "o": o}
