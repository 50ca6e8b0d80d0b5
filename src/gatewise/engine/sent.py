"""Numbers from the CPU's memory to a device without waiting for what the device is doing."""

from __future__ import annotations

import torch
from torch import Tensor

held_for_graphs: list[Tensor] = []
"""What CUDA graphs copy from the CPU's memory whenever they run."""


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device; to a GPU from pinned memory, as other copies wait for the GPU."""
    if device.type != "cuda":
        return tensor.to(device)
    pinned = tensor.pin_memory()
    if torch.cuda.is_current_stream_capturing():
        held_for_graphs.append(pinned)
    return pinned.to(device, non_blocking=True)
