"""The long short-term memory whose gates see only the input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, sigmoid
from torch.nn.functional import logsigmoid

from gatewise.cells.cell import Cell


class MinLSTM(Cell):
    """Minimal long short-term memory: no gate sees the state, so there is no recurrent product.

        f  = σ(U_f x + b_f)
        i  = σ(U_i x + b_i)
        n  = U_n x + b_n
        f' = f / (f + i)                   the two shares add up to 1
        i' = i / (f + i)
        h' = f' · h + i' · n

    Feng, Tung, Ahmed, Bengio & Hajimirsadeghi, "Were RNNs All We Needed?", arXiv:2410.01201, 2024. The gates
    that ``step`` returns are the shares f' and i'.
    """

    gates = ("f", "i", "n")
    recurrent = ()
    states = ("h",)

    def __init__(self, forget_bias: float = 1.0) -> None:
        self.forget_bias = float(forget_bias)

    def initial_bias(self) -> Mapping[str, float]:
        return {"f": self.forget_bias}

    def step(self, a: Any, r: Any, s: Any, p: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:  # noqa: ARG002
        # f / (f + i) = σ(log f - log i), which is not NaN where both gates round to 0.
        f = sigmoid(logsigmoid(a.f) - logsigmoid(a.i))
        i = 1 - f
        return (f * s.h + i * a.n,), {"f": f, "i": i, "n": a.n}
