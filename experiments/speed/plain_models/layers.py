"""Recurrent layers as one has them in plain PyTorch, and the dropouts that one writes around them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gatewise.cells import LSTM, RNN
from gatewise.nn import Recurrent, Stacked
from gatewise.nn.locked import LockedDropout


def locked(x: Tensor, p: float, training: bool) -> Tensor:
    """``x`` [B, T, F] with the same features dropped in all steps of a sequence."""
    if not training or p == 0:
        return x
    return x * x.new_empty(x.shape[0], 1, x.shape[2]).bernoulli_(1 - p) / (1 - p)


def dropped(x: Tensor, module: nn.Dropout, training: bool) -> Tensor:
    """``x`` [B, T, F] with dropout of the kind and share of a module."""
    if isinstance(module, LockedDropout):
        return locked(x, module.p, training)
    return F.dropout(x, module.p, training)


def recurrents_of(encoder: Recurrent | Stacked) -> list[Recurrent]:
    """The Recurrent modules that an encoder is made of."""
    return list(encoder.layers) if isinstance(encoder, Stacked) else [encoder]  # type: ignore[arg-type]


def has_cell(encoder: Recurrent | Stacked) -> bool:
    """Whether torch.nn has an encoder's cell."""
    return type(encoder.cell) in (LSTM, RNN)


def left_out(encoder: Recurrent | Stacked) -> list[str]:
    """What of an encoder torch.nn has not."""
    first = recurrents_of(encoder)[0]
    cell = [] if has_cell(encoder) else [type(first.cell).__name__]
    settings = ("state_dropout", "zoneout", "learn_initial_state")
    return [*cell, *(name for name in settings if getattr(first, name))]


def torch_layers(layers: Recurrent) -> nn.RNNBase:
    """An nn.LSTM of the same sizes, or an nn.RNN for that cell; both have its weights from now on."""
    module = _module(layers, layers.input_size, layers.num_layers)
    if has_cell(layers):
        layers.load_torch(module)
    return module


def _module(layers: Recurrent, input_size: int, num_layers: int) -> nn.RNNBase:
    settings: dict[str, Any] = {
        "num_layers": num_layers,
        "batch_first": True,
        "dropout": layers.dropout if num_layers > 1 else 0.0,
        "bidirectional": layers.bidirectional,
    }
    if isinstance(layers.cell, RNN):
        return nn.RNN(input_size, layers.hidden_size, nonlinearity=layers.cell.nonlinearity, **settings)
    return nn.LSTM(input_size, layers.hidden_size, **settings)


def one_by_one(layers: Recurrent) -> list[nn.RNNBase]:
    """A module for each layer."""
    weights, own = torch_layers(layers).state_dict(), []
    for index in range(layers.num_layers):
        suffix = f"_l{index}"
        of_layer = {name.replace(suffix, "_l0"): w for name, w in weights.items() if suffix in name}
        own.append(_module(layers, of_layer["weight_ih_l0"].shape[1], 1))
        own[-1].load_state_dict(of_layer)
    return own


class PlainLayers(nn.Module):
    """The layers of a Recurrent or Stacked: one nn.LSTM, or one for each where masks go between."""

    def __init__(self, encoder: Recurrent | Stacked) -> None:
        super().__init__()
        recurrents = recurrents_of(encoder)
        self.input_dropout, self.weight_dropout = recurrents[0].input_dropout, recurrents[0].weight_dropout
        modules = one_by_one if self.input_dropout else lambda layers: [torch_layers(layers)]
        self.layers = nn.ModuleList(module for layers in recurrents for module in modules(layers))
        self.dropout = encoder.dropout
        self.between = encoder.between.p if isinstance(encoder, Stacked) else 0.0
        self.adds_up = isinstance(encoder, Stacked) and encoder.skip_connections

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, state: list[Any] | None = None
    ) -> tuple[Tensor, list[Any]]:
        """(Outputs [B, T, D·H], the final state of each module) of inputs [B, T, F]."""
        total, after = None, []
        for index, module in enumerate(self.layers):
            if index > 0:
                x = locked(F.dropout(x, self.dropout, self.training), self.between, self.training)
            x = locked(x, self.input_dropout, self.training)
            x, final = self._run(module, x, lengths, None if state is None else state[index])
            after.append(final)
            total = x if total is None or not self.adds_up else total + x
        assert total is not None
        return total, after

    def _run(self, module: nn.Module, x: Tensor, lengths: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        """One module, in training with some of its recurrent weights dropped."""
        given: Any = x
        if lengths is not None:
            given = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        if self.training and self.weight_dropout:
            weights = {
                name: F.dropout(weight, self.weight_dropout) if name.startswith("weight_hh") else weight
                for name, weight in module.named_parameters()
            }
            outputs, final = functional_call(module, weights, (given, state))
        else:
            outputs, final = module(given, state)
        if lengths is not None:
            outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])
        return outputs, final


def each(function: Any, state: Any) -> Any:
    """A function of every tensor of a state of nn.LSTM, or of the one of nn.RNN."""
    return tuple(map(function, state)) if isinstance(state, tuple) else function(state)


def is_real(lengths: Tensor, steps: int) -> Tensor:
    """Which steps [B, T] of sequences with lengths [B] are no padding."""
    return torch.arange(steps) < lengths[:, None]
