"""The long short-term memory with a hidden projection."""

from __future__ import annotations

from gatewise.cells.lstm import LSTM
from gatewise.settings import Positive


class ProjectedLSTM(LSTM):
    """Long short-term memory whose hidden state is a projection of the gated cell state (LSTMP).

        i, f, n, o, c'                     as in the LSTM
        m  = o · tanh(c')
        h' = P m                           ``projection_size`` features; the output, and what the gates see

    Sak, Senior & Beaufays, "Long Short-Term Memory Based Recurrent Neural Network Architectures for Large
    Vocabulary Speech Recognition", arXiv:1402.1128, 2014; torch's ``proj_size``. A wide cell state then needs
    few weights. Raises ValueError for a size that is not a whole number of at least 1.
    """

    def __init__(self, projection_size: Positive = 32, forget_bias: float = 1.0) -> None:
        super().__init__(forget_bias)
        self.projection_size = projection_size
