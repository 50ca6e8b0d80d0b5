"""The parameters of one cell in one layer and one direction."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gatewise.cells import Cell
from gatewise.engine import Weights


class Layer(nn.Module):
    """U, W, b and the cell's own parameters, in one layer and one direction; G gates, F inputs, H hidden."""

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        bias: bool,
        recurrent_init: str,
        learn_initial_state: bool,
    ) -> None:
        super().__init__()
        self.cell = cell
        self.hidden_size = hidden_size
        self.recurrent_init = recurrent_init
        n_gates = len(cell.gates)
        self.weight_ih = nn.Parameter(torch.empty(n_gates * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(n_gates * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(n_gates * hidden_size)) if bias else None
        self.own = nn.ParameterDict()
        for name, value in cell.own_parameters(hidden_size).items():
            trained = bias or not name.startswith("bias")
            self.own[name] = nn.Parameter(torch.empty_like(value), requires_grad=trained)
        self.initial = nn.ParameterDict()
        if learn_initial_state:
            for name in cell.states:
                self.initial[name] = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw U (Glorot uniform) and W (orthogonal), or both torch's uniform, gate by gate; set the rest."""
        bound = 1 / math.sqrt(self.hidden_size)
        with torch.no_grad():
            for name in self.cell.gates:
                blocks = self.gate(name)
                if self.recurrent_init == "orthogonal":
                    nn.init.xavier_uniform_(blocks["weight_ih"])
                    nn.init.orthogonal_(blocks["weight_hh"])
                else:
                    nn.init.uniform_(blocks["weight_ih"], -bound, bound)
                    nn.init.uniform_(blocks["weight_hh"], -bound, bound)
                if "bias" in blocks:
                    blocks["bias"].fill_(self.cell.initial_bias().get(name, 0.0))
            for name, value in self.cell.own_parameters(self.hidden_size).items():
                self.own[name].copy_(value if self.own[name].requires_grad else torch.zeros_like(value))
            for initial in self.initial.values():
                initial.zero_()

    def gate(self, name: str) -> dict[str, Tensor]:
        """The blocks of one gate: ``weight_ih`` [H, F], ``weight_hh`` [H, H] and ``bias`` [H], as views.

        Raises ValueError for a gate the cell does not have.
        """
        if name not in self.cell.gates:
            gates = ", ".join(self.cell.gates)
            raise ValueError(f"{type(self.cell).__name__} has no gate {name!r}; its gates are {gates}")
        start = self.cell.gates.index(name) * self.hidden_size
        rows = slice(start, start + self.hidden_size)
        blocks = {"weight_ih": self.weight_ih[rows], "weight_hh": self.weight_hh[rows]}
        if self.bias is not None:
            blocks["bias"] = self.bias[rows]
        return blocks

    def weights(self) -> Weights:
        """The tensors an engine runs on."""
        return Weights(self.weight_ih, self.weight_hh, self.bias, dict(self.own.items()))

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """The state before the first step, each [B, H]: learnt, or zero."""
        if len(self.initial):
            return tuple(self.initial[name].expand(batch, -1) for name in self.cell.states)
        zeros = self.weight_hh.new_zeros(batch, self.hidden_size)
        return (zeros,) * len(self.cell.states)

    @torch.no_grad()
    def load_torch(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy torch.nn's ``weight_ih``, ``weight_hh``, ``bias_ih`` and ``bias_hh`` of one direction.

        torch has two biases where one will do: they add up, except where the cell keeps the recurrent bias
        of a gate as its own parameter ``bias_<gate>`` (the GRU's candidate).
        """
        self.weight_ih.copy_(tensors["weight_ih"])
        self.weight_hh.copy_(tensors["weight_hh"])
        if self.bias is None:
            return
        bias_ih, bias_hh = tensors["bias_ih"].clone(), tensors["bias_hh"].clone()
        for index, gate in enumerate(self.cell.gates):
            if f"bias_{gate}" in self.own:
                block = slice(index * self.hidden_size, (index + 1) * self.hidden_size)
                self.own[f"bias_{gate}"].copy_(bias_hh[block])
                bias_hh[block] = 0
        self.bias.copy_(bias_ih + bias_hh)
