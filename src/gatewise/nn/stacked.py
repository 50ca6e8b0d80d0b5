"""``Stacked``: layers of one cell, each with a size of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from gatewise.cells import LSTM, Cell
from gatewise.engine import EngineName
from gatewise.nn.interventions import Intervention
from gatewise.nn.locked import LockedDropout
from gatewise.nn.masks import dropout
from gatewise.nn.recurrent import Recurrent
from gatewise.nn.state_gradients import StateGradients, differentiable, gradients_of
from gatewise.nn.trace import Trace
from gatewise.settings import Positive, Probability, ProbabilityOfEach, Sizes, checked, rule


@rule
def check_layers(hidden_size: int | Sequence[int], num_layers: int) -> None:
    """Raise ValueError where there are not as many sizes as layers."""
    if not isinstance(hidden_size, int) and len(hidden_size) != num_layers:
        raise ValueError(
            f"hidden_size has {len(hidden_size)} sizes for num_layers={num_layers}: give one for each layer"
        )


@rule
def check_skips(hidden_size: int | Sequence[int], skip_connections: bool) -> None:
    """Raise ValueError where the outputs of the layers cannot be added up."""
    if skip_connections and not isinstance(hidden_size, int) and len(set(hidden_size)) > 1:
        raise ValueError(
            f"skip_connections adds up the outputs of all layers, whose sizes {list(hidden_size)} differ: "
            f"give one size"
        )


@dataclass(frozen=True)
class StackedTrace:
    """What happened inside of a :class:`Stacked` on some sequences, layer by layer."""

    layers: tuple[Trace, ...]
    """Of each layer, as if it were alone: the L of its arrays is 1, and H is its own."""
    outputs: Tensor
    """As ``forward`` returns them."""
    state: tuple[Tensor, ...]
    """The final state, as ``forward`` returns it."""


class Stacked(nn.Module):
    """Layers on top of each other, each a :class:`Recurrent` of its own size.

    ``hidden_size`` is one size for all of ``num_layers``, or a list with one for each. ``between_dropout`` is
    variational dropout between layers, one mask for all steps of a sequence, and ``dropout`` draws a new one
    for each step. With ``skip_connections`` the output is the sum of the outputs of all layers (Melis, Dyer &
    Blunsom, "On the State of the Art of Evaluation in Neural Language Models", ICLR 2018). All other settings
    are those of every Recurrent in it. Raises ValueError for sizes that do not go together.
    """

    section: ClassVar[str] = "model"
    """The section of a config that takes it."""

    @checked
    def __init__(
        self,
        input_size: Positive,
        hidden_size: Sizes,
        num_layers: Positive = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: Probability = 0.0,
        bidirectional: bool = False,
        *,
        cell: Cell | None = None,
        input_dropout: Probability = 0.0,
        between_dropout: Probability = 0.0,
        skip_connections: bool = False,
        state_dropout: Probability = 0.0,
        weight_dropout: Probability = 0.0,
        zoneout: ProbabilityOfEach = 0.0,
        recurrent_init: Literal["orthogonal", "uniform"] = "orthogonal",
        learn_initial_state: bool = False,
        engine: EngineName = "auto",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.cell = cell if cell is not None else LSTM()
        hidden = (hidden_size,) * num_layers if isinstance(hidden_size, int) else tuple(hidden_size)
        self.hidden_size, self.input_size = hidden, input_size
        self.batch_first, self.bidirectional = batch_first, bidirectional
        self.num_directions = 2 if bidirectional else 1
        self.dropout, self.skip_connections = dropout, skip_connections
        self.between = LockedDropout(between_dropout)
        outputs = [self.num_directions * self.cell.state_sizes(size)[0] for size in hidden]
        self.output_size = outputs[-1]
        self.layers = nn.ModuleList(
            Recurrent(
                inputs,
                size,
                bias=bias,
                batch_first=True,
                bidirectional=bidirectional,
                cell=self.cell,
                input_dropout=input_dropout,
                state_dropout=state_dropout,
                weight_dropout=weight_dropout,
                zoneout=zoneout,
                recurrent_init=recurrent_init,
                learn_initial_state=learn_initial_state,
                engine=engine,
                recompute=recompute,
            )
            for inputs, size in zip([input_size, *outputs], hidden, strict=False)
        )

    def forward(
        self,
        x: Tensor,
        state: Sequence[Tensor] | None = None,
        lengths: Tensor | Sequence[int] | None = None,
        return_gates: bool = False,
        intervene: Sequence[Mapping[str, Intervention]] | None = None,
    ) -> Any:
        """(Outputs, final state) of sequences ``x`` [T, B, F], or with ``batch_first`` [B, T, F].

        A state is one tuple of [D, B, H] tensors, H being the layer's: those of the first layer in the order
        of ``cell.states``, then those of the next. ``lengths`` [B] are as in :class:`Recurrent`, and so are
        the errors; ValueError also for a state of another number of tensors. With ``return_gates`` there is a
        third value, a tuple of the gates and states of each layer as its Recurrent returns them.
        ``intervene`` has what is set in each layer, a dict for every one of them.
        """
        if intervene is not None and len(intervene) != len(self.layers):
            raise ValueError(f"intervene has {len(intervene)} dicts for {len(self.layers)} layers")
        gates: list[dict[str, Tensor]] = []

        def run(index: int, layer: Recurrent, x: Tensor, own: Any) -> tuple[Tensor, Any]:
            change = None if intervene is None else intervene[index]
            x, final, *more = layer(x, own, lengths, return_gates, change)
            gates.extend(
                {name: values if self.batch_first else values.transpose(1, 2) for name, values in one.items()}
                for one in more
            )
            return x, final

        outputs, finals = self._through(x, state, run)
        return (outputs, finals, tuple(gates)) if return_gates else (outputs, finals)

    def trace(
        self,
        x: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        state: Sequence[Tensor] | None = None,
    ) -> StackedTrace:
        """The trace of each layer, as of :meth:`Recurrent.trace`; arguments are those of ``forward``."""
        traces: list[Trace] = []

        def run(index: int, layer: Recurrent, x: Tensor, own: Any) -> tuple[Tensor, Any]:  # noqa: ARG001
            traces.append(layer.trace(x, lengths, own))
            return cast(Tensor, traces[-1].outputs), traces[-1].state

        with torch.no_grad():
            outputs, finals = self._through(x, state, run)
        return StackedTrace(tuple(traces), outputs, finals)

    def state_gradients(
        self,
        x: Tensor,
        loss: Callable[[Any, Any], Tensor],
        lengths: Tensor | Sequence[int] | None = None,
        state: Sequence[Tensor] | None = None,
    ) -> tuple[dict[str, Tensor], ...]:
        """The gradient of ``loss(outputs, state)`` by the states of each layer after each step.

        One dict for each layer, as :meth:`Recurrent.state_gradients` returns it; so are the errors.
        """
        calls: list[StateGradients] = []

        def run(index: int, layer: Recurrent, x: Tensor, own: Any) -> tuple[Tensor, Any]:  # noqa: ARG001
            calls.append(StateGradients(lambda _packing, _index, request: request, 1, self.num_directions))
            result: tuple[Tensor, Any] = layer.run_layers(x, own, lengths, False, calls[-1].run)
            return result

        with torch.inference_mode(False), torch.enable_grad():
            found = loss(*self._through(differentiable(x), state, run))
            return tuple(gradients_of(calls, found))

    def _through(
        self, x: Tensor, state: Sequence[Tensor] | None, run: Callable[..., tuple[Tensor, Any]]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Outputs and final state, each layer run by ``run(number, layer, inputs, state)``."""
        count = len(self.cell.states)
        if state is not None and len(state) != count * len(self.layers):
            raise ValueError(
                f"state must be {count} tensors ({', '.join(self.cell.states)}) for each of "
                f"{len(self.layers)} layers, got {len(state)}"
            )
        x = x if self.batch_first else x.transpose(0, 1)
        finals: list[Tensor] = []
        total: Any = 0
        for index, layer in enumerate(cast(Iterable[Recurrent], self.layers)):
            if index > 0:
                x = self.between(dropout(x, self.dropout, self.training))
            own = None if state is None else tuple(state[index * count : (index + 1) * count])
            x, final = run(index, layer, x, own)
            finals += final
            total = total + x if self.skip_connections else x
        return total if self.batch_first else total.transpose(0, 1), tuple(finals)

    def extra_repr(self) -> str:
        sizes = " → ".join(map(str, (self.input_size, *self.hidden_size)))
        return f"{sizes}, cell={self.cell!r}, skip_connections={self.skip_connections}"
