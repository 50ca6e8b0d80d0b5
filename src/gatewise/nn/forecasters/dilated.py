"""Recurrent layers that skip steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional as F

from gatewise.nn import Recurrent, Stacked


def dilated(layer: Recurrent | Stacked, inputs: Tensor, dilation: int) -> Tensor:
    """Outputs [B, T, H] of a layer for inputs [B, T, F], whose state comes from ``dilation`` steps before.

    Every ``dilation``-th step is a sequence of its own (Chang et al., "Dilated Recurrent Neural Networks",
    NeurIPS 2017); zeros are put before the first step where T is no multiple.
    """
    batch, steps, _ = inputs.shape
    padded = F.pad(inputs, (0, 0, -steps % dilation, 0))
    # [B, T / d, d, F] to [B · d, T / d, F] and back.
    apart = padded.unflatten(1, (-1, dilation)).transpose(1, 2).flatten(0, 1)
    outputs: Tensor = layer(apart)[0]
    together = outputs.unflatten(0, (batch, dilation)).transpose(1, 2).flatten(1, 2)
    result: Tensor = together[:, -steps:]
    return result


class DilatedLayers(nn.Module):
    """Layers of rising dilation, the outputs of every second one added to those of the pair before it."""

    def __init__(self, layers: Sequence[Any], dilations: Sequence[int]) -> None:
        super().__init__()
        self.layers, self.dilations = nn.ModuleList(layers), tuple(dilations)

    def forward(self, first: Tensor) -> Tensor:
        """Outputs [B, T, H] from those of the layer below, the first of its pair."""
        outputs, block = first, None
        layers = cast(Iterable[Recurrent | Stacked], self.layers)
        for index, (layer, dilation) in enumerate(zip(layers, self.dilations, strict=True), start=1):
            outputs = dilated(layer, outputs, dilation)
            if index % 2 == 1:  # the second of a pair
                outputs = outputs if block is None else outputs + block
                block = outputs
        return outputs
