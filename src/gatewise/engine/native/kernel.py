"""A cell's compiled kernel: found for its tensors, made where there is none yet."""

from __future__ import annotations

import ctypes
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.engine.native.emit import C_TYPES, products_source, source
from gatewise.engine.native.fingerprint import fingerprint
from gatewise.engine.native.library import keep_text, kept_text, load
from gatewise.engine.native.record import from_json, to_json
from gatewise.engine.native.trace import Trace, trace
from gatewise.engine.weights import Unsupported, Weights


class Kernel(NamedTuple):
    """A cell compiled for one hidden size and dtype."""

    trace: Trace
    forward: Any
    backward: Any
    products: tuple[int, ...]
    """Addresses of the matrix products."""


_kernels: WeakKeyDictionary[Cell, dict[tuple[int, torch.dtype], Kernel | Unsupported]] = WeakKeyDictionary()
_libraries: dict[str, ctypes.CDLL] = {}


def kernel_for(cell: Cell, weights: Weights, x: Tensor, others: tuple[Tensor | None, ...]) -> Kernel:
    """The compiled cell for these tensors; Unsupported, saying why, where another engine has to run."""
    mine = (x, weights.input, weights.hidden, weights.bias, weights.projection, *weights.own.values())
    for tensor in (*mine, *others):
        if tensor is None:
            continue
        if tensor.device.type != "cpu" or tensor.layout != torch.strided:
            raise Unsupported(f"tensors on {tensor.device.type}")
        if type(tensor) not in (Tensor, torch.nn.Parameter):
            raise Unsupported(f"tensors of the class {type(tensor).__name__}")  # which may have no data
        if tensor.dtype != x.dtype or tensor.dtype not in C_TYPES:
            raise Unsupported(f"tensors of {tensor.dtype}")
    if torch.is_autocast_enabled("cpu"):
        raise Unsupported("autocast")
    known = _kernels.setdefault(cell, {})
    key = (len(weights.input) // len(cell.gates), x.dtype)
    if key not in known:
        try:
            known[key] = _compiled(cell, *key)
        except Unsupported as reason:
            known[key] = reason
    found = known[key]
    if isinstance(found, Unsupported):
        raise found
    return found


def _compiled(cell: Cell, hidden_size: int, dtype: torch.dtype) -> Kernel:
    # The compiler works on the products while the cell is traced, and on its two directions at once. In a
    # thread of its own tracing is out of reach of the caller's modes and hooks, as checkpointing has.
    with ThreadPoolExecutor(2) as beside:
        compiling = beside.submit(_library, products_source(dtype))
        recorded = beside.submit(_trace, cell, hidden_size, dtype).result()
        forward, backward = beside.map(_library, source(cell, recorded, hidden_size, dtype))
        products = compiling.result()
    names = ("gw_pack", "gw_multiply", "gw_dots", "gw_outer")
    addresses = [ctypes.cast(getattr(products, name), ctypes.c_void_p).value or 0 for name in names]
    return Kernel(recorded, forward.gw_forward, backward.gw_backward, tuple(addresses))


def _trace(cell: Cell, hidden_size: int, dtype: torch.dtype) -> Trace:
    """The cell's trace: from the cache, as tracing takes a second of imports, or made anew."""
    known = fingerprint(cell)
    key = (
        None if known is None else hashlib.sha256(f"{known} {hidden_size} {dtype}".encode()).hexdigest()[:40]
    )
    text = None if key is None else kept_text(key)
    if text is not None:
        try:
            return from_json(text)
        except ValueError:  # of another version
            pass
    recorded = trace(cell, hidden_size, dtype)
    if key is not None:
        keep_text(key, to_json(recorded))
    return recorded


def _library(text: str) -> ctypes.CDLL:
    if text not in _libraries:
        _libraries[text] = load(text)
    return _libraries[text]
