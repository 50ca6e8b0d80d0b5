"""The optimization of a training step on one device, without the hooks that nobody listens to.

Lightning runs forward, backward, clipping and update as closures within closures, and asks every callback and
the task between each; for a small model that is a twentieth of the step. It offers no other way than a loop
in the place of its own, which is not part of its interface: see ``make_steps_plain``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.optimization.automatic import _AutomaticOptimization
from pytorch_lightning.plugins import Precision
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import nn
from torch.optim import Optimizer

from gatewise.tasks import Task
from gatewise.training.steps import NoProfiler

CALLBACK_HOOKS = (
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
TASK_HOOKS = (
    *CALLBACK_HOOKS,
    "backward",
    "optimizer_step",
    "optimizer_zero_grad",
    "configure_gradient_clipping",
)


class PlainSteps(_AutomaticOptimization):
    """The same operations in the same order, counted as Lightning counts them.

    Where several processes, mixed precision, accumulated gradients, a profiler, or a hook of a callback or of
    the task take part, Lightning's own way is taken.
    """

    _plain: bool | None = None

    def run(self, optimizer: Optimizer, batch_idx: int, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """One step on a batch; returns its loss, or what Lightning's own way does."""
        task: Any = self.trainer.lightning_module
        if self._plain is None or batch_idx == 0:
            self._plain = self._nobody_listens(task, optimizer)
        if not self._plain:
            return super().run(optimizer, batch_idx, kwargs)  # type: ignore[arg-type]
        progress = self.optim_progress.optimizer
        progress.step.increment_ready()
        before, task._current_fx_name = task._current_fx_name, "training_step"
        loss = task.training_step(*kwargs.values())
        task._current_fx_name = before
        progress.zero_grad.increment_ready()
        progress.zero_grad.increment_started()
        optimizer.zero_grad()
        progress.zero_grad.increment_completed()
        loss.backward()
        if self.trainer.gradient_clip_val:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.trainer.gradient_clip_val)
        optimizer.step()
        progress.step.increment_completed()
        return {"loss": loss.detach()}

    def _nobody_listens(self, task: Any, optimizer: Optimizer) -> bool:
        trainer: Any = self.trainer
        return (
            isinstance(task, Task)
            # A user's own step may return more than its loss.
            and type(task).training_step.__module__.startswith("gatewise.")
            and type(trainer.strategy) is SingleDeviceStrategy
            and type(trainer.precision_plugin) is Precision
            and type(trainer.profiler) is NoProfiler
            and trainer.accumulate_grad_batches == 1
            and trainer.gradient_clip_algorithm in (None, "norm")
            and not self._skip_backward
            # Some optimizers of others, and this one, run the step themselves, more than once.
            and type(optimizer).__module__.startswith("torch.optim.")
            and not isinstance(optimizer, torch.optim.LBFGS)
            and not any(
                getattr(type(callback), hook) is not getattr(pl.Callback, hook)
                for callback in trainer.callbacks
                for hook in CALLBACK_HOOKS
            )
            # Our own backward weighs the shares of several processes, and here is one.
            and all(getattr(type(task), hook) is getattr(Task, hook) for hook in TASK_HOOKS)
        )
