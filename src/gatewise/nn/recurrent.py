"""``Recurrent``: layers and directions of one cell over a padded batch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gatewise import engine as engines
from gatewise.cells import LSTM, Cell
from gatewise.cells.held import check_declarations
from gatewise.cells.noise import draw as draw_noise
from gatewise.cells.zoneout import zoneout as zoned_out
from gatewise.cells.zoneout import zoneout_probabilities
from gatewise.engine import EngineName, Packing, Request, Result, Stack, Weights
from gatewise.nn import dropouts, forms, keras, prepared, torch_modules
from gatewise.nn.arguments import check_state
from gatewise.nn.interventions import Change, IntervenedCells, Intervention, Interventions
from gatewise.nn.layer import Layer
from gatewise.nn.masks import dropout
from gatewise.nn.state_gradients import StateGradients, differentiable, gradients_of
from gatewise.nn.trace import Trace, Tracing
from gatewise.nn.without_effect import lines_without_effect
from gatewise.settings import AtLeast, Positive, Probability, ProbabilityOfEach, checked

State = tuple[Tensor, ...]
Run = Callable[[Packing, int, Request], Result]
"""Runs a request of the layer and direction with this number."""

_log = logging.getLogger(__name__)

MOST_LAYERS = 1000
"""A step through more layers on top of each other would not end."""


class Recurrent(nn.Module):
    """Layers and directions of one cell; takes the arguments of ``torch.nn.LSTM`` and returns its results.

    More than torch: any ``cell``; ``lengths``, so that padding never changes a result; every gate and state
    at every step on request. Dropouts: ``dropout`` draws a new mask for each step between layers, as torch
    does; ``input_dropout`` and ``state_dropout`` are variational, with one mask for all steps of a sequence,
    on every layer's input and on the hidden state before its recurrent product (Gal & Ghahramani, "A
    Theoretically Grounded Application of Dropout in Recurrent Neural Networks", NeurIPS 2016);
    ``weight_dropout`` is DropConnect, one mask of the recurrent weights W for a whole forward pass (Merity,
    Keskar & Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018); ``zoneout`` is the
    probability that a feature of a state keeps its value in a step, one for all states or by state, {h: 0.05,
    c: 0.5} (Krueger et al., "Zoneout", ICLR 2017). ``recurrent_init`` is ``orthogonal`` (per gate) or
    ``uniform`` (torch's). ``engine`` is one of ``gatewise.engine.ENGINES``; with ``recompute`` the engines
    native and cuda keep less for the backward pass, which then takes longer and needs less memory.

    Raises ValueError for a size, probability or choice that cannot be.
    """

    section: ClassVar[str] = "model"
    """The section of a config that takes it."""

    @checked
    def __init__(
        self,
        input_size: Positive,
        hidden_size: Positive,
        num_layers: Annotated[int, AtLeast(1, MOST_LAYERS)] = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: Probability = 0.0,
        bidirectional: bool = False,
        *,
        cell: Cell | None = None,
        input_dropout: Probability = 0.0,
        state_dropout: Probability = 0.0,
        weight_dropout: Probability = 0.0,
        zoneout: ProbabilityOfEach = 0.0,
        recurrent_init: Literal["orthogonal", "uniform"] = "orthogonal",
        learn_initial_state: bool = False,
        engine: EngineName = "auto",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if cell is not None and not isinstance(cell, Cell):
            raise ValueError(f"cell must be a gatewise.cells.Cell, got {cell!r}")
        self.cell = cell if cell is not None else LSTM()
        check_declarations(self.cell, hidden_size)
        engines.check_cell(engine, self.cell, hidden_size)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.dropout, self.input_dropout, self.state_dropout = dropout, input_dropout, state_dropout
        self.weight_dropout = weight_dropout
        self.zoneout = zoneout_probabilities(self.cell, zoneout)
        # The cell that the engine runs, in evaluation and in training.
        self._run_cells = (self.cell, self.cell)
        if self.zoneout:
            evaluated, trained = (zoned_out(self.cell, self.zoneout, training) for training in (False, True))
            self._run_cells = (evaluated, trained)
        self.engine, self.recompute = engine, recompute
        self.learn_initial_state = learn_initial_state
        for line in lines_without_effect(self):
            _log.warning(line)
        self.num_directions = 2 if bidirectional else 1
        self.state_sizes = self.cell.state_sizes(hidden_size)
        self.output_size = self.num_directions * self.state_sizes[0]
        self._prepared, self._intervened_cells = prepared.PreparedCalls(), IntervenedCells()
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

    @property
    def cell_name(self) -> str:
        """Name of the class with the equations, such as ``LSTM``."""
        return type(self.cell.innermost).__name__

    def _first_layer(self) -> Layer:
        # Indexing a ModuleList takes several microseconds.
        return cast(Layer, next(iter(self.layers)))

    def extra_repr(self) -> str:
        settings = f"{self.input_size}, {self.hidden_size}, cell={self.cell!r}, num_layers={self.num_layers}"
        return f"{settings}, bias={self.bias}, bidirectional={self.bidirectional}, engine={self.engine}"

    def forward(
        self,
        x: Tensor | PackedSequence,
        state: State | Tensor | None = None,
        lengths: Tensor | Sequence[int] | None = None,
        return_gates: bool = False,
        intervene: Mapping[str, Intervention] | None = None,
    ) -> Any:
        """Run the sequences; L layers, D directions, T steps, B sequences, F inputs, H hidden features.

        Where the cell projects its hidden state to P features, h and the outputs have P instead of H.

        ``x`` is [T, B, F], with ``batch_first`` [B, T, F], one sequence [T, F], or a PackedSequence (the
        outputs are then one as well). ``state`` holds one [L·D, B, H] per state of the cell; without it,
        zeros or the learnt initial state. ``lengths`` [B]: number of steps of each sequence that are not
        padding.

        Returns (outputs, state) as ``torch.nn.LSTM`` does: outputs [T, B, D·H], 0 on padding; state a named
        tuple of [L·D, B, H], after each sequence's own last step. With ``return_gates`` there is a third
        value: every gate and state at every step, by name, [L·D, T, B, H] (with ``batch_first`` [L·D, B, T,
        H]), which carry gradients as the outputs do.

        ``intervene`` sets gates and states, by name: to a number, a ``gatewise.nn.Clamp`` or a list of them
        for some units and steps, or a tensor that broadcasts to [L, D, B, T, H], NaN where it is left as it
        is computed. What the step uses from there on is what was set; gradients reach neither these values
        nor what they stand for.

        Raises ValueError where shapes, dtypes, devices, lengths or interventions do not fit.
        """
        if lengths is None and not return_gates and not intervene:
            found = self._forward_prepared(x, state)
            if found is not None:
                return found
        if intervene:
            return self._forward_intervened(x, state, lengths, return_gates, intervene)
        return self.run_layers(x, state, lengths, return_gates)

    @engines.outside_compiled_code
    def _forward_intervened(
        self, x: Any, state: Any, lengths: Any, return_gates: bool, intervene: Mapping[str, Intervention]
    ) -> Any:
        change = self._interventions(intervene)

        def run(packing: Packing, index: int, request: Request) -> Result:
            return engines.run(self.engine, change(packing, index, request))

        return self.run_layers(x, state, lengths, return_gates, run)

    def _interventions(self, intervene: Mapping[str, Intervention] | None) -> Change:
        """What interventions make of the request of each layer and direction."""
        if not intervene:
            return lambda _packing, _index, request: request
        sizes = (self.num_layers, self.num_directions, self.hidden_size)
        return Interventions(intervene, self._intervened_cells, self.cell, *sizes).request

    def run_layers(
        self,
        x: Tensor | PackedSequence,
        state: State | Tensor | None,
        lengths: Tensor | Sequence[int] | None,
        return_gates: bool,
        run: Run | None = None,
    ) -> Any:
        """As ``forward``, with layers and directions run one by one where it is said how."""
        lengths = None if lengths is None else torch.as_tensor(lengths)
        forms.check_input(x, lengths, self.input_size, self.batch_first, self._first_layer().weight_ih)
        run_packed = partial(self._run, state=state, return_gates=return_gates, run=run)
        if isinstance(x, PackedSequence):
            return forms.of_packed_sequence(run_packed, x, return_gates)
        if x.dim() == 3:
            return forms.of_batch(run_packed, x, lengths, self.batch_first, return_gates)
        call = self if run is None else partial(self.run_layers, run=run)
        return forms.of_one_sequence(call, self.cell, x, state, lengths, self.batch_first, return_gates)

    def trace(
        self,
        x: Tensor | PackedSequence,
        lengths: Tensor | Sequence[int] | None = None,
        state: State | Tensor | None = None,
        intervene: Mapping[str, Intervention] | None = None,
    ) -> Trace:
        """Every gate and state at every step, what each step keeps and writes, and bounds, without gradients.

        Arguments are those of ``forward``, and so are its errors; dropouts draw in training alone.
        """
        tracing = Tracing(self.engine, self._interventions(intervene), self.num_layers, self.num_directions)
        with torch.no_grad():
            outputs, final, _ = self.run_layers(x, state, lengths, True, tracing.run)
        return tracing.trace(outputs, final)

    def state_gradients(
        self,
        x: Tensor | PackedSequence,
        loss: Callable[[Any, State], Tensor],
        lengths: Tensor | Sequence[int] | None = None,
        state: State | Tensor | None = None,
        intervene: Mapping[str, Intervention] | None = None,
    ) -> dict[str, Tensor]:
        """The gradient of ``loss(outputs, state)``, a scalar, by each state after each step, [L, D, B, T, H].

        It is the total derivative, through all later steps and the layers above; NaN on padding. The other
        arguments are those of ``forward``, and so are the errors; dropouts draw in training alone.
        """
        gradients = StateGradients(self._interventions(intervene), self.num_layers, self.num_directions)
        with torch.inference_mode(False), torch.enable_grad():
            outputs = self.run_layers(differentiable(x), state, lengths, False, gradients.run)
            return gradients_of([gradients], loss(*outputs))[0]

    @engines.outside_compiled_code
    def _forward_prepared(self, x: Any, state: Any) -> Any:
        """Outputs and final state of a form of input that was there before; None where it is not prepared."""
        training, engine = self.training, self.engine
        if self.num_directions > 1 or engine not in ("auto", "native", "cuda") or not prepared.possible(x):
            return None
        if training and (self.dropout or self.input_dropout or self.state_dropout or self.weight_dropout):
            return None
        if (state is None and self.learn_initial_state) or self._run_cells[training].noise:
            return None
        if self.recompute and (torch.is_grad_enabled() or not x.is_cpu):
            return None
        layers = [layer.weights() for layer in cast(Iterable[Layer], self.layers)]
        if self.batch_first:
            x = x.transpose(0, 1)
        ready = self._prepared.find(engine, x, self._run_cells[training], layers, training)
        if ready is None:
            return None
        found = ready.run(layers, x, (state,) if isinstance(state, Tensor) else state)
        if found is None:
            return None
        outputs, final = found
        return outputs.transpose(0, 1) if self.batch_first else outputs, self.cell.name_state(final)

    def _run(
        self,
        packing: Packing,
        x: Tensor,
        state: State | Tensor | None,
        return_gates: bool,
        run: Run | None,
    ) -> tuple[Tensor, Any, dict[str, list[Tensor]]]:
        """Packed inputs [N, F] to packed outputs [N, D·H], final state and packed gates of each layer."""
        initial = self._initial_state(state, packing)
        layers = list(cast(Iterable[Layer], self.layers))
        finals: list[State] = []  # [k, B, H] each: of a layer and direction, or of all that ran at once
        gates: dict[str, list[Tensor]] = {}
        run_one = run or (lambda _packing, _index, request: engines.run(self.engine, request))
        at_once = 0 if run is not None else self._layers_at_once(x, return_gates)
        for first in range(0, self.num_layers, at_once or 1):
            if first > 0:
                x = dropout(x, self.dropout, self.training)
            x = dropouts.drop_input(self.input_dropout, self.training, x, packing)
            drawn: list[Weights] = []
            if at_once:
                indices = range(first * self.num_directions, (first + at_once) * self.num_directions)
                drawn = [self._weights(layers[index]) for index in indices]
                stack = Stack(
                    self._run_cells[self.training],
                    tuple(drawn),
                    x,
                    packing.batch_sizes,
                    tuple(initial[index] for index in indices),
                    self.num_directions,
                    recompute=self.recompute,
                )
                results = engines.run_stack(self.engine, stack)
                if results is not None:
                    x, state_after = results
                    finals.append(state_after)
                    continue
            for layer in range(first, first + (at_once or 1)):
                outputs = []
                for direction in range(self.num_directions):
                    index = layer * self.num_directions + direction
                    weights = drawn.pop(0) if drawn else self._weights(layers[index])
                    request = self._request(index, weights, x, packing, initial[index], return_gates)
                    result = run_one(packing, index, request)
                    outputs.append(result.outputs)
                    finals.append(tuple(tensor.unsqueeze(0) for tensor in result.state))
                    for name, values in result.gates.items():
                        gates.setdefault(name, []).append(values)
                x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        per_state = [t[0] if len(t) == 1 else torch.cat(t) for t in zip(*finals, strict=True)]
        final = self.cell.name_state([packing.unsort(tensor, 1) for tensor in per_state])
        return x, final, gates

    def _layers_at_once(self, x: Tensor, return_gates: bool) -> int:
        """How many layers, in both directions, the engine may run in one call; 0 where it may not."""
        masked = self.training and self.state_dropout > 0
        if return_gates or masked or self._run_cells[self.training].noise:
            return 0
        if not engines.runs_stacks(self.engine, x.device):
            return 0
        # Dropout between layers is not left to cuDNN: its random numbers have a state of their own, which no
        # checkpoint holds.
        dropped = self.training and (self.dropout > 0 or self.input_dropout > 0)
        return 1 if dropped else self.num_layers

    def _weights(self, layer: Layer) -> Weights:
        return dropouts.drop_weights(self.weight_dropout, self.training, layer.weights())

    def _request(
        self, index: int, weights: Weights, x: Tensor, packing: Packing, state: State, return_gates: bool
    ) -> Request:
        """What is asked of the engine for one layer and direction."""
        cell = self._run_cells[self.training]
        return Request(
            cell,
            weights,
            x,
            packing.batch_sizes,
            state,
            reverse=index % self.num_directions == 1,
            state_mask=dropouts.mask(
                self.state_dropout, self.training, (packing.batch, self.state_sizes[0]), x
            ),
            noise=draw_noise(cell, len(x), self.hidden_size, x, self.training),
            return_gates=return_gates,
            recompute=self.recompute,
        )

    def _initial_state(self, state: State | Tensor | None, packing: Packing) -> list[State]:
        """One state per layer and direction, its tensors [B, H] (h [B, P]), sorted by length."""
        if state is None:
            return [layer.initial_state(packing.batch) for layer in cast(Iterable[Layer], self.layers)]
        tensors = (state,) if isinstance(state, Tensor) else tuple(state)
        expected = [(len(self.layers), packing.batch, size) for size in self.state_sizes]
        check_state(self.cell.states, tensors, expected, self._first_layer().weight_ih)
        ordered = [packing.sort(s, 1) for s in tensors]
        return [tuple(s[index] for s in ordered) for index in range(len(self.layers))]

    @classmethod
    def from_torch(cls, module: nn.RNNBase, engine: EngineName = "auto") -> Recurrent:
        """A Recurrent with the settings and weights of a ``torch.nn.LSTM``, ``GRU`` or ``RNN``.

        Raises ValueError for any other module.
        """
        return cast(Recurrent, torch_modules.recurrent_of(cls, module, engine))

    @classmethod
    def from_keras(
        cls,
        cell: Cell,
        layers: Sequence[Sequence[Any]],
        batch_first: bool = True,
        engine: EngineName = "auto",
    ) -> Recurrent:
        """A Recurrent with the weights of Keras layers: ``[layer.get_weights() for layer in …]``.

        ``cell`` is an ``LSTM()`` for LSTM, a ``GRU()`` for GRU with ``reset_after=True``, an ``RNN()`` for
        SimpleRNN, all with Keras's activations (tanh and sigmoid; an RNN's its ``nonlinearity``); layers in
        ``Bidirectional`` give both directions. Outputs are those of ``return_sequences=True``. Raises
        ValueError for arrays that such layers do not have.
        """
        return cast(Recurrent, keras.recurrent_of(cls, cell, layers, batch_first, engine))

    def load_torch(self, module: nn.RNNBase) -> None:
        """Copy the weights of a ``torch.nn.LSTM``, ``GRU`` or ``RNN`` of the same sizes.

        Raises ValueError, naming both sides, where they differ in cell or size.
        """
        if not torch_modules.fits(module, self):
            raise ValueError(f"cannot load {module} into Recurrent({self.extra_repr()}): they differ")
        self.to(next(module.parameters()).dtype)
        layers = cast(Iterable[Layer], self.layers)
        for layer, tensors in zip(layers, torch_modules.weights_of(module), strict=True):
            layer.load_torch(tensors)
