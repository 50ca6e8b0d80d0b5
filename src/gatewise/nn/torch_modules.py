"""Modules of torch.nn as cells and weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from gatewise.cells import GRU, LSTM, RNN, Cell, ProjectedLSTM


def cell_of(module: nn.RNNBase) -> Cell:
    """The cell with the equations of a torch module. Raises ValueError where there is none."""
    if isinstance(module, nn.LSTM):
        return ProjectedLSTM(module.proj_size) if module.proj_size else LSTM()
    if isinstance(module, nn.GRU):
        return GRU()
    if isinstance(module, nn.RNN):
        return RNN(module.nonlinearity)
    raise ValueError(f"cannot express {module}: give a torch.nn.LSTM, GRU or RNN")


def is_of_kind(module: object, cell: Cell) -> bool:
    """Whether a module runs this cell, with its nonlinearity and projection."""
    if not isinstance(module, nn.RNNBase):
        return False
    other = cell_of(module)
    settings = ("nonlinearity", "projection_size")
    return type(other) is type(cell) and all(
        getattr(other, name, None) == getattr(cell, name, None) for name in settings
    )


def weights_of(module: nn.RNNBase) -> Iterator[dict[str, Tensor]]:
    """Of each layer and direction the weights by torch's names without their suffix: ``weight_ih``, …"""
    kinds = ["weight_ih", "weight_hh"]
    kinds += ["bias_ih", "bias_hh"] if module.bias else []
    kinds += ["weight_hr"] if module.proj_size else []
    for layer in range(module.num_layers):
        for direction in ("", "_reverse")[: 2 if module.bidirectional else 1]:
            yield {kind: getattr(module, f"{kind}_l{layer}{direction}").detach() for kind in kinds}


def fits(module: object, recurrent: Any) -> bool:
    """Whether a module and a Recurrent are of one cell and the same sizes."""
    names = ("input_size", "hidden_size", "num_layers", "bidirectional", "bias")
    same = all(getattr(module, name, None) == getattr(recurrent, name) for name in names)
    return same and is_of_kind(module, recurrent.cell)


def recurrent_of(kind: type[Any], module: nn.RNNBase, engine: str) -> Any:
    """A Recurrent of this class with the settings and weights of a torch module."""
    cell = cell_of(module)
    recurrent = kind(
        module.input_size,
        module.hidden_size,
        module.num_layers,
        module.bias,
        module.batch_first,
        module.dropout,
        module.bidirectional,
        cell=cell,
        engine=engine,
    )
    recurrent.to(next(module.parameters()).device)
    recurrent.load_torch(module)
    return recurrent
