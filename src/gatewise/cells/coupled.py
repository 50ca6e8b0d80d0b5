"""The long short-term memory with one gate for writing and forgetting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, sigmoid, tanh

from gatewise.cells.cell import Cell


class CoupledLSTM(Cell):
    """Long short-term memory with coupled input and forget gate.

        f  = σ(U_f x + b_f + W_f h)
        n  = tanh(U_n x + b_n + W_n h)
        o  = σ(U_o x + b_o + W_o h)
        c' = f · c + (1 - f) · n           what is forgotten makes room for what is written
        h' = o · tanh(c')

    "CIFG" in Greff, Srivastava, Koutník, Steunebrink & Schmidhuber, "LSTM: A Search Space Odyssey", IEEE
    Transactions on Neural Networks and Learning Systems 28(10), 2017. A quarter fewer weights than the LSTM.
    """

    gates = ("f", "n", "o")
    states = ("h", "c")

    def __init__(self, forget_bias: float = 1.0) -> None:
        self.forget_bias = float(forget_bias)

    def initial_bias(self) -> Mapping[str, float]:
        return {"f": self.forget_bias}

    def step(self, a: Any, r: Any, s: Any, p: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:  # noqa: ARG002
        f = sigmoid(a.f + r.f)
        n = tanh(a.n + r.n)
        o = sigmoid(a.o + r.o)
        c = n + f * (s.c - n)
        return (o * tanh(c), c), {"f": f, "n": n, "o": o}
