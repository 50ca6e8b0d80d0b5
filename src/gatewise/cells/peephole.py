"""The long short-term memory whose gates see the cell state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, sigmoid, tanh

from gatewise.cells.lstm import LSTM


class PeepholeLSTM(LSTM):
    """Long short-term memory with peephole connections, one weight per feature.

        i  = σ(U_i x + b_i + W_i h + p_i · c)
        f  = σ(U_f x + b_f + W_f h + p_f · c)
        n  = tanh(U_n x + b_n + W_n h)
        c' = f · c + i · n
        o  = σ(U_o x + b_o + W_o h + p_o · c')     sees the new cell state
        h' = o · tanh(c')

    Gers, Schraudolph & Schmidhuber, "Learning Precise Timing with LSTM Recurrent Networks", Journal of
    Machine Learning Research 3, 2002. The peepholes p start at zero, where the cell is a plain LSTM.
    """

    def own_parameters(self, hidden_size: int) -> dict[str, Tensor]:
        return {f"peep_{gate}": torch.zeros(hidden_size) for gate in ("i", "f", "o")}

    def step(self, a: Any, r: Any, s: Any, p: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        i = sigmoid(a.i + r.i + p.peep_i * s.c)
        f = sigmoid(a.f + r.f + p.peep_f * s.c)
        n = tanh(a.n + r.n)
        c = f * s.c + i * n
        o = sigmoid(a.o + r.o + p.peep_o * c)
        return (o * tanh(c), c), {"i": i, "f": f, "n": n, "o": o}
