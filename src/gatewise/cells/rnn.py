"""The plain recurrent network."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, relu, tanh

from gatewise.cells.cell import Cell

NONLINEARITIES = {"tanh": tanh, "relu": relu}


class RNN(Cell):
    """Plain (Elman) recurrent network, without gates.

        h' = φ(U_n x + b_n + W_n h)        φ is tanh or ReLU

    Elman, "Finding Structure in Time", Cognitive Science 14(2), 1990. Raises ValueError for another
    ``nonlinearity``.
    """

    gates = ("n",)
    states = ("h",)

    def __init__(self, nonlinearity: Literal["tanh", "relu"] = "tanh") -> None:
        self.nonlinearity = nonlinearity

    def step(self, a: Any, r: Any, s: Any, p: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:  # noqa: ARG002
        h = NONLINEARITIES[self.nonlinearity](a.n + r.n)
        return (h,), {"n": h}
