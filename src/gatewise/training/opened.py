"""A run's weights as they are opened: whether they are those of its config and facts.

Each of these files may have been edited, or be of another run. What contradicts the weights is found before
anything of its size is allocated: by the shapes in the checkpoint, which are read without the weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from gatewise.config.build import class_of
from gatewise.kinds.kind import Facts
from gatewise.nn import Recurrent
from gatewise.runs.checkpoints import read_checkpoint, unusable
from gatewise.runs.run import Run
from gatewise.tasks import Task

FREE_NUMBERS = 2**28
"""How many numbers a part may allocate at once, whatever the checkpoint holds: 1 GiB of float32."""

_LAYER = re.compile(r"(?:net\.)?encoder\.layers\.(\d+)\.weight_ih")
_FACTORIES: set[Callable[..., Any]] = {
    *(torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.randint),
    *(torch.arange, torch.linspace, torch.eye, torch.randperm, torch.tril_indices, torch.triu_indices),
}
_WAY = (
    "one of the two files was edited or is of another run: put back the one that belongs here, or train again"
)


def check_sizes(run: Run, config: DictConfig, path: Path, facts: Facts | None) -> None:
    """Raise ValueError, naming file and setting, where a run's sizes are not those of a checkpoint's weights.

    Known of Gatewise's own tasks; what another's make of its facts and its model is found as it is built. A
    run that was killed early may have no ``facts``.
    """
    task = class_of(config.task, "task")
    if not (issubclass(task, Task) and task.__module__.startswith("gatewise.")):
        return
    checkpoint = read_checkpoint(path, "meta")
    weights = checkpoint["state_dict"]
    shapes = {str(name): tuple(value.shape) for name, value in weights.items() if isinstance(value, Tensor)}
    place = f"{path.parent.name}/{path.name}"
    decided: Mapping[str, tuple[str, int, int]] = {}
    if facts is not None and isinstance(facts, task.facts_type):
        decided = task.sizes(facts, config.task)
    for field, (name, dimension, size) in decided.items():
        shape = shapes.get(name, ())
        if dimension < len(shape) and shape[dimension] != size:
            raise ValueError(
                f"{run.folder}/facts.json: {field}: a size of {size}, but the weights {name} in {place} are "
                f"{_written(shape)}; {_WAY}"
            )
    _check_names(run, place, facts, checkpoint.get("names"))
    model = config.model
    if class_of(model, "model") is not Recurrent or not task.has_encoder:
        return
    rows = {int(match[1]): shapes[name][0] for name in shapes if (match := _LAYER.fullmatch(name))}
    layers, hidden = model.get("num_layers", 1), model.get("hidden_size")
    if not (isinstance(layers, int) and isinstance(hidden, int) and hidden > 0):
        return  # what is wrong with them is said as they are built
    directions = 2 if model.get("bidirectional") else 1
    if layers * directions != len(rows):
        setting = f"model.num_layers={layers}" + (", bidirectional" if directions == 2 else "")
        raise ValueError(
            f"{run.folder}/config.yaml: {setting}: {layers * directions} layer(s) in all, but {place} has "
            f"the weights of {len(rows)}; {_WAY}"
        )
    if any(hidden > count or count % hidden for count in rows.values()):
        count = next(iter(rows.values()))
        raise ValueError(
            f"{run.folder}/config.yaml: model.hidden_size={hidden}: the weights in {place} have "
            f"{count} rows, which is not so many for each gate; {_WAY}"
        )


def _check_names(run: Run, place: str, facts: Facts | None, trained: Any) -> None:
    """Raise ValueError for names, such as a vocabulary, that are not those the weights were trained with.

    ``trained`` are the digests in the checkpoint at ``place``; those of earlier versions have none.
    """
    if facts is None or not isinstance(trained, Mapping):
        return
    for field, digest in facts.digests().items():
        if trained.get(field, digest) != digest:
            raise ValueError(
                f"{run.folder}/facts.json: {field}: not the one that the weights in {place} were trained "
                f"with; {_WAY}"
            )


@contextmanager
def bounded(path: Path) -> Iterator[None]:
    """Have a task be built that is no larger than the weights at ``path``: else a ValueError names them."""
    weights = read_checkpoint(path, "meta")["state_dict"]
    numbers = sum(value.numel() for value in weights.values() if isinstance(value, Tensor))
    most_parameters = 2 * len(weights) + 1000
    made = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:  # noqa: ARG001
        nonlocal made
        made += 1
        if made > most_parameters:
            raise unusable(
                path,
                f"has {len(weights)} tensors of weights, and this run's config.yaml and facts.json make "
                f"more than {most_parameters} of them; put back the files that belong together",
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        with _Bounded(path, max(4 * numbers, FREE_NUMBERS)):
            yield
    finally:
        hook.remove()


class _Bounded(TorchFunctionMode):
    """Refuses to make a tensor of more than so many numbers."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__()
        self._path, self._most = path, most

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FACTORIES:
            size = self._size(func, args, kwargs)
            if size > self._most:
                raise unusable(
                    self._path,
                    f"too small for this run's config.yaml and facts.json, which make a tensor of {size:.3g} "
                    f"numbers; put back the files that belong together",
                )
        return func(*args, **kwargs)

    @staticmethod
    def _size(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
        plain = {name: value for name, value in kwargs.items() if name not in ("generator", "out")}
        try:
            return int(func(*args, **{**plain, "device": "meta"}).numel())
        except RuntimeError as error:
            return math.inf if "overflow" in str(error).lower() else 0
        except Exception:
            return 0  # the call itself says what is wrong


def check_weights(path: Path, own: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the first, where a checkpoint's weights are not those that a task has.

    ``own`` is the task's ``state_dict()``. A name that ends in ``_extra_state`` is a module's own affair.
    """
    for name, value in own.items():
        if name not in stored:
            raise _another(path, f"no weights {name}, of which this run's model has {_kind(value)}")
    for name, value in stored.items():
        if name not in own:
            raise _another(path, f"weights {str(name)[:60]!r}, of which this run's model has none")
        wanted = own[name]
        if not isinstance(wanted, Tensor):
            continue
        if not isinstance(value, Tensor):
            raise _another(path, f"{type(value).__name__} and no tensor in place of the weights {name}")
        kinds = [(t.shape, t.layout, t.is_complex(), t.is_floating_point()) for t in (value, wanted)]
        if kinds[0] != kinds[1]:
            raise _another(
                path, f"{_kind(value)} as weights {name}, where this run's model has {_kind(wanted)}"
            )


def load_weights(task: Task, path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Give a task the weights of a checkpoint; raises ValueError as :func:`check_weights`."""
    stored = checkpoint["state_dict"]
    check_weights(path, task.state_dict(), stored)
    for name, value in stored.items():
        if isinstance(value, Tensor) and value.is_meta:
            raise unusable(path, f"its weights {name} have no values")
    task.load_state_dict(stored)


def _another(path: Path, holds: str) -> ValueError:
    return unusable(
        path, f"holds {holds}: it is of another run, or config.yaml or facts.json was edited: put them back"
    )


def _kind(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    layout = "" if value.layout is torch.strided else f", {str(value.layout).removeprefix('torch.')}"
    return f"{_written(tuple(value.shape))} ({str(value.dtype).removeprefix('torch.')}{layout})"


def _written(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
