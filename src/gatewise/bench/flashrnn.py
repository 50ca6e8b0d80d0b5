"""NX-AI's FlashRNN as a layer; a GPU's compiler (nvcc) builds its kernels for each size when they first run.

It has LSTM, GRU and the plain RNN in one direction, without lengths: it runs over padding as well.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor, nn

FUNCTIONS = {"LSTM": "lstm", "GRU": "gru", "RNN": "elman"}
BACKENDS = ("cuda_fused", "cuda")
"""The fused kernels where the size allows it, else one launch a step."""


def flashrnn_is_there() -> bool:
    """Whether FlashRNN is installed; nothing is imported."""
    return importlib.util.find_spec("flashrnn") is not None


class FlashRNN(nn.Module):
    """The weights of a torch.nn layer of one direction in FlashRNN's layout, with the input product by torch.

    ``backend`` None takes the first of ``BACKENDS`` that can be built.
    """

    def __init__(self, layer: nn.RNNBase, backend: str | None = None) -> None:
        super().__init__()
        if layer.bidirectional:
            raise ValueError("FlashRNN has one direction")
        self.function = FUNCTIONS[layer.mode.split("_")[0]]
        self.backend = backend
        weights = {name: weight.detach() for name, weight in layer.named_parameters()}
        hidden = layer.hidden_size
        recurrent = weights["weight_hh_l0"].view(-1, 1, hidden, hidden)
        outer, inner = (weights[f"bias_{kind}_l0"].view(-1, 1, hidden) for kind in ("ih", "hh"))
        bias = outer + inner
        if self.function == "gru":
            # From torch's r, z, n to the hidden part of n, r, z; biases have the input's part of n, too.
            recurrent = recurrent.roll(1, 0)
            bias = torch.cat([inner[2:], bias[:2], outer[2:]])
        self.input = nn.Parameter(weights["weight_ih_l0"].clone())
        self.recurrent = nn.Parameter(recurrent.clone())
        self.bias = nn.Parameter(bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [T, B, H] of sequences [T, B, I]."""
        steps, batch = x.shape[:2]
        hidden = self.recurrent.shape[-1]
        product = nn.functional.linear(x, self.input).view(steps, batch, -1, 1, hidden)
        states: Tensor = self._states(product.transpose(0, 1))
        return states[0, :, :, 0].transpose(0, 1)

    def _states(self, product: Tensor) -> Any:
        """States [S, B, T, 1, H]; the first is the output."""
        from flashrnn import flashrnn

        # Its own product is TF32 in "float32".
        settings = {"function": self.function, "dtype": str(product.dtype).removeprefix("torch.")}
        given = (product, self.recurrent, self.bias)
        if self.backend is not None:
            return flashrnn(*given, backend=self.backend, **settings)[0]
        first, second = BACKENDS
        try:
            states = flashrnn(*given, backend=first, **settings)[0]
            self.backend = first
        except Exception:  # no way to share out this size among blocks, or none that compiles
            states = flashrnn(*given, backend=second, **settings)[0]
            self.backend = second
        return states

    def torch_gradients(self) -> list[Tensor]:
        """Gradients of a torch.nn layer's input and hidden weights and of its input bias."""
        assert self.input.grad is not None
        assert self.recurrent.grad is not None
        assert self.bias.grad is not None
        recurrent, bias = self.recurrent.grad, self.bias.grad
        if self.function == "gru":
            recurrent, bias = recurrent.roll(-1, 0), bias[1:]
        return [self.input.grad, recurrent.flatten(0, 2), bias.flatten()]
