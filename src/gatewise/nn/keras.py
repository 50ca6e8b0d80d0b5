"""The weights of Keras layers, in torch's names and order; Keras itself need not be installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.cells import GRU, LSTM, RNN, Cell

# Position of each of our gates among Keras's: i f c o, z r h, and the only one of SimpleRNN.
_ORDER = {LSTM: (0, 1, 2, 3), GRU: (1, 0, 2), RNN: (0,)}


class KerasWeights(NamedTuple):
    """Sizes, and the tensors of each layer and direction, named as in torch."""

    input_size: int
    hidden_size: int
    bidirectional: bool
    bias: bool
    directions: list[dict[str, Tensor]]


def read(cell: Cell, layers: Sequence[Sequence[Any]]) -> KerasWeights:
    """The weights from ``get_weights()`` of Keras's LSTM, GRU or SimpleRNN layers, the lowest layer first.

    Each direction has a kernel [F, G·H], a recurrent_kernel [H, G·H] and, with biases, a bias: [G·H], for a
    GRU [2, 3·H]. Raises ValueError for another cell, and for arrays that such layers do not have.
    """
    if type(cell) not in _ORDER:
        raise ValueError(f"cell must be an LSTM, a GRU or an RNN, as Keras has them, got {cell!r}")
    counts = {len(arrays) for arrays in layers}
    if len(counts) != 1 or not counts <= {2, 3, 4, 6}:
        raise ValueError(
            f"each layer must give kernel, recurrent_kernel and bias (without biases two arrays; for two "
            f"directions twice as many), and all layers the same number; "
            f"got {[len(arrays) for arrays in layers]}"
        )
    (count,) = counts
    bidirectional, bias = count > 3, count % 3 == 0
    each = count // 2 if bidirectional else count
    groups = [arrays[start : start + each] for arrays in layers for start in range(0, count, each)]
    # 0 for what has no dimensions, which the check of shapes below then names.
    input_size, hidden_size = ((*np.shape(array), 0)[0] for array in groups[0][:2])
    above = hidden_size * (2 if bidirectional else 1)
    directions = []
    for number, arrays in enumerate(groups):
        layer = number * each // count
        directions.append(_direction(cell, arrays, input_size if layer == 0 else above, hidden_size, layer))
    return KerasWeights(input_size, hidden_size, bidirectional, bias, directions)


def _direction(
    cell: Cell, arrays: Sequence[Any], input_size: int, hidden_size: int, layer: int
) -> dict[str, Tensor]:
    width = len(cell.gates) * hidden_size
    # A GRU has two biases, because its reset gate comes after the recurrent product.
    names: dict[str, tuple[int, ...]] = {
        "kernel": (input_size, width),
        "recurrent_kernel": (hidden_size, width),
    }
    names["bias"] = (2, width) if isinstance(cell, GRU) else (width,)
    tensor_of = {name: torch.as_tensor(np.array(array)) for name, array in zip(names, arrays, strict=False)}
    for name, tensor in tensor_of.items():
        if tensor.shape != names[name]:
            hint = " (reset_after=False is not supported)" if name == "bias" and type(cell) is GRU else ""
            raise ValueError(
                f"{name} of layer {layer} must be {list(names[name])} for {cell!r}, "
                f"got {list(tensor.shape)}{hint}"
            )

    def ordered(tensor: Tensor) -> Tensor:
        blocks = tensor.chunk(len(cell.gates), dim=-1)
        return torch.cat([blocks[k] for k in _ORDER[type(cell)]], dim=-1)

    tensors = {
        "weight_ih": ordered(tensor_of["kernel"]).t(),
        "weight_hh": ordered(tensor_of["recurrent_kernel"]).t(),
    }
    if "bias" in tensor_of:
        bias = ordered(tensor_of["bias"])
        both = bias if bias.dim() == 2 else (bias, torch.zeros_like(bias))
        tensors["bias_ih"], tensors["bias_hh"] = both[0], both[1]
    return tensors


def recurrent_of(
    kind: type[Any], cell: Cell, layers: Sequence[Sequence[Any]], batch_first: bool, engine: str
) -> Any:
    """A Recurrent of this class with the weights of Keras layers."""
    weights = read(cell, layers)
    recurrent = kind(
        weights.input_size,
        weights.hidden_size,
        len(layers),
        weights.bias,
        batch_first,
        bidirectional=weights.bidirectional,
        cell=cell,
        engine=engine,
    )
    recurrent.to(weights.directions[0]["weight_ih"].dtype)
    for layer, tensors in zip(recurrent.layers, weights.directions, strict=True):
        layer.load_torch(tensors)
    return recurrent
