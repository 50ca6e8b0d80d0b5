"""What Gatewise uses of torch without a promise that the next version still has it.

Each name is here, with the reason why no public one will do. ``tests/engine/test_torch_internals.py``
fails under a torch that lacks one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor


def in_torch_func() -> bool:
    """Whether vmap, grad or jvp of torch.func is running.

    These look inside operations and so cannot run an autograd.Function without rules for them. torch.func has
    no public question for it.
    """
    return bool(torch._C._are_functorch_transforms_active())


def torch_func_transforms() -> tuple[str, ...]:
    """Names of the active transforms of torch.func, the outermost first: Vmap, Grad, Jvp, Functionalize.

    torch.func has no public question for them; one that an autograd.Function has no rule for is an error.
    """
    stack = torch._C._functorch.get_interpreter_stack()
    return tuple(interpreter.key().name for interpreter in stack or ())


def in_dispatch_mode() -> bool:
    """Whether something records or replaces the operations that run, as ``make_fx`` does.

    torch has no public question for it.
    """
    from torch.utils._python_dispatch import is_in_torch_dispatch_mode

    return is_in_torch_dispatch_mode()


def dynamo_is_loaded() -> bool:
    """Whether code may be running under torch.compile.

    ``torch.compiler.disable`` imports Dynamo, which takes seconds: nobody should wait for that who does not
    compile. ``torch.compiler.is_compiling`` is no substitute: it is false in frames that Dynamo skips, and
    from those Dynamo enters the functions they call.
    """
    return "torch._dynamo" in sys.modules


def writes(tensor: Tensor) -> int:
    """How many times something was written into the tensor's memory; 0 where nothing counts.

    Autograd counts for itself, and has no public name for it.
    """
    return 0 if tensor.is_inference() else tensor._version


def watching(note: Callable[[Any], None]) -> AbstractContextManager[Any]:
    """A context in which every operation (aten's, with its overload) is given to ``note`` before it runs.

    The module of TorchDispatchMode is private, although torch documents the class. Its default is to import
    Dynamo, which takes seconds, so that compiled code does not look inside of it.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watching(TorchDispatchMode):
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return False

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            note(func)
            return func(*args, **(kwargs or {}))

    return Watching()


def make_fx() -> Callable[..., Any]:
    """The function that records what another one does to tensors, as a graph.

    It is below ``experimental``. The public ``torch.export`` records modules, and no derivative.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx


def decompositions(operators: Iterable[Any]) -> dict[Any, Callable[..., Any]]:
    """How to compute aten's operators by core ones, and these ``operators`` by still simpler ones.

    The public ``torch.export.default_decompositions`` lacks those of core operators.
    """
    from torch._decomp import core_aten_decompositions, get_decompositions

    return {**core_aten_decompositions(), **get_decompositions(list(operators))}


def graph_is_kept() -> bool:
    """Whether the backward pass that is running keeps its graph for another one (``retain_graph``).

    A node with a graph inside has no public way to learn of it, and would have to keep that graph always: it
    does where torch lacks the name.
    """
    asked = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return asked is None or bool(asked())


def raw_stream(device: int) -> int:
    """The number of the current stream of a CUDA device.

    The public way makes a Stream for it, in microseconds; it serves where torch lacks the name.
    """
    ask = getattr(torch._C, "_cuda_getCurrentRawStream", None)
    return int(torch.cuda.current_stream(device).cuda_stream if ask is None else ask(device))
