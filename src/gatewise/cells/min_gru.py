"""The gated recurrent unit whose gates see only the input."""

from __future__ import annotations

from typing import Any

from torch import Tensor, sigmoid

from gatewise.cells.cell import Cell


class MinGRU(Cell):
    """Minimal gated recurrent unit: no gate sees the state, so there is no recurrent product.

        z  = σ(U_z x + b_z)                update gate: how much of the candidate is taken
        n  = U_n x + b_n                   candidate
        h' = (1 - z) · h + z · n

    Feng, Tung, Ahmed, Bengio & Hajimirsadeghi, "Were RNNs All We Needed?", arXiv:2410.01201, 2024.
    """

    gates = ("z", "n")
    recurrent = ()
    states = ("h",)

    def step(self, a: Any, r: Any, s: Any, p: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:  # noqa: ARG002
        z = sigmoid(a.z)
        return (s.h + z * (a.n - s.h),), {"z": z, "n": a.n}
