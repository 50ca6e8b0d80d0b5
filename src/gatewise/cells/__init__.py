"""Cells: the equations of one time step, one class in one file each."""

from gatewise.cells.cell import Cell
from gatewise.cells.gru import GRU
from gatewise.cells.lstm import LSTM
from gatewise.cells.rnn import RNN

__all__ = ["GRU", "LSTM", "RNN", "Cell"]
