"""``callbacks=inspect``: what the gates do and how far the gradient reaches, while a model is trained."""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import FSDPStrategy, ModelParallelStrategy
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from gatewise.inspection.gradients import reach
from gatewise.inspection.passes import by_layer
from gatewise.inspection.saturation import saturation
from gatewise.nn import Recurrent, Stacked, StackedTrace
from gatewise.runs.metrics import INSPECT, read_metrics
from gatewise.runs.run import Run
from gatewise.settings import Positive, checked, first_line
from gatewise.tasks import Task
from gatewise.views.pictures.inspected import gate_means, gradients

Encoder = Recurrent | Stacked

_log = logging.getLogger(__name__)

_SIGMOID = (0.0, 1.0)
"""The bounds of what is called a gate here; a candidate has others."""


class InspectGates(pl.Callback):
    """Logs statistics of a task's encoder on the first sequences of the validation data, and draws them.

    Metrics of each layer, ``layer0`` or ``layer0_reverse``: ``inspect/mean/f/layer0`` of a gate,
    ``inspect/below/…`` and ``inspect/above/…``, the shares of steps and units below .1 and above .9,
    ``inspect/kept/c/…``, the mean share of a state that a step keeps, and ``inspect/gradient/h/layer0/16``,
    the norm of the gradient of the loss at the last step by the state 16 steps before (median over the
    sequences). The training is what it is without: no number is drawn, and nothing of the task changes.
    """

    @checked
    def __init__(self, run: Run, every_epochs: Positive = 1, sequences: Positive = 8) -> None:
        self.run = run
        self.every_epochs, self.sequences = every_epochs, sequences
        self._is_off = False

    # Weights are those of the whole validation. As it begins, no task carries a state over from before.
    @rank_zero_only
    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        training = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        due = (trainer.current_epoch + 1) % self.every_epochs == 0 and trainer.is_last_batch
        if self._is_off or not training or not due or batch_idx > 0 or dataloader_idx > 0:
            return
        try:
            if isinstance(trainer.strategy, (FSDPStrategy, ModelParallelStrategy)):
                raise ValueError("no process has all weights")
            values = statistics(pl_module, batch, self.sequences)
        except (ValueError, TypeError, RuntimeError) as error:
            self._is_off = True
            _log.warning("callbacks.inspect: nothing is inspected in this training (%s)", first_line(error))
            return
        for logger in trainer.loggers:
            logger.log_metrics({**values, "epoch": trainer.current_epoch}, trainer.global_step - 1)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._draw()

    def on_exception(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,  # noqa: ARG002
        exception: BaseException,  # noqa: ARG002
    ) -> None:
        self._draw()

    @rank_zero_only
    def _draw(self) -> None:
        rows = read_metrics(self.run.metrics_file)
        gate_means(rows, self.run.plots / "inspect_gates.png", self.run.title)
        gradients(rows, self.run.plots / "inspect_gradients.png", self.run.title)


def statistics(task: pl.LightningModule, batch: Any, sequences: int) -> dict[str, float]:
    """The metrics of the first sequences of a batch, by name; the task and its generators stay as they are.

    Raises ValueError for a task without a Recurrent or a Stacked as its ``encoder``, or one that does not use
    it.
    """
    encoder = getattr(task, "encoder", None)
    if not isinstance(task, Task) or not isinstance(encoder, (Recurrent, Stacked)):
        raise ValueError(f"{type(task).__name__} has no Recurrent as its encoder")
    device = task.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.inference_mode(False):
        batch = _first(batch, sequences)
        x, state, lengths = _given(task, encoder, batch)
        return {
            **dict(_of_gates(encoder, x, state, lengths)),
            **dict(_of_gradients(task, encoder, batch, x, state, lengths)),
        }


def _first(batch: Any, count: int) -> Any:
    """The first examples of a batch: of its tensors, and whatever else is as long as they are."""
    if isinstance(batch, dict):
        return dict(zip(batch, _first(tuple(batch.values()), count), strict=True))
    if isinstance(batch, Tensor):
        return batch[:count].clone()  # one that autograd may keep, made outside of inference mode
    if not isinstance(batch, (tuple, list)):
        raise ValueError(f"a batch that is a {type(batch).__name__} cannot be cut")
    size = next(len(part) for part in batch if isinstance(part, Tensor) and part.dim())
    parts = [_part(part, count, size) for part in batch]
    return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)


def _part(part: Any, count: int, size: int) -> Any:
    if isinstance(part, Tensor):
        return part[:count].clone() if part.dim() and len(part) == size else part.clone()
    return part[:count] if isinstance(part, (list, tuple, np.ndarray)) and len(part) == size else part


def _alone(task: Task) -> Task:
    """The task with the same weights, whose own attributes (a carried state) may change."""
    return copy.copy(task)


def _given(task: Task, encoder: Encoder, batch: Any) -> tuple[Tensor, Any, Tensor | None]:
    """What a task gives its encoder for a batch: inputs, initial state, lengths."""
    calls: list[dict[str, Any]] = []

    def note(_: Any, args: Any, settings: Any) -> None:
        calls.append(inspect.signature(encoder.forward).bind(*args, **settings).arguments)

    handle = encoder.register_forward_pre_hook(note, with_kwargs=True)
    try:
        with torch.no_grad():
            _alone(task).score(batch)
    finally:
        handle.remove()
    if not calls or not isinstance(calls[0]["x"], Tensor):
        raise ValueError(f"{type(task).__name__} gives its encoder no padded tensor")
    first = calls[0]
    return first["x"].detach(), first.get("state"), first.get("lengths")


def _of_gates(encoder: Encoder, x: Tensor, state: Any, lengths: Tensor | None) -> Iterator[tuple[str, float]]:
    found = encoder.trace(x, lengths, state)
    traces = found.layers if isinstance(found, StackedTrace) else (found,)
    ranges = traces[0].ranges
    for name, values in by_layer([trace.arrays for trace in traces]).items():
        if ranges[name] != _SIGMOID or name in encoder.cell.states:
            continue
        for place, array in _by_place(values):
            ends = saturation(array)
            yield f"{INSPECT}mean/{name}/{place}", float(np.nanmean(array))
            yield f"{INSPECT}below/{name}/{place}", float(ends.below.mean())
            yield f"{INSPECT}above/{name}/{place}", float(ends.above.mean())
    for name, values in by_layer([trace.kept for trace in traces]).items():
        for place, array in _by_place(values):
            yield f"{INSPECT}kept/{name}/{place}", float(np.nanmean(array))


def _of_gradients(
    task: Task, encoder: Encoder, batch: Any, x: Tensor, state: Any, lengths: Tensor | None
) -> Iterator[tuple[str, float]]:
    steps, rows = x.shape[1 if encoder.batch_first else 0], x.shape[0 if encoder.batch_first else 1]
    ends = torch.full((rows,), steps) if lengths is None else torch.as_tensor(lengths).cpu()

    def loss(outputs: Tensor, final: Any) -> Tensor:
        """The task's loss, which depends on what the encoder gives after its last step alone."""
        given = _last_alone(encoder, outputs, ends), final
        handle = encoder.register_forward_hook(lambda *_: given)
        try:
            score = _alone(task).score(batch)
        finally:
            handle.remove()
        assert score.loss is not None
        return score.loss * score.count  # of each sequence its own loss, and not its part of a mean

    run: Callable[..., Any] = encoder.state_gradients
    parts = run(x, loss, lengths, state)
    found = by_layer(list(parts) if isinstance(parts, tuple) else [parts])
    last = [(ends - 1).numpy(), np.zeros(rows)][: encoder.num_directions]
    arrays = {name: [layer.double().cpu().numpy() for layer in layers] for name, layers in found.items()}
    for one in reach(arrays, np.stack(last)):
        place = _place(one.layer, one.direction)
        for distance, value in zip(one.distance, one.median, strict=True):
            is_shown = distance & (distance - 1) == 0  # 0, 1, 2, 4, 8, …
            if is_shown and not np.isnan(value):
                yield f"{INSPECT}gradient/{one.state}/{place}/{distance}", value


def _last_alone(encoder: Encoder, outputs: Tensor, lengths: Tensor) -> Tensor:
    """Outputs through which gradients reach the last step of each direction, and no other step."""
    padded = outputs if encoder.batch_first else outputs.transpose(0, 1)
    steps = torch.arange(padded.shape[1], device=outputs.device)
    forward = steps == (lengths.to(outputs.device) - 1)[:, None]
    last = [forward, (steps == 0).expand_as(forward)][: encoder.num_directions]
    mask = torch.stack(last, -1).repeat_interleave(padded.shape[2] // encoder.num_directions, -1)
    kept = torch.where(mask, padded, padded.detach())
    return kept if encoder.batch_first else kept.transpose(0, 1)


def _by_place(layers: Sequence[Tensor]) -> Iterator[tuple[str, Any]]:
    """(layer and direction, its array [B, T, H]) of [D, B, T, H] of each layer."""
    for layer, values in enumerate(layers):
        for direction, array in enumerate(values.float().cpu().numpy()):
            yield _place(layer, direction), array


def _place(layer: int, direction: int) -> str:
    return f"layer{layer}" + ("_reverse" if direction else "")
