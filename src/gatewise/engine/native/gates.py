"""Gates that carry gradients: a cell compiled once more, with a derivative of its gates as well.

Which gates get a gradient shows only in the backward pass, and is the same in nearly every one. The backward
pass is compiled there, for just these gates: a gradient of 0 for the others would take time, and be NaN where
a gate has an infinite derivative.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakKeyDictionary

import torch

from gatewise.cells import Cell
from gatewise.engine.native.emit import source
from gatewise.engine.native.kernel import Agrees, Kernel, loaded
from gatewise.engine.request import Request, Unsupported
from gatewise.engine.traced.kept import traced
from gatewise.engine.traced.pruned import pruned
from gatewise.engine.traced.trace import Trace


class _Backward:
    """The backward passes of a cell whose gates carry gradients, each for those of some gates."""

    def __init__(self, hidden_size: int, dtype: torch.dtype) -> None:
        self._size, self._dtype = hidden_size, dtype
        self._compiled: dict[tuple[int, ...], tuple[Trace, Any]] = {}

    def of_gates(self, cell: Cell, kernel: Kernel, places: tuple[int, ...]) -> Kernel:
        """The kernel with that for the gates at these places. Raises Unsupported where none compiles."""
        if places not in self._compiled:
            trace = pruned(kernel.trace, places)
            text = source(cell, trace, self._size, self._dtype, carries=True)[1]
            self._compiled[places] = trace, loaded(text).gw_backward
        trace, backward = self._compiled[places]
        return kernel._replace(trace=trace, backward=backward)


_kernels: WeakKeyDictionary[Cell, dict[tuple[int, torch.dtype], Kernel | Unsupported]] = WeakKeyDictionary()


def carrying_gates(kernel: Kernel, request: Request, agrees: Agrees) -> Kernel:
    """The kernel as one whose gates carry gradients. Raises Unsupported where another engine has to run."""
    by_key = _kernels.setdefault(request.cell, {})
    key = (request.hidden_size, request.x.dtype)
    if key not in by_key:
        try:
            by_key[key] = _compiled(kernel, request.cell, *key, agrees)
        except Unsupported as reason:
            by_key[key] = reason
    compiled = by_key[key]
    if isinstance(compiled, Unsupported):
        raise compiled
    # Products may be those of rounded factors.
    return compiled._replace(products=kernel.products, rounded=kernel.rounded)


def _compiled(kernel: Kernel, cell: Cell, hidden_size: int, dtype: torch.dtype, agrees: Agrees) -> Kernel:
    # Tracing in another thread keeps the caller's modes and hooks out of it.
    with ThreadPoolExecutor(1) as pool:
        names = kernel.trace.gate_names
        found = pool.submit(traced, "native", cell, hidden_size, dtype, names).result()
    forward = loaded(source(cell, found.trace, hidden_size, dtype, carries=True)[0]).gw_forward
    backward = _Backward(hidden_size, dtype).of_gates
    compiled = Kernel(found.trace, forward, None, None, None, kernel.products, False, backward)
    if not found.is_tried and not agrees(compiled, cell, hidden_size, dtype):
        raise Unsupported("gates with other gradients here than in the loop")
    found.keep()
    return compiled
