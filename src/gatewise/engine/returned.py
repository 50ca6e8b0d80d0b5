"""What a compiled engine returns of every step beside the outputs, and the gradients of it.

An engine's autograd node returns (outputs, final state…, gates…, every step's states but the first…): the
first state at every step is the output.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from gatewise.engine.request import Result, Settings
from gatewise.engine.traced.trace import Trace


def result_of(settings: Settings, trace: Trace, returned: Sequence[Tensor]) -> Result:
    """The result that consists of what a node has returned."""
    outputs, *rest = returned
    names, count = trace.gate_names, len(settings.cell.states)
    gates = {}
    if settings.return_gates:
        history = (*rest[count : count + len(names)], outputs, *rest[count + len(names) :])
        gates = dict(zip((*names, *settings.cell.states), history, strict=True))
    return Result(outputs, tuple(rest[:count]), gates)


class Incoming:
    """The gradients of what a node has returned, or None for those that there are not."""

    def __init__(self, settings: Settings, trace: Trace, grads: Sequence[Tensor | None]) -> None:
        states = len(settings.cell.states)
        self.gate_names = trace.gate_names if settings.return_gates else ()
        """Names of the gates that were returned."""
        self.names = (*self.gate_names, *settings.cell.states[1:]) if settings.return_gates else ()
        """Names of what was returned beside outputs and final state."""
        self.above, *rest = grads
        self.final, self._history = rest[:states], rest[states:]

    @property
    def places(self) -> tuple[int, ...]:
        """Places of the gates that have one."""
        of_gates = self._history[: len(self.gate_names)]
        return tuple(place for place, grad in enumerate(of_gates) if grad is not None)

    def carried(self) -> tuple[Tensor | None, ...]:
        """Those of every step's states (none in place of the first, whose are in ``above``), then of gates.

        Contiguous. Empty where no gates were returned.
        """
        count = len(self.gate_names)
        carried = (None, *self._history[count:], *self._history[:count]) if self.names else ()
        return tuple(None if grad is None else grad.contiguous() for grad in carried)
