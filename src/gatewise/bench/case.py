"""What is measured: one cell of one size, and the sequences that it runs over."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatewise import cells

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "tf32": torch.float32,
}
"""``tf32`` is float32 whose factors a GPU may round."""
DEVICES = ("cpu", "cuda")
LENGTHS = ("full", "ragged")
WORKS = ("training", "inference")
TORCH = "torch.nn"
TORCH_CELLS = ("LSTM", "GRU", "RNN")


class Size(NamedTuple):
    """The sizes of one batch and layer."""

    steps: int
    batch: int
    inputs: int
    hidden: int

    def __str__(self) -> str:
        return "x".join(map(str, self))


@dataclass(frozen=True)
class Case:
    """One cell of one size, in plain values that can be passed to another process."""

    cell: str
    size: Size
    dtype: str = "float32"
    lengths: str = "full"
    bidirectional: bool = False
    threads: int = 1
    device: str = "cpu"

    @classmethod
    def of(cls, values: dict[str, Any]) -> Case:
        """The case with these :meth:`values`."""
        return cls(**{**values, "size": Size(*values["size"])})

    def values(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"size": list(self.size)}

    @property
    def cell_type(self) -> type[cells.Cell]:
        cell_type: type[cells.Cell] = getattr(cells, self.cell)
        return cell_type

    def sequences(self) -> Tensor:
        """[T, B, I], the same for every contender."""
        steps, batch, inputs, _ = self.size
        generator = torch.Generator().manual_seed(1)
        drawn = torch.randn(steps, batch, inputs, generator=generator)
        return drawn.to(self.device, DTYPES[self.dtype])

    def steps_of_each(self) -> Tensor | None:
        """[B]: drawn uniformly from T/4 … T, the same in every run; None where all have T."""
        if self.lengths == "full":
            return None
        steps, batch = self.size[:2]
        generator = torch.Generator().manual_seed(2)
        return torch.randint(-(-steps // 4), steps + 1, (batch,), generator=generator)

    def all_steps(self) -> int:
        """Number of steps in all sequences together, without padding."""
        lengths = self.steps_of_each()
        return self.size.steps * self.size.batch if lengths is None else int(lengths.sum())


def shipped_cells() -> dict[str, type[cells.Cell]]:
    """The cells of Gatewise by name."""
    kinds = {name: getattr(cells, name) for name in cells.__all__}
    return {
        name: kind for name, kind in kinds.items() if issubclass(kind, cells.Cell) and kind is not cells.Cell
    }
