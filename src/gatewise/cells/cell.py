"""The cell contract: the equations of one time step, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import namedtuple
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor


class Cell(ABC):
    """The equations of one time step of a recurrent network.

    A subclass names its gates and states and writes ``step``. For the layer input x_t and the state before,
    whose first tensor is the hidden state h, the engine computes for every gate g

        a_g = U_g x_t + b_g        (for all steps in one product, before the loop)
        r_g = W_g h_{t-1}          (inside the loop)

    and asks ``step`` for the next state. U, W and b are stored as one block per gate, in the order of
    ``gates``. A cell knows nothing of time, batches of sequences, devices, layers or directions, holds no
    tensors, and writes no backward pass.
    """

    gates: ClassVar[tuple[str, ...]]
    """Names of the gate blocks, in storage order."""
    states: ClassVar[tuple[str, ...]]
    """Names of the state tensors; the first is the hidden state, the layer's output."""

    Gates: ClassVar[type[Any]]
    State: ClassVar[type[Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__ and not (getattr(cls, "gates", ()) and getattr(cls, "states", ())):
            raise TypeError(f"{cls.__name__} must name its gates and states: gates = (...), states = (...)")
        # Named tuples let `step` read a.f and s.c, and pass through torch's pytrees. Pickle finds them, in a
        # saved final state, by their full name.
        if "gates" in cls.__dict__:
            cls.Gates = namedtuple("Gates", cls.gates, module=cls.__module__)  # type: ignore[misc]
            cls.Gates.__qualname__ = f"{cls.__qualname__}.Gates"
        if "states" in cls.__dict__:
            cls.State = namedtuple("State", cls.states, module=cls.__module__)  # type: ignore[misc]
            cls.State.__qualname__ = f"{cls.__qualname__}.State"
        # Engines remember what they found out about a cell; a dataclass would be unhashable.
        if cls.__dict__.get("__hash__") is None:
            cls.__hash__ = object.__hash__  # type: ignore[method-assign]

    @abstractmethod
    def step(self, a: Any, r: Any, s: Any, p: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """One time step for a batch of rows.

        ``a`` and ``r`` hold one [B, H] tensor per gate (``a.f``), ``s`` one per state (``s.c``), ``p`` the
        cell's own parameters (``p.name``). Returns the new state, in the order of ``states``, and the gates
        a person may look at, by name, each [B, H]. Only element-wise torch operations and reductions along
        the feature axis, so that every engine can run it.
        """

    def initial_bias(self) -> Mapping[str, float]:
        """Starting value of the bias of each gate; gates left out start at 0."""
        return {}

    def own_parameters(self, hidden_size: int) -> dict[str, Tensor]:  # noqa: ARG002
        """Starting values of parameters beside U, W and b, by name.

        Those named ``bias…`` stay zero and untrained in a layer without biases.
        """
        return {}

    def split_gates(self, blocks: Tensor) -> Any:
        """[..., len(gates)·H] as a named tuple of [..., H] views, one per gate."""
        return self.Gates(*blocks.chunk(len(self.gates), dim=-1))

    def name_state(self, tensors: Sequence[Tensor]) -> Any:
        """State tensors, in the order of ``states``, as a named tuple."""
        return self.State(*tensors)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"
