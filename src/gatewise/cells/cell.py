"""The cell contract: the equations of one time step, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import namedtuple
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from gatewise.settings import check_constructor


class Cell(ABC):
    """The equations of one time step of a recurrent network.

    A subclass names its gates and states and writes ``step``. For the layer input x_t and the state before,
    whose first tensor is the hidden state h, the engine computes for every gate g

        a_g = U_g x_t + b_g        (for all steps in one product, before the loop)
        r_g = W_g h_{t-1}          (inside the loop; only for the gates named in ``recurrent``)

    and calls ``step`` for the next state. U, W and b are stored as one block per gate, in the order of
    ``gates``. With a ``projection_size``, the engine computes the hidden state from the first tensor that
    ``step`` returns, h_t = P m_t. A cell knows nothing about time, batches, devices, layers or directions,
    holds no tensors, and has no backward pass of its own.
    """

    section: ClassVar[str] = "cell"
    """What of a config takes it."""
    gates: ClassVar[tuple[str, ...]]
    """Names of the gate blocks, in storage order."""
    states: ClassVar[tuple[str, ...]]
    """Names of the state tensors; the first is the hidden state, the layer's output."""
    recurrent: ClassVar[tuple[str, ...]]
    """Names of the gates that have a recurrent product W h, in the order of ``gates``; default: all."""
    noise: ClassVar[tuple[str, ...]] = ()
    """Names of random blocks that ``step`` reads beside the gates (``a.name``); ``draw_noise`` fills them."""
    projection_size: int | None = None
    """Features of the hidden state if it is projected; ``step`` must then not read ``s.h``."""

    Gates: ClassVar[type[Any]]
    Recurrent: ClassVar[type[Any]]
    State: ClassVar[type[Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_constructor(cls)
        for kind in {"gates", "states", "recurrent", "noise"} & cls.__dict__.keys():
            names = cls.__dict__[kind]
            if isinstance(names, str) or not all(isinstance(name, str) for name in names):
                raise TypeError(f"{cls.__name__}: {kind} = {names!r} must be a tuple of names, as in ('h',)")
        if "step" in cls.__dict__ and not (getattr(cls, "gates", ()) and getattr(cls, "states", ())):
            raise TypeError(f"{cls.__name__} must name its gates and states: gates = (...), states = (...)")
        if {"gates", "noise"} & cls.__dict__.keys():
            cls._named_tuple("Gates", (*cls.gates, *cls.noise))
        if {"gates", "recurrent"} & cls.__dict__.keys():
            if "recurrent" not in cls.__dict__:
                cls.recurrent = cls.gates
            elif cls.recurrent != tuple(gate for gate in cls.gates if gate in cls.recurrent):
                raise TypeError(
                    f"{cls.__name__}: recurrent = {cls.recurrent!r} must name some of its gates "
                    f"{cls.gates!r}, in their order"
                )
            cls._named_tuple("Recurrent", cls.recurrent)
        if "states" in cls.__dict__:
            cls._named_tuple("State", cls.states)
        # Engines keep what they compute about a cell in dictionaries, and a dataclass would be unhashable.
        if cls.__dict__.get("__hash__") is None:
            cls.__hash__ = object.__hash__  # type: ignore[method-assign]

    @classmethod
    def _named_tuple(cls, name: str, fields: tuple[str, ...]) -> None:
        # Named tuples let `step` read a.f and s.c, and torch's pytrees accept them. Pickle needs their full
        # name to load a saved final state.
        kind = namedtuple(name, fields, module=cls.__module__)  # type: ignore[misc]
        kind.__qualname__ = f"{cls.__qualname__}.{name}"
        setattr(cls, name, kind)

    @abstractmethod
    def step(self, a: Any, r: Any, s: Any, p: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """One time step for a batch of rows.

        ``a`` holds one [B, H] tensor per gate (``a.f``), ``r`` one per gate of ``recurrent``, ``s`` one per
        state (``s.c``), ``p`` the cell's own parameters (``p.name``). Returns the new state, in the order of
        ``states``, and the gates for ``return_gates``, by name, each [B, H]. Use only element-wise torch
        operations and reductions along the features, so that every engine can run it, and compute the same
        from the same arguments at every call: random numbers come from ``noise``, what lasts from ``states``.
        """

    def initial_bias(self) -> Mapping[str, float]:
        """Starting value of the bias of each gate; the bias of other gates starts at 0."""
        return {}

    def own_parameters(self, hidden_size: int) -> dict[str, Tensor]:  # noqa: ARG002
        """Starting values of parameters besides U, W and b, by name.

        Those named ``bias…`` stay zero and untrained in a layer without biases.
        """
        return {}

    def draw_noise(self, name: str, block: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """The values of one name of ``noise`` for all steps of a batch, in ``block`` [N, H], which is empty.

        Here standard normal ones in training and 0 in evaluation. Gradients do not reach them.
        """
        return block.normal_() if training else block.zero_()

    @property
    def innermost(self) -> Cell:
        """The cell whose equations these are: itself, unless it runs another one."""
        return self

    def state_sizes(self, hidden_size: int) -> tuple[int, ...]:
        """Number of features of each state: H, but P for a projected hidden state."""
        sizes = (hidden_size,) * len(self.states)
        return sizes if self.projection_size is None else (self.projection_size, *sizes[1:])

    def split_gates(self, blocks: Tensor) -> Any:
        """[..., blocks·H] as a named tuple of [..., H] views, one per gate and then one per noise."""
        return self.Gates(*blocks.chunk(len(self.gates) + len(self.noise), dim=-1))

    def split_recurrent(self, blocks: Tensor) -> Any:
        """[..., len(recurrent)·H] as a named tuple of [..., H] views, one per gate of ``recurrent``."""
        return self.Recurrent(*blocks.chunk(len(self.recurrent), dim=-1) if self.recurrent else ())

    def name_state(self, tensors: Sequence[Tensor]) -> Any:
        """State tensors, in the order of ``states``, as a named tuple."""
        return self.State(*tensors)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"
