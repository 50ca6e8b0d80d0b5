"""A look inside of a Recurrent: gates and states at every step, what is kept of a state, what is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatewise import engine as engines
from gatewise.cells import Cell
from gatewise.engine import Packing, Request, Result
from gatewise.nn.bounds import Bounds, bounds_of
from gatewise.nn.interventions import Change
from gatewise.nn.kept import kept_of
from gatewise.settings import did_you_mean

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Trace:
    """What happened inside of a Recurrent on some sequences; ``trace["f"]`` is ``trace.arrays["f"]``.

    L layers, D directions, B sequences, T steps, H hidden features; padding is NaN. Steps are in the order of
    the input, also those of the reverse direction, for which the step before is the later one.
    """

    arrays: dict[str, Tensor]
    """Every gate that is returned, then every state after each step, [L, D, B, T, H]; P for a projected h."""
    kept: dict[str, Tensor]
    """The share of a state that a step carries over itself, [L, D, B, T, H], as f for the c of an LSTM.

    It is the derivative of the new state by the old one, feature by feature, with all returned gates, the
    candidate as well, and recurrent products held fixed. Where the equations let features of the old state
    reach others of the new one, it is the sum over the new ones. States that are not carried over this way
    are left out.
    """
    written: dict[str, Tensor]
    """The rest of the new state, new - kept · old, for the states of ``kept``: i · n for the c of an LSTM."""
    initial: dict[str, Tensor]
    """Each state before the first step, [L, D, B, H]; in the reverse direction that is the last in time."""
    ranges: dict[str, Bounds]
    """Bounds that the equations give each array: (0, 1) for a sigmoid, (-1, 1) for a tanh, or None."""
    lengths: Tensor
    """[B] number of steps of each sequence."""
    outputs: Tensor | PackedSequence
    """As ``forward`` returns them."""
    state: Any
    """The final state, as ``forward`` returns it."""

    def __getitem__(self, name: str) -> Tensor:
        """An array by name. Raises KeyError for one that there is not."""
        if name not in self.arrays:
            known = ", ".join(self.arrays)
            raise KeyError(f"{name}: the arrays are {known}{did_you_mean(str(name), self.arrays)}")
        return self.arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self.arrays

    def numpy(self) -> dict[str, np.ndarray[Any, Any]]:
        """All arrays by name, with ``kept.c``, ``written.c``, ``initial.c`` … and ``lengths``."""
        tensors = dict(self.arrays)
        for kind in ("kept", "written", "initial"):
            tensors |= {f"{kind}.{name}": value for name, value in getattr(self, kind).items()}
        return {name: _array(value) for name, value in (tensors | {"lengths": self.lengths}).items()}

    def save(self, file: str | Path) -> None:
        """Write what :meth:`numpy` returns to an ``.npz`` file, compressed."""
        import numpy as np

        with Path(file).open("wb") as stream:
            np.savez_compressed(stream, **self.numpy())  # type: ignore[arg-type]


def _array(value: Tensor) -> np.ndarray[Any, Any]:
    value = value.detach().cpu()
    return (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value).numpy()


class Tracing:
    """Runs the layers and directions of a call, and makes a trace of what they were asked and returned."""

    def __init__(self, engine: str, change: Change, layers: int, directions: int) -> None:
        self._engine, self._change, self._layers, self._directions = engine, change, layers, directions
        self._packing: Packing | None = None
        self._cell: Cell | None = None
        self._steps: list[tuple[Request, Result]] = []

    def run(self, packing: Packing, index: int, request: Request) -> Result:
        """Run a request for every gate and state."""
        self._packing, self._cell = packing, request.cell
        request = self._change(packing, index, request)
        result = engines.run(self._engine, replace(request, return_gates=True))
        self._steps.append((request, result))
        return result

    def trace(self, outputs: Tensor | PackedSequence, state: Any) -> Trace:
        """The trace of the call, which has returned these."""
        packing, cell = self._packing, self._cell
        assert packing is not None  # it has run
        assert cell is not None
        arrays = self._stacked(packing.spread, [result.gates for _, result in self._steps])
        shares = [kept_of(request, result.gates) for request, result in self._steps]
        initial = [dict(zip(cell.states, request.state, strict=True)) for request, _ in self._steps]
        kept, before = (
            self._stacked(packing.spread, [{name: pair[which] for name, pair in of.items()} for of in shares])
            for which in (0, 1)
        )
        return Trace(
            arrays=arrays,
            kept=kept,
            written={name: arrays[name] - share * before[name] for name, share in kept.items()},
            initial=self._stacked(lambda tensor: packing.unsort(tensor, 0), initial),
            ranges=bounds_of(cell, self._steps[0][0].hidden_size, tuple(arrays)),
            lengths=packing.lengths,
            outputs=outputs,
            state=state,
        )

    def _stacked(
        self, each: Callable[[Tensor], Tensor], by_layer: list[Mapping[str, Tensor]] | list[dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Tensors by name of every layer and direction as [L, D, …] of what ``each`` makes of them."""
        shape = (self._layers, self._directions)
        return {
            name: torch.stack([each(of[name].detach()) for of in by_layer]).unflatten(0, shape)
            for name in by_layer[0]
        }
