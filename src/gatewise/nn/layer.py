"""The parameters of one cell in one layer and one direction."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gatewise.cells import Cell
from gatewise.engine import Weights


class Layer(nn.Module):
    """U, W, b and the cell's own parameters, in one layer and one direction.

    G gates, F inputs, H hidden features; P features of the hidden state (H unless the cell projects it).
    """

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
        sizes = cell.state_sizes(hidden_size)
        rows, recurrent_rows = len(cell.gates) * hidden_size, len(cell.recurrent) * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        # Without rows it is not trained: data-parallel processes would wait for a gradient that never comes.
        self.weight_hh = nn.Parameter(torch.empty(recurrent_rows, sizes[0]), requires_grad=recurrent_rows > 0)
        self._projects = cell.projection_size is not None
        self.weight_hr = nn.Parameter(torch.empty(sizes[0], hidden_size)) if self._projects else None
        self.bias = nn.Parameter(torch.empty(rows)) if bias else None
        self.own = nn.ParameterDict()
        for name, value in cell.own_parameters(hidden_size).items():
            trained = bias or not name.startswith("bias")
            self.own[name] = nn.Parameter(torch.empty_like(value), requires_grad=trained)
        self._has_own = len(self.own) > 0
        self.initial = nn.ParameterDict()
        if learn_initial_state:
            for name, size in zip(cell.states, sizes, strict=True):
                self.initial[name] = nn.Parameter(torch.empty(size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw U (Glorot uniform), W and P (orthogonal) by gate, or all as torch does; set the rest."""
        bound = 1 / math.sqrt(self.hidden_size)
        with torch.no_grad():
            for name in self.cell.gates:
                blocks = self.gate(name)
                if self.recurrent_init == "orthogonal":
                    nn.init.xavier_uniform_(blocks["weight_ih"])
                else:
                    nn.init.uniform_(blocks["weight_ih"], -bound, bound)
                if "weight_hh" in blocks:
                    self._draw_recurrent(blocks["weight_hh"], bound)
                if "bias" in blocks:
                    blocks["bias"].fill_(self.cell.initial_bias().get(name, 0.0))
            if self.weight_hr is not None:
                self._draw_recurrent(self.weight_hr, bound)
            for name, value in self.cell.own_parameters(self.hidden_size).items():
                self.own[name].copy_(value if self.own[name].requires_grad else torch.zeros_like(value))
            for initial in self.initial.values():
                initial.zero_()

    def _draw_recurrent(self, weight: Tensor, bound: float) -> None:
        if self.recurrent_init == "orthogonal":
            nn.init.orthogonal_(weight)
        else:
            nn.init.uniform_(weight, -bound, bound)

    def gate(self, name: str) -> dict[str, Tensor]:
        """The blocks of one gate: ``weight_ih`` [H, F], ``weight_hh`` [H, P] and ``bias`` [H], as views.

        A gate without a recurrent product has no ``weight_hh``, a layer without biases no ``bias``. Raises
        ValueError for a gate the cell does not have.
        """
        if name not in self.cell.gates:
            gates = ", ".join(self.cell.gates)
            raise ValueError(f"{type(self.cell).__name__} has no gate {name!r}; its gates are {gates}")
        rows = self._rows(self.cell.gates.index(name))
        blocks = {"weight_ih": self.weight_ih[rows]}
        if name in self.cell.recurrent:
            blocks["weight_hh"] = self.weight_hh[self._rows(self.cell.recurrent.index(name))]
        if self.bias is not None:
            blocks["bias"] = self.bias[rows]
        return blocks

    def _rows(self, block: int) -> slice:
        return slice(block * self.hidden_size, (block + 1) * self.hidden_size)

    def weights(self) -> Weights:
        """The tensors that an engine runs on."""
        # Looking a parameter up takes a microsecond, which a call of one step has few of.
        own = dict(self.own.items()) if self._has_own else {}
        return Weights(
            self.weight_ih, self.weight_hh, self.bias, own, self.weight_hr if self._projects else None
        )

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """The state before the first step, h [B, P] and the others [B, H]: learnt, or zero."""
        if len(self.initial):
            return tuple(self.initial[name].expand(batch, -1) for name in self.cell.states)
        sizes = self.cell.state_sizes(self.hidden_size)
        if len(set(sizes)) == 1:  # one after the other in memory, as some engines read them
            return self.weight_hh.new_zeros(len(sizes), batch, sizes[0]).unbind(0)
        return tuple(self.weight_hh.new_zeros(batch, size) for size in sizes)

    @torch.no_grad()
    def load_torch(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy torch.nn's ``weight_ih``, ``weight_hh``, ``bias_ih``, … of one direction.

        torch has two biases where one is enough. They are added, except where the cell keeps the recurrent
        bias of a gate as its own parameter ``bias_<gate>`` (the GRU's candidate).
        """
        self.weight_ih.copy_(tensors["weight_ih"])
        self.weight_hh.copy_(tensors["weight_hh"])
        if self.weight_hr is not None:
            self.weight_hr.copy_(tensors["weight_hr"])
        if self.bias is None:
            return
        bias_ih, bias_hh = tensors["bias_ih"].clone(), tensors["bias_hh"].clone()
        for index, gate in enumerate(self.cell.gates):
            if f"bias_{gate}" in self.own:
                block = self._rows(index)
                self.own[f"bias_{gate}"].copy_(bias_hh[block])
                bias_hh[block] = 0
        self.bias.copy_(bias_ih + bias_hh)
