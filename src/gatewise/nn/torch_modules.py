"""Modules of torch.nn as cells and weights."""

from __future__ import annotations

from collections.abc import Iterator

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
