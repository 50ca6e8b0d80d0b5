"""Gates that carry gradients: a cell's kernels, with a derivative of its gates as well.

As in the native engine, the backward pass is compiled for just those gates that have a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from gatewise.cells import Cell
from gatewise.engine.cuda import plan, whole
from gatewise.engine.cuda.emit import steps_source
from gatewise.engine.cuda.launcher import Launcher, capturing
from gatewise.engine.cuda.steps import StepKernels
from gatewise.engine.cuda.variant import Shape
from gatewise.engine.cuda.whole import SequenceKernel, WholeKernels
from gatewise.engine.request import Unsupported
from gatewise.engine.traced.pruned import pruned
from gatewise.engine.traced.trace import Trace


@dataclass(frozen=True, eq=False)
class StepsOfGates:
    """The kernels step by step of a cell whose gates carry gradients."""

    trace: Trace
    launcher: Launcher
    hidden_size: int
    dtype: torch.dtype
    device: torch.device
    _back: dict[tuple[int, ...], StepKernels] = field(default_factory=dict)

    def forth(self, cell: Cell) -> StepKernels:
        """Those for the forward pass, which lead to the others."""
        forward = self.launcher.kernel(self._source(cell, self.trace), "step_forward")
        return StepKernels(self.trace, self.launcher, forward, None, self.back)

    def back(self, cell: Cell, places: tuple[int, ...]) -> StepKernels:
        """Those for a backward pass from the gradients of the gates at these places.

        Raises Unsupported where they cannot be compiled.
        """
        if places not in self._back:
            if capturing(self.device):  # a module to load may wait for the GPU
                raise Unsupported("a CUDA graph that is captured before the first backward pass")
            trace = pruned(self.trace, places)
            backward = self.launcher.kernel(self._source(cell, trace), "step_backward")
            self._back[places] = StepKernels(trace, self.launcher, None, backward)
        return self._back[places]

    def _source(self, cell: Cell, back: Trace) -> str:
        return steps_source(
            cell, self.trace, self.hidden_size, self.dtype, self.dtype.itemsize == 2, carrying=back
        )


@dataclass(frozen=True, eq=False)
class WholeOfGates:
    """The kernels for whole sequences of a cell whose gates carry gradients, and of so many sequences."""

    trace: Trace
    forward: SequenceKernel
    batch: int
    device: torch.device
    _back: dict[tuple[int, ...], WholeKernels] = field(default_factory=dict)

    def forth(self) -> WholeKernels:
        """Those for the forward pass, which lead to the others."""
        return WholeKernels(self.trace, self.forward, None, self.back)

    def back(self, cell: Cell, places: tuple[int, ...]) -> WholeKernels:
        """Those for a backward pass from the gradients of the gates at these places.

        Raises Unsupported where they cannot be compiled, or do not fit on the GPU.
        """
        if places not in self._back:
            if capturing(self.device):
                raise Unsupported("a CUDA graph that is captured before the first backward pass")
            trace, launcher = pruned(self.trace, places), self.forward.launcher
            shape = backward_shape(cell, self.forward.shape, trace)
            variant = plan.best(shape, self.batch, launcher.gpu)
            if variant is None:
                raise Unsupported("no kernel for the whole sequence")
            kernel = whole.compiled(cell, self.trace, shape, variant, launcher, carrying=trace)
            kernel.prepare(self.batch)
            self._back[places] = WholeKernels(trace, self.forward, kernel)
        return self._back[places]


def backward_shape(cell: Cell, forward: Shape, back: Trace) -> Shape:
    """What a cell that asks for ``forward`` asks for in a backward pass by this trace."""
    carried = len(cell.states) - 1 + len(back.carrying)
    return replace(forward, way="backward", inputs=len(cell.gates), carried=carried, alive=0)
