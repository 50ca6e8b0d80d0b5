"""``Recurrent``: layers and directions of one cell over a padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from gatewise import engine as engines
from gatewise.cells import GRU, LSTM, RNN, Cell
from gatewise.engine import Packing
from gatewise.nn.layer import Layer
from gatewise.ranges import RECURRENT

State = tuple[Tensor, ...]


class Recurrent(nn.Module):
    """Layers × directions of one cell; takes the arguments of ``torch.nn.LSTM`` and gives its results.

    Beyond torch: any ``cell``; ``lengths``, so that padding never changes a result; every gate and state at
    every step on request. Dropouts: ``dropout`` draws anew at each step between layers, as torch does;
    ``input_dropout`` and ``state_dropout`` are variational, one mask for all steps of a sequence, on every
    layer's input and on the hidden state before its recurrent product (Gal & Ghahramani, "A Theoretically
    Grounded Application of Dropout in Recurrent Neural Networks", NeurIPS 2016). ``recurrent_init`` is
    ``orthogonal`` (per gate) or ``uniform`` (torch's). ``engine`` is one of ``gatewise.engine.ENGINES``.

    Raises ValueError for a size, probability or choice that cannot be.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        cell: Cell | None = None,
        input_dropout: float = 0.0,
        state_dropout: float = 0.0,
        recurrent_init: str = "orthogonal",
        learn_initial_state: bool = False,
        engine: str = "auto",
    ) -> None:
        RECURRENT.check(locals())
        super().__init__()
        if cell is not None and not isinstance(cell, Cell):
            raise ValueError(f"cell must be a gatewise.cells.Cell, got {cell!r}")
        self.cell = cell if cell is not None else LSTM()
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.dropout, self.input_dropout, self.state_dropout = dropout, input_dropout, state_dropout
        self.engine = engine
        self.num_directions = 2 if bidirectional else 1
        self.output_size = self.num_directions * hidden_size
        # In torch's order: layer 0 forward, layer 0 reverse, layer 1 forward, …
        self.layers = nn.ModuleList(
            Layer(
                self.cell,
                input_size if layer == 0 else self.output_size,
                hidden_size,
                bias,
                recurrent_init,
                learn_initial_state,
            )
            for layer in range(num_layers)
            for _ in range(self.num_directions)
        )

    def _layer(self, index: int) -> Layer:
        return cast(Layer, self.layers[index])

    def extra_repr(self) -> str:
        settings = f"{self.input_size}, {self.hidden_size}, cell={self.cell!r}, num_layers={self.num_layers}"
        return f"{settings}, bias={self.bias}, bidirectional={self.bidirectional}, engine={self.engine}"

    def forward(
        self,
        x: Tensor | PackedSequence,
        state: State | Tensor | None = None,
        lengths: Tensor | Sequence[int] | None = None,
        return_gates: bool = False,
    ) -> Any:
        """Run the sequences; L layers, D directions, T time, B batch, F inputs, H hidden.

        ``x`` is [T, B, F], with ``batch_first`` [B, T, F], one sequence [T, F], or a PackedSequence (the
        outputs then are one as well). ``state`` holds one [L·D, B, H] per state of the cell; zeros, or the
        learnt initial state, without it. ``lengths`` [B]: steps of each sequence that are not padding.

        Returns (outputs, state) as ``torch.nn.LSTM`` does: outputs [T, B, D·H], 0 on padding; state a named
        tuple of [L·D, B, H], each sequence's own last. With ``return_gates`` a third value: for every gate
        and state by name, its value at every step, [L·D, T, B, H] (with ``batch_first`` [L·D, B, T, H]).

        Raises ValueError where shapes, dtypes or lengths do not fit.
        """
        if lengths is not None:
            lengths = torch.as_tensor(lengths)
        if isinstance(x, PackedSequence):
            if lengths is not None:
                raise ValueError("a PackedSequence carries its own lengths: leave `lengths` out")
            if x.data.dim() != 2 or x.data.shape[1] != self.input_size:
                raise ValueError(
                    f"packed input must be [N, F] with F = {self.input_size}, got {tuple(x.data.shape)}"
                )
            return self._forward_packed_sequence(x, state, return_gates)
        if x.dim() not in (2, 3) or x.shape[-1] != self.input_size:
            shape = "[B, T, F]" if self.batch_first else "[T, B, F]"
            raise ValueError(f"input must be {shape} with F = {self.input_size}, got {tuple(x.shape)}")
        if x.dim() == 2:
            return self._forward_single(x, state, lengths, return_gates)
        if self.batch_first:
            x = x.transpose(0, 1)
        time, batch = x.shape[:2]
        packing = Packing.full(time, batch) if lengths is None else Packing.of(lengths, time, batch, x.device)
        outputs, final, gates = self._run(packing, packing.pack(x), state, return_gates)
        outputs = packing.unpack(outputs)
        padded = {name: torch.stack([packing.unpack(g) for g in values]) for name, values in gates.items()}
        if self.batch_first:
            outputs = outputs.transpose(0, 1)
            padded = {name: values.transpose(1, 2) for name, values in padded.items()}
        return (outputs, final, padded) if return_gates else (outputs, final)

    def _forward_single(self, x: Tensor, state: Any, lengths: Tensor | None, return_gates: bool) -> Any:
        batch_dim = 0 if self.batch_first else 1
        if state is not None:
            state = tuple(s.unsqueeze(1) for s in ((state,) if isinstance(state, Tensor) else state))
        lengths = None if lengths is None else lengths.reshape(-1)
        outputs, final, *gates = self(x.unsqueeze(batch_dim), state, lengths, return_gates)
        final = self.cell.name_state([s.squeeze(1) for s in final])
        squeezed = [{name: g.squeeze(1 + batch_dim) for name, g in values.items()} for values in gates]
        return (outputs.squeeze(batch_dim), final, *squeezed)

    def _forward_packed_sequence(self, x: PackedSequence, state: Any, return_gates: bool) -> Any:
        sizes = tuple(x.batch_sizes.tolist())
        packing = Packing(sizes, len(sizes), sizes[0], x.sorted_indices, torch.arange(len(x.data)))
        outputs, final, gates = self._run(packing, x.data, state, return_gates)
        packed = x._replace(data=outputs)
        if not return_gates:
            return packed, final
        # Packed rows as they are, one PackedSequence per layer and direction.
        return packed, final, {k: [x._replace(data=g) for g in values] for k, values in gates.items()}

    def _run(
        self, packing: Packing, x: Tensor, state: State | Tensor | None, show: bool
    ) -> tuple[Tensor, Any, dict[str, list[Tensor]]]:
        """Packed inputs [N, F] to packed outputs [N, D·H], final state and packed gates per layer."""
        self._check_dtype("input", x)
        initial = self._initial_state(state, packing)
        finals: list[State] = []
        gates: dict[str, list[Tensor]] = {}
        for layer in range(self.num_layers):
            if layer > 0:
                x = F.dropout(x, self.dropout, self.training)
            x = self._drop_input(x, packing)
            outputs = []
            for direction in range(self.num_directions):
                index = layer * self.num_directions + direction
                result = engines.run(
                    self.engine,
                    self.cell,
                    self._layer(index).weights(),
                    x,
                    packing.batch_sizes,
                    initial[index],
                    reverse=direction == 1,
                    state_mask=self._mask(self.state_dropout, (packing.batch, self.hidden_size), x),
                    show=show,
                )
                outputs.append(result.outputs)
                finals.append(result.state)
                for name, history in result.history.items():
                    gates.setdefault(name, []).append(history)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        per_state = [torch.stack(tensors) for tensors in zip(*finals, strict=True)]
        final = self.cell.name_state([packing.unsort(tensor, 1) for tensor in per_state])
        return x, final, gates

    def _initial_state(self, state: State | Tensor | None, packing: Packing) -> list[State]:
        """One state per layer and direction, each tensor [B, H] in sorted order."""
        if state is None:
            return [self._layer(i).initial_state(packing.batch) for i in range(len(self.layers))]
        tensors = (state,) if isinstance(state, Tensor) else tuple(state)
        names = self.cell.states
        expected = (len(self.layers), packing.batch, self.hidden_size)
        if len(tensors) != len(names) or any(tuple(s.shape) != expected for s in tensors):
            got = ", ".join(str(tuple(s.shape)) for s in tensors)
            raise ValueError(f"state must be ({', '.join(names)}), each of shape {expected}; got {got}")
        for name, tensor in zip(names, tensors, strict=True):
            self._check_dtype(f"state {name}", tensor)
        ordered = [packing.sort(s, 1) for s in tensors]
        return [tuple(s[index] for s in ordered) for index in range(len(self.layers))]

    def _check_dtype(self, what: str, tensor: Tensor) -> None:
        expected = self.layers[0].weight_ih.dtype
        if tensor.dtype != expected and not torch.is_autocast_enabled(tensor.device.type):
            raise ValueError(f"{what} is {tensor.dtype} and the weights are {expected}: make them one dtype")

    def _mask(self, p: float, shape: tuple[int, int], like: Tensor) -> Tensor | None:
        """A variational dropout mask, scaled to keep the mean, or None where nothing is dropped."""
        if not self.training or p == 0:
            return None
        return like.new_empty(shape).bernoulli_(1 - p).div_(1 - p)

    def _drop_input(self, x: Tensor, packing: Packing) -> Tensor:
        mask = self._mask(self.input_dropout, (packing.batch, x.shape[1]), x)
        return x if mask is None else x * mask[packing.rows.to(x.device)]

    @classmethod
    def from_torch(cls, module: nn.RNNBase, engine: str = "auto") -> Recurrent:
        """A Recurrent with the settings and weights of a ``torch.nn.LSTM``, ``GRU`` or ``RNN``.

        Raises ValueError for a module it cannot express (``proj_size``).
        """
        cells: dict[type, Any] = {nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN}
        if type(module) not in cells or module.proj_size:
            raise ValueError(f"cannot express {module}: give a torch.nn.LSTM, GRU or RNN without proj_size")
        make = cells[type(module)]
        settings = {"nonlinearity": module.nonlinearity} if make is RNN else {}
        recurrent = cls(
            module.input_size,
            module.hidden_size,
            module.num_layers,
            module.bias,
            module.batch_first,
            module.dropout,
            module.bidirectional,
            cell=make(**settings),
            engine=engine,
        )
        recurrent.to(next(module.parameters()).device)
        recurrent.load_torch(module)
        return recurrent

    def load_torch(self, module: nn.RNNBase) -> None:
        """Copy the weights of a ``torch.nn.LSTM``, ``GRU`` or ``RNN`` of the same sizes.

        Raises ValueError, naming both sides, where they differ in cell or size.
        """
        torch_cells: Sequence[tuple[type, type]] = ((nn.LSTM, LSTM), (nn.GRU, GRU), (nn.RNN, RNN))
        fits = any(isinstance(module, theirs) and type(self.cell) is ours for theirs, ours in torch_cells)
        names = ("input_size", "hidden_size", "num_layers", "bidirectional", "bias")
        fits = fits and all(getattr(module, name) == getattr(self, name) for name in names)
        if fits and isinstance(self.cell, RNN):
            fits = module.nonlinearity == self.cell.nonlinearity
        if not fits or module.proj_size:
            raise ValueError(f"cannot load {module} into Recurrent({self.extra_repr()}): they differ")
        self.to(next(module.parameters()).dtype)
        for index in range(len(self.layers)):
            suffix = f"l{index // self.num_directions}" + ("_reverse" if index % self.num_directions else "")
            kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if self.bias else 2]
            self._layer(index).load_torch(
                {kind: getattr(module, f"{kind}_{suffix}").detach() for kind in kinds}
            )
