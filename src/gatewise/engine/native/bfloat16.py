"""bfloat16: computed in float32, by products whose factors are rounded to bfloat16.

Sums, states and all that is not a product stay in float32, so that no rounding is carried from step to step;
sigmoid and tanh have no more digits there than matter beside such products.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gatewise.engine.request import Request, Result, Unsupported

SMALL_WEIGHTS = 1 << 18


def wanted(request: Request) -> bool:
    """Whether autocast, or the tensors, ask for bfloat16. Raises Unsupported for autocast in float16."""
    if request.x.device.type != "cpu":
        return False
    if not torch.is_autocast_enabled("cpu"):
        return request.x.dtype == torch.bfloat16
    dtype = torch.get_autocast_dtype("cpu")
    if dtype != torch.bfloat16:
        raise Unsupported(f"autocast in {dtype}")
    # As everywhere under autocast, float64 stays what it is.
    return request.x.dtype in (torch.float32, torch.bfloat16)


def worthwhile(request: Request) -> bool:
    """Whether rounded factors make products faster: not for one sequence and weights that fit the cache."""
    weights = request.weights
    return request.state[0].shape[0] > 1 or weights.hidden.numel() + weights.input.numel() > SMALL_WEIGHTS


def in_float32(request: Request) -> Request:
    """The request with every tensor of bfloat16 in float32; gradients come back in the dtype given."""
    return request.settings.request([_in_float32(tensor) for tensor in request.tensors()])


def _in_float32(tensor: Tensor | None) -> Tensor | None:
    return tensor.float() if tensor is not None and tensor.dtype == torch.bfloat16 else tensor


def as_asked(result: Result, request: Request) -> Result:
    """Outputs, h and gates in bfloat16; the other states in the dtype of those they were computed from."""
    first, *others = result.state
    rest = [state.to(given.dtype) for state, given in zip(others, request.state[1:], strict=True)]
    gates = {name: gate.bfloat16() for name, gate in result.gates.items()}
    return Result(result.outputs.bfloat16(), (first.bfloat16(), *rest), gates)
