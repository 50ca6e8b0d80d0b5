"""In which dtype a request is computed."""

from __future__ import annotations

from dataclasses import replace

import torch

from gatewise.engine.autocast import autocast_dtype
from gatewise.engine.cuda.emit import KINDS
from gatewise.engine.cuda.steps import accumulated
from gatewise.engine.request import Request, Unsupported


def product_dtype(request: Request) -> torch.dtype:
    """The dtype of products: autocast's, or that of the input. Raises Unsupported for one without kernels."""
    dtype = request.x.dtype
    if dtype != torch.float64:
        dtype = autocast_dtype(request.x.device) or dtype
    if dtype not in KINDS:
        raise Unsupported(f"tensors of {dtype}")
    return dtype


def in_dtype(request: Request, dtype: torch.dtype) -> Request:
    """The request with its tensors in ``dtype``, but for states and own parameters: those in that of sums."""
    wide, weights = accumulated(dtype), request.weights
    others = (request.x, *weights[:3], weights.projection, request.state_mask, request.noise)
    summed = (*request.state, *weights.own.values())
    if all(t is None or t.dtype is dtype for t in others) and all(t.dtype is wide for t in summed):
        return request
    cast = request.settings.request([None if t is None else t.to(dtype) for t in request.tensors()])
    own = {name: value.to(wide) for name, value in weights.own.items()}
    state = tuple(s.to(wide) for s in request.state)
    return replace(cast, weights=cast.weights._replace(own=own), state=state)
