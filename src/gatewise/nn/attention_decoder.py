"""A recurrent decoder that attends to the states of an encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gatewise.nn.attention import Attention, AttentionName, Memory
from gatewise.nn.masks import kept
from gatewise.nn.recurrent import Recurrent
from gatewise.nn.stacked import Stacked
from gatewise.settings import Positive, Probability, checked

ContextName = Literal["layers", "input", "output"]
State = tuple[Tensor, ...]
"""Tensors with the sequences in the first dimension, in search with [sequences, hypotheses]."""


class AttentionDecoder(nn.Module):
    """Recurrent layers over the tokens so far, and a context from the encoder's states for every step.

    The output of a step is tanh(W [h; c]), ``output_size`` long, for the top layer's h and the context c that
    attention makes of the states. ``context`` says where else the contexts go:

    - ``layers``: the first layer's outputs are the queries, and the layers above read each step's context
      beside them (Wu et al., "Google's Neural Machine Translation System", 2016, whose upper layers read the
      context too). All steps of a known target run at once.
    - ``input``: the top layer's outputs are the queries, and every step reads the output of the step before
      beside its token (input feeding of Luong, Pham & Manning, "Effective Approaches to Attention-based
      Neural Machine Translation", EMNLP 2015). Steps run one after the other, which takes longer.
    - ``output``: nowhere else. All steps of a known target run at once.

    ``make(input_size=…, num_layers=…)`` makes the recurrent layers, batch first and in one direction;
    ``layers`` is how many there are. The state before the first step is tanh of a linear function of a
    summary of the source, ``summary_size`` long. ``dropout`` drops features of the outputs, before a next
    step reads them, ``hidden_dropout`` those that layers above the context and the output read of the layers
    below; both with one mask for all steps of a sequence, or with ``locked=False`` a new one for each step.
    """

    @checked
    def __init__(
        self,
        make: Callable[..., Recurrent | Stacked],
        input_size: Positive,
        memory_size: Positive,
        summary_size: Positive,
        output_size: Positive,
        layers: Positive = 2,
        context: ContextName = "layers",
        hidden_dropout: Probability = 0.0,
        locked: bool = True,
        *,
        attention: AttentionName = "general",
        attention_size: Positive = 128,
        coverage: bool = False,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        self.context, self.output_size = context, output_size
        self.dropout, self.hidden_dropout, self.locked = dropout, hidden_dropout, locked
        if context == "layers" and layers < 2:
            raise ValueError(
                f"context=layers needs a layer above the first to read the contexts, got {layers} layer: "
                f"choose context=input or output, or give it 2"
            )
        lower = 1 if context == "layers" else layers
        fed = output_size if context == "input" else 0
        self.lower = make(input_size=input_size + fed, num_layers=lower)
        query_size = self.lower.output_size
        self.upper: Recurrent | Stacked | None = None
        if context == "layers":
            self.upper = make(input_size=query_size + memory_size, num_layers=layers - lower)
        self.attention = Attention(attention, query_size, memory_size, attention_size, coverage)
        top = (self.upper or self.lower).output_size
        self.combine = nn.Linear(top + memory_size, output_size)
        self._shapes = [*_state_shapes(self.lower), *(_state_shapes(self.upper) if self.upper else ())]
        self._lower_count = len(_state_shapes(self.lower))
        self.bridge = nn.Linear(summary_size, sum(layer * size for layer, size in self._shapes))

    def extra_repr(self) -> str:
        return f"context={self.context}, dropout={self.dropout}, hidden_dropout={self.hidden_dropout}"

    def start(self, summary: Tensor, memory: Memory) -> State:
        """The state before the first step, for summaries [B, Z] of the sources and their memory."""
        parts = torch.tanh(self.bridge(summary)).split([layer * size for layer, size in self._shapes], -1)
        state = [part.unflatten(-1, shape) for part, shape in zip(parts, self._shapes, strict=True)]
        if self.context == "input":
            state.append(summary.new_zeros(len(summary), self.output_size))
        if self.attention.coverage:
            state.append(summary.new_zeros(memory.real.shape))
        return tuple(state)

    def forward(
        self, inputs: Tensor, memory: Memory, state: State, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor, State]:
        """(Outputs [B, T, D], weights of attention [B, T, S], state) for the inputs of T steps [B, T, E].

        Where ``lengths`` [B] are given, outputs and weights on padding mean nothing, and recurrent layers of
        all steps at once leave it out.
        """
        dropped = self._mask(self.dropout, inputs, self.output_size)
        hidden_dropped = self._mask(self.hidden_dropout, inputs, self.lower.output_size)
        if self.context == "input":
            return self._one_by_one(inputs, memory, state, dropped, hidden_dropped)
        recurrent, covered = self._parts(state)[::2]
        queries, lower = self.lower(inputs, _layers_first(recurrent[: self._lower_count]), lengths=lengths)
        queries = _times(queries, hidden_dropped)
        contexts, weights, covered = self.attention(queries, memory, covered)
        top, after = self._above(queries, contexts, recurrent, lower, lengths)
        outputs = _times(self._combined(top, contexts), dropped)
        return outputs, weights, (*after, *(() if covered is None else (covered,)))

    def first_state(self, state: State) -> State:
        """The part of a state [B, …] that the layers below the contexts have, as they take it."""
        return _layers_first(self._parts(state)[0][: self._lower_count])

    def read(self, queries: Tensor, memory: Memory, state: State) -> Tensor:
        """Outputs [B, T, D] for those of the layers below the contexts [B, T, Q], begun in ``state``."""
        recurrent, _, covered = self._parts(state)
        contexts, _, _ = self.attention(queries, memory, covered)
        return self._combined(self._above(queries, contexts, recurrent, ())[0], contexts)

    def step(self, inputs: Tensor, memory: Memory, state: State) -> tuple[Tensor, Tensor, State]:
        """One step of K hypotheses for each of B sequences, which share its memory.

        Inputs are [B, K, E], every tensor of the state [B, K, …]. Returns (outputs [B, K, D], weights of
        attention [B, K, S], state). Nothing is dropped.
        """
        return self._step(inputs, memory, state, None, None)

    def _step(
        self,
        inputs: Tensor,
        memory: Memory,
        state: State,
        dropped: Tensor | None,
        hidden_dropped: Tensor | None,
    ) -> tuple[Tensor, Tensor, State]:
        count, width = inputs.shape[:2]
        recurrent, fed, covered = self._parts(state)
        if fed is not None:
            inputs = torch.cat([inputs, fed], -1)
        rows = tuple(tensor.flatten(0, 1) for tensor in recurrent)
        queries, lower = self.lower(
            inputs.flatten(0, 1).unsqueeze(1), _layers_first(rows[: self._lower_count])
        )
        queries = _times(queries.unflatten(0, (count, width)).squeeze(2), hidden_dropped)
        contexts, weights, covered = self.attention.beside(queries, memory, covered)
        flat = contexts.flatten(0, 1).unsqueeze(1)
        top, after = self._above(queries.flatten(0, 1).unsqueeze(1), flat, rows, lower)
        outputs = self._combined(top, flat).squeeze(1).unflatten(0, (count, width))
        outputs = _times(outputs, dropped)
        parts = [tensor.unflatten(0, (count, width)) for tensor in after]
        parts += [outputs] if fed is not None else []
        parts += [covered] if covered is not None else []
        return outputs, weights, tuple(parts)

    def _one_by_one(
        self,
        inputs: Tensor,
        memory: Memory,
        state: State,
        dropped: Tensor | None,
        hidden_dropped: Tensor | None,
    ) -> tuple[Tensor, Tensor, State]:
        """As ``forward``, each step reading the output of the one before."""
        state = tuple(tensor.unsqueeze(1) for tensor in state)
        outputs, weights = [], []
        for time, step in enumerate(inputs.split(1, dim=1)):
            masks = (None if mask is None else mask[:, -1 if self.locked else time, None]
                     for mask in (dropped, hidden_dropped))  # fmt: skip
            output, weight, state = self._step(step, memory, state, *masks)
            outputs.append(output)
            weights.append(weight)
        return torch.cat(outputs, 1), torch.cat(weights, 1), tuple(tensor.squeeze(1) for tensor in state)

    def _above(
        self,
        queries: Tensor,
        contexts: Tensor,
        state: State,
        lower: Sequence[Tensor],
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """The top layer's outputs, and the recurrent state, for queries and contexts of rows [R, T, …]."""
        after = list(lower)
        top = queries
        if self.upper is not None:
            read = torch.cat([queries, contexts], -1)
            top, upper = self.upper(read, _layers_first(state[self._lower_count :]), lengths=lengths)
            after += upper
        return top, [tensor.transpose(0, 1) for tensor in after]

    def _combined(self, top: Tensor, contexts: Tensor) -> Tensor:
        return torch.tanh(self.combine(torch.cat([top, contexts], -1)))

    def _parts(self, state: State) -> tuple[State, Tensor | None, Tensor | None]:
        """The recurrent layers' tensors, the output that is fed, and the coverage."""
        count = len(self._shapes)
        fed = state[count] if self.context == "input" else None
        covered = state[-1] if self.attention.coverage else None
        return state[:count], fed, covered

    def _mask(self, p: float, inputs: Tensor, size: int) -> Tensor | None:
        """What features of steps are multiplied by, [B, 1 or T, size]; None where nothing is dropped."""
        if p == 0 or not self.training:
            return None
        steps = 1 if self.locked else inputs.shape[1]
        return kept(p, (len(inputs), steps, size), inputs)


def _times(values: Tensor, mask: Tensor | None) -> Tensor:
    return values if mask is None else values * mask


def _layers_first(tensors: Sequence[Tensor]) -> State:
    """From [R, L, H] each to the [L, R, H] that recurrent layers take."""
    return tuple(tensor.transpose(0, 1).contiguous() for tensor in tensors)


def _state_shapes(layers: Any) -> list[tuple[int, int]]:
    """(Layers, features) of every tensor of the state of a Recurrent, or of a Stacked."""
    if isinstance(layers, Stacked):
        return [shape for layer in layers.layers for shape in _state_shapes(layer)]
    return [(layers.num_layers, size) for size in layers.state_sizes]
