"""Cells: the equations of one time step, one class in one file each."""

from gatewise.cells.capped import CappedLSTM
from gatewise.cells.cell import Cell
from gatewise.cells.coupled import CoupledLSTM
from gatewise.cells.gru import GRU
from gatewise.cells.layer_norm import LayerNormLSTM
from gatewise.cells.lstm import LSTM
from gatewise.cells.lstm1997 import LSTM1997
from gatewise.cells.min_gru import MinGRU
from gatewise.cells.min_lstm import MinLSTM
from gatewise.cells.peephole import PeepholeLSTM
from gatewise.cells.projected import ProjectedLSTM
from gatewise.cells.rnn import RNN

__all__ = [
    "GRU",
    "LSTM",
    "LSTM1997",
    "RNN",
    "CappedLSTM",
    "Cell",
    "CoupledLSTM",
    "LayerNormLSTM",
    "MinGRU",
    "MinLSTM",
    "PeepholeLSTM",
    "ProjectedLSTM",
]
