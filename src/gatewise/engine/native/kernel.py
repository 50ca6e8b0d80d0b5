"""The compiled kernel of a cell: looked up for the tensors of a request, or compiled."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.engine.native.emit import C_TYPES, products_source, rounded_products_source, source
from gatewise.engine.native.library import load
from gatewise.engine.request import Request, Unsupported
from gatewise.engine.traced.kept import traced
from gatewise.engine.traced.trace import Trace


class Kernel(NamedTuple):
    """A cell compiled for one hidden size and dtype."""

    trace: Trace
    forward: Any
    backward: Any
    forward_models: Any
    """Several sequences of the same sizes, one after the other or some at a time."""
    backward_models: Any
    products: tuple[int, ...]
    """Addresses of the matrix products."""
    rounded: bool = False
    """Whether these round their factors to bfloat16."""
    backward_of_gates: Callable[[Cell, Kernel, tuple[int, ...]], Kernel] | None = None
    """Where gates carry gradients: this kernel with a backward pass for those of the gates at some places."""


_kernels: WeakKeyDictionary[Cell, dict[tuple[int, torch.dtype], Kernel | Unsupported]] = WeakKeyDictionary()
_libraries: dict[str, ctypes.CDLL] = {}


Agrees = Callable[[Kernel, Cell, int, torch.dtype], bool]


def kernel_for(request: Request, tensors: Iterable[Tensor | None], agrees: Agrees) -> Kernel:
    """The compiled cell for a request and its tensors. Raises Unsupported where another engine has to run.

    ``agrees`` says whether a new kernel has the loop's results.
    """
    dtype = request.x.dtype
    for tensor in tensors:
        if tensor is None:
            continue
        if tensor.device.type != "cpu" or tensor.layout != torch.strided:
            raise Unsupported(f"tensors on {tensor.device.type}")
        if type(tensor) not in (Tensor, torch.nn.Parameter):
            raise Unsupported(f"tensors of the class {type(tensor).__name__}")  # they may have no data
        if tensor.dtype != dtype or dtype not in C_TYPES:
            raise Unsupported(f"tensors of {tensor.dtype}")
    by_key = _kernels.setdefault(request.cell, {})
    key = (request.hidden_size, dtype)
    if key not in by_key:
        try:
            by_key[key] = _compile(request.cell, *key, agrees)
        except Unsupported as reason:
            by_key[key] = reason
    kernel = by_key[key]
    if isinstance(kernel, Unsupported):
        raise kernel
    return kernel


def _compile(cell: Cell, hidden_size: int, dtype: torch.dtype, agrees: Agrees) -> Kernel:
    # The products compile while the cell is traced, and then its two directions at once. Tracing in another
    # thread also keeps the caller's modes and hooks (those of checkpointing, for one) out of it.
    with ThreadPoolExecutor(2) as pool:
        compiling = pool.submit(loaded, products_source(dtype))
        found = pool.submit(traced, "native", cell, hidden_size, dtype).result()
        forward, backward = pool.map(loaded, source(cell, found.trace, hidden_size, dtype))
        products = compiling.result()
    addresses = _addresses(products, "gw_pack", "gw_multiply", "gw_dots", "gw_mix", "gw_outer")
    kernel = Kernel(
        found.trace,
        forward.gw_forward,
        backward.gw_backward,
        forward.gw_forward_models,
        backward.gw_backward_models,
        addresses,
    )
    if not found.is_tried and not agrees(kernel, cell, hidden_size, dtype):
        raise Unsupported("a step with other results here than in the loop")
    found.keep()
    return kernel


def rounded(kernel: Kernel, cell: Cell, hidden_size: int) -> Kernel:
    """A kernel in float32 whose products round their factors to bfloat16.

    Its sigmoid and tanh have as many digits as matter beside that: an error of at most 1.3e-4, where a number
    of bfloat16 has one of 2e-3. It is compiled where somebody asks for it: others need not wait.
    """
    by_key = _kernels.setdefault(cell, {})
    key = (hidden_size, torch.bfloat16)
    if key not in by_key:
        sources = source(cell, kernel.trace, hidden_size, torch.float32, near=True)
        with ThreadPoolExecutor(2) as pool:
            products, forward, backward = pool.map(loaded, (rounded_products_source(), *sources))
        names = ("gw_pack_bfloat16", "gw_multiply_bfloat16", "gw_dots", "gw_mix", "gw_outer_bfloat16")
        by_key[key] = kernel._replace(
            products=_addresses(products, *names),
            forward=forward.gw_forward,
            forward_models=forward.gw_forward_models,
            backward=backward.gw_backward,
            backward_models=backward.gw_backward_models,
            rounded=True,
        )
    found = by_key[key]
    assert isinstance(found, Kernel)
    return found


def _addresses(library: ctypes.CDLL, *names: str) -> tuple[int, ...]:
    return tuple(ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for name in names)


def loaded(text: str) -> ctypes.CDLL:
    """The library of a C source, loaded once."""
    if text not in _libraries:
        _libraries[text] = load(text)
    return _libraries[text]
