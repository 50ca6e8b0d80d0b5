"""Refuse a model or a training step that takes more memory than there is, before it is allocated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from gatewise.data.module import SequenceDataModule
from gatewise.nn import Recurrent
from gatewise.settings import SettingError
from gatewise.settings.memory import in_words, memory
from gatewise.tasks import Task

_MAKERS = {
    "empty",
    "zeros",
    "ones",
    "rand",
    "randn",
    "full",
    "new_empty",
    "new_zeros",
    "new_ones",
    "new_full",
}
_BYTES = 4


class _Watch(TorchFunctionMode):
    """Looks at the size of every tensor before it is made."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _MAKERS:
            sizes = [item for item in args if isinstance(item, (int, tuple, list)) and item is not True]
            if sizes and isinstance(sizes[0], (tuple, list)):
                sizes = list(sizes[0])
            whole = [size for size in sizes if isinstance(size, int)]
            _refuse(math.prod(whole) * _BYTES, self.most)
        return func(*args, **(kwargs or {}))


def _refuse(size: int, most: int) -> None:
    if size > most:
        raise SettingError(
            f"model and task take {in_words(size)} of weights or more: there are {in_words(most)} of memory "
            f"here; make model.hidden_size, the layers or the vocabulary smaller"
        )


@contextmanager
def weights_fit() -> Iterator[None]:
    """Raise SettingError inside where weights are made that this machine's memory does not hold."""
    most = memory()
    total = 0

    def add(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:  # noqa: ARG001
        nonlocal total
        if parameter is not None and not isinstance(parameter, nn.UninitializedParameter):
            total += parameter.numel() * parameter.element_size()
            _refuse(total, most)

    handle = register_module_parameter_registration_hook(add)
    try:
        with _Watch(most):
            yield
    finally:
        handle.remove()


def check_step(data: SequenceDataModule, task: Task) -> None:
    """Raise SettingError where the outputs of one training step alone take more memory than there is."""
    positions = data.largest_batch()
    if positions is None:
        return
    layers = sum(m.num_layers * m.output_size for m in task.modules() if isinstance(m, Recurrent))
    size = positions * (layers + task.scores_per_step) * _BYTES
    if size > memory():
        raise SettingError(
            f"data.batch_size={data.batch_size}: a training step of {positions} frames takes "
            f"{in_words(size)} or more: there are {in_words(memory())} of memory here; make the batch or "
            f"its sequences smaller"
        )
