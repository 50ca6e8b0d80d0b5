"""Calls of a Recurrent prepared for a form of input that comes again and again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise import engine as engines
from gatewise.cells import Cell
from gatewise.engine import Prepared, PreparedLayers, Request, Weights

MOST_FORMS = 8


class PreparedCalls:
    """What was prepared, by form: the input's shape, dtype and device, engine, modes.

    It belongs to one module and is neither copied nor saved with it.
    """

    def __init__(self) -> None:
        self._forms: OrderedDict[Any, Prepared | PreparedLayers | None] = OrderedDict()
        self._last: dict[bool, Any] = {}

    def __reduce__(self) -> tuple[type[PreparedCalls], tuple[()]]:
        return PreparedCalls, ()

    def find(
        self, engine: str, x: Tensor, cell: Cell, layers: Sequence[Weights], training: bool
    ) -> Prepared | PreparedLayers | None:
        """What runs x [T, B, F]; None where nothing is prepared, as for a form that is new."""
        gradients = torch.is_grad_enabled()
        form = (engine, x.shape, x.dtype, x.device, engines.autocast_dtype(x.device), training, gradients)
        found = self._forms.get(form)
        if found is not None and found.is_current():
            return found
        if form in self._forms and found is None:
            return None
        if form != self._last.get(gradients):
            self._last[gradients] = form
            return None
        made = engines.prepare(engine, _requests(x, cell, layers), gradients)
        if made == "later":
            return None
        self._forms[form] = made
        if len(self._forms) > MOST_FORMS:
            self._forms.popitem(last=False)
        return made


def _requests(x: Tensor, cell: Cell, layers: Sequence[Weights]) -> list[Request]:
    """What an engine would be asked for each layer, with zeros for what the one below returns."""
    time, batch = x.shape[:2]
    sizes = cell.state_sizes(layers[0].input.shape[0] // len(cell.gates))
    state = tuple(x.new_zeros(batch, size) for size in sizes)
    below, rows = x.flatten(0, 1), []
    for weights in layers:
        rows.append(Request(cell, weights, below, (batch,) * time, state))
        below = x.new_zeros(time * batch, sizes[0])
    return rows


def possible(x: Any) -> bool:
    """Whether a call with this input may leave out what others go through, such as tracing."""
    return (
        type(x) is Tensor
        and x.dim() == 3
        and (x.is_cpu or x.is_cuda)
        and x.layout is torch.strided
        and not torch.jit.is_tracing()
        and not engines.looked_into()
    )
