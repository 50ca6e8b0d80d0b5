"""Whether a training can go on from a checkpoint: everything that Lightning and the task restore from it.

Lightning takes what it finds and fails somewhere in its middle, or goes on with a state that is no use. Here
the whole is looked at before it begins. Of what differs between versions only that is asked for which every
version of Gatewise has written; what a user's callbacks and tasks add is theirs.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from gatewise.runs.checkpoints import read_checkpoint, unusable, verify
from gatewise.runs.metrics import read_metrics
from gatewise.runs.reading import is_there
from gatewise.runs.run import Run
from gatewise.tasks import Task
from gatewise.training.lightning_internals import is_method_of_progress
from gatewise.training.mid_epoch import epochs_in, mid_epoch_state
from gatewise.training.opened import check_weights

_LIGHTNING = "pytorch-lightning_version"
# What torch's optimizers keep of a weight in its own shape.
_OF_A_WEIGHT = {
    *("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "momentum_buffer", "square_avg", "grad_avg"),
    *("acc_delta", "sum", "ax", "prev", "step_size"),
}


def checkpoint_of(run: Run, source: str) -> Path | None:
    """The checkpoint that a resume from ``source`` (``last`` or ``best``) starts from; None before the first.

    Both are verified, as the weights that a training ends with may be those that are the best now.
    Raises ValueError, naming it, for one that is damaged.
    """
    last, best = run.checkpoints / "last.ckpt", run.best_checkpoint()
    paths = [path for path in (last, best) if path is not None and is_there(path)]
    for path in paths:
        read_checkpoint(path, "meta")
        verify(path)
    start = best if source == "best" else last
    return start if start in paths else None


def check_resumable_from(path: Path, checkpoint: Mapping[str, Any], task: Task, trainer: pl.Trainer) -> None:
    """Raise ValueError, naming what, where the training of ``task`` cannot go on from a checkpoint.

    ``checkpoint`` may be read without the values of its tensors; ``trainer`` is one that has not begun.
    """
    for name in ("epoch", "global_step"):
        if not _is_count(checkpoint.get(name)):
            raise _damaged(path, name, checkpoint.get(name), "must be a whole number of 0 or more")
    _check_version(path, checkpoint.get(_LIGHTNING))
    check_weights(path, task.state_dict(), checkpoint["state_dict"])
    _check_loops(path, checkpoint, trainer)
    _check_callbacks(path, checkpoint, trainer)
    _check_optimizers(path, checkpoint, task)
    state = mid_epoch_state(checkpoint)
    if state is not None:
        _check_mid_epoch(path, state)


def check_rows(run: Run, checkpoint: Mapping[str, Any]) -> None:
    """Raise ValueError where ``metrics.csv`` has lost the rows of the epochs that a checkpoint holds."""
    epochs = epochs_in(checkpoint)
    if epochs > 0 and run.metrics_file.is_file() and not read_metrics(run.metrics_file):
        raise ValueError(
            f"{run.metrics_file}: has no row, but the checkpoint holds {epochs} epoch(s); put the file back, "
            f"or remove it to go on without those rows"
        )


def check_optimizer_finite(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Raise ValueError where a number of the optimizer is NaN or infinite: the next step would spoil all."""
    for optimizer in checkpoint["optimizer_states"]:
        for of_weight in optimizer["state"].values():
            for name, value in of_weight.items() if isinstance(of_weight, dict) else ():
                if not isinstance(value, Tensor):
                    continue
                if value.is_meta or value.layout is not torch.strided:
                    raise unusable(path, f"its optimizer's {name} are no plain tensor of numbers")
                if not torch.isfinite(value).all():
                    raise unusable(path, f"its optimizer's {name} are not all numbers (NaN or infinite)")


def _damaged(path: Path, name: str, value: Any, rule: str) -> ValueError:
    shown = " ".join(repr(value).split())  # of a tensor it has several lines
    return unusable(path, f"no training goes on from it: {name} {rule}, got {shown[:60]}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _check_version(path: Path, version: Any) -> None:
    match = re.match(r"(\d+)\.\d+", version) if isinstance(version, str) else None
    if match is None or match[1] != pl.__version__.partition(".")[0]:
        raise _damaged(path, _LIGHTNING, version, f"must be one of Lightning's, such as {pl.__version__}")


def _check_loops(path: Path, checkpoint: Mapping[str, Any], trainer: pl.Trainer) -> None:
    """How far each loop of Lightning's was: as a new Trainer counts, and in agreement with the rest."""
    loops = checkpoint.get("loops")
    fit = loops.get("fit_loop") if isinstance(loops, dict) else None
    misfit = _misfit(trainer.fit_loop.state_dict(), fit, "loops.fit_loop")
    if misfit is not None or not isinstance(fit, dict):
        raise _damaged(path, *(misfit or ("loops.fit_loop", fit, "must be a mapping")))
    epoch, steps = checkpoint["epoch"], checkpoint["global_step"]
    for name, count in fit["epoch_progress"]["current"].items():
        if abs(count - epoch) > 1:
            name = f"loops.fit_loop.epoch_progress.current.{name}"
            raise _damaged(path, name, count, f"must be that of epoch {epoch}")
    automatic = fit["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]
    manual = fit["epoch_loop.manual_optimization.optim_step_progress"]["total"]
    if automatic["completed"] + manual["completed"] != steps:
        raise _damaged(
            path, "global_step", steps, f"must be the {automatic['completed'] + manual['completed']} of loops"
        )


def _check_callbacks(path: Path, checkpoint: Mapping[str, Any], trainer: pl.Trainer) -> None:
    states = checkpoint.get("callbacks")
    if not isinstance(states, dict):
        raise _damaged(path, "callbacks", states, "must be a mapping")
    known = {callback.state_key: callback.state_dict() for callback in trainer.callbacks}  # type: ignore[attr-defined]
    for name, state in states.items():
        if not isinstance(name, str) or not isinstance(state, dict):
            raise _damaged(
                path, f"callbacks.{str(name)[:40]}", state, "must be a mapping by the callback's name"
            )
        short = name.partition("{")[0]
        for key in {*state} & {*known.get(name, {})}:
            misfit = _misfit(known[name][key], state[key], f"callbacks.{short}.{key}", whole=False)
            if misfit is not None:
                raise _damaged(path, *misfit)
    metrics = checkpoint.get("callback_metrics", {})
    if not isinstance(metrics, dict):
        raise _damaged(path, "callback_metrics", metrics, "must be a mapping")
    for name, value in metrics.items():
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise _damaged(path, f"callback_metrics.{name}", value, "must be one number")


def _misfit(wanted: Any, stored: Any, place: str, whole: bool = True) -> tuple[str, Any, str] | None:
    """Name, value and rule of the first value that is not of the type of a new Trainer's; None for none.

    With ``whole`` nothing may be missing, but for what Lightning calls a ``state_dict``.
    """
    if isinstance(wanted, dict):
        if not isinstance(stored, dict):
            return place, stored, "must be a mapping"
        for name, value in wanted.items():
            if name in stored:
                misfit = _misfit(value, stored[name], f"{place}.{name}", whole)
            else:
                missing = whole and not place.endswith("state_dict")
                misfit = (f"{place}.{name}", None, "must be there") if missing else None
            if misfit is not None:
                return misfit
        methods = [name for name in {*stored} - {*wanted} if whole and is_method_of_progress(name)]
        return (f"{place}.{methods[0]}", stored[methods[0]], "is no count") if methods else None
    if isinstance(wanted, bool):
        return None if isinstance(stored, bool) else (place, stored, "must be true or false")
    if isinstance(wanted, int):
        if whole:
            return None if _is_count(stored) else (place, stored, "must be a whole number of 0 or more")
        # A Timer in the middle of a stage has the time before it less the clock's.
        is_number = isinstance(stored, (int, float)) and not isinstance(stored, bool) and abs(stored) < 2**63
        return None if is_number else (place, stored, "must be a number")
    if isinstance(wanted, Tensor):
        return (
            None
            if isinstance(stored, Tensor) and stored.shape == wanted.shape
            else (place, stored, "must be a tensor of one number")
        )
    if isinstance(wanted, str):
        return None if stored is None or isinstance(stored, str) else (place, stored, "must be text")
    return None


def _check_optimizers(path: Path, checkpoint: Mapping[str, Any], task: Task) -> None:
    states = checkpoint.get("optimizer_states")
    if states is None:
        raise unusable(path, "holds weights alone (save_weights_only): no training goes on from it")
    for name in ("optimizer_states", "lr_schedulers"):
        listed = checkpoint.get(name, [] if name == "lr_schedulers" else None)
        if not isinstance(listed, list) or not all(isinstance(state, dict) for state in listed):
            raise _damaged(path, name, listed, "must be a list of mappings")
    scheduler = checkpoint.get("scheduler")
    if scheduler is not None and not isinstance(scheduler, dict):
        raise _damaged(path, "scheduler", scheduler, "must be a mapping")
    for number, state in enumerate(states):
        place = f"optimizer_states[{number}]"
        groups, of_weights = state.get("param_groups"), state.get("state")
        if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
            raise _damaged(path, f"{place}.param_groups", groups, "must be a list of mappings")
        if not isinstance(of_weights, dict):
            raise _damaged(path, f"{place}.state", of_weights, "must be a mapping")
        for group in groups:
            _check_group(path, f"{place}.param_groups", group)
    if type(task).configure_optimizers is not Task.configure_optimizers:
        return
    if scheduler is not None and (own := task.new_scheduler()) is not None:
        _check_scheduler(path, scheduler, own)
    if len(states) != 1:
        raise _damaged(path, "optimizer_states", len(states), "must be the state of one optimizer")
    _check_shapes(path, checkpoint, [weight for weight in task.parameters() if weight.requires_grad])


def _check_scheduler(path: Path, stored: Mapping[Any, Any], own: LRScheduler) -> None:
    """A scheduler takes whatever it is given for its own, its methods too: only what one of its kind has.

    What it was made with is as the config says.
    """
    state, made_with = own.state_dict(), inspect.signature(type(own)).parameters
    for name, value in stored.items():
        place = f"scheduler.{str(name)[:40]}"
        if name in state:
            if not _is_alike(state[name], value):
                raise _damaged(path, place, value, f"must be like {state[name]!r:.40}")
            if name in made_with and name != "last_epoch" and value != state[name]:
                raise _damaged(path, place, value, f"must be {state[name]!r:.40} as in config.yaml")
        elif not isinstance(name, str) or hasattr(own, name):
            raise _damaged(path, place, value, f"is no state of {type(own).__name__}")


def _is_alike(wanted: Any, stored: Any) -> bool:
    """Whether a value could stand in the place of another one."""
    if isinstance(wanted, (list, tuple)):
        is_list = isinstance(stored, (list, tuple)) and len(stored) == len(wanted)
        return is_list and all(map(_is_alike, wanted, stored))
    if wanted is None:
        return stored is None or isinstance(stored, (bool, int, float, str))
    if isinstance(wanted, (bool, str)):
        return isinstance(stored, type(wanted))
    if isinstance(wanted, int):
        return isinstance(stored, int) and not isinstance(stored, bool) and abs(stored) < 2**31
    if isinstance(wanted, float):
        return isinstance(stored, (int, float)) and not isinstance(stored, bool)
    return isinstance(stored, Mapping) == isinstance(wanted, Mapping)


def _check_group(path: Path, place: str, group: dict[Any, Any]) -> None:
    if not isinstance(group.get("params"), list):
        raise _damaged(path, f"{place}.params", group.get("params"), "must be a list")
    for name in ("lr", "initial_lr"):
        value = group.get(name, 0.0)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not (number and value >= 0) and not isinstance(value, Tensor):
            raise _damaged(path, f"{place}.{name}", value, "must be a number of 0 or more")


def _check_shapes(path: Path, checkpoint: Mapping[str, Any], weights: list[Any]) -> None:
    """What the optimizer knows of each weight is of its size; a sharded one (FSDP) keeps it by name."""
    state = checkpoint["optimizer_states"][0]
    listed = [index for group in state["param_groups"] for index in group["params"]]
    if len(listed) != len(weights):
        raise _damaged(path, "optimizer_states", len(listed), f"must be of the {len(weights)} weights")
    steps_kept = any("betas" in group for group in state["param_groups"])
    if steps_kept and not state["state"] and checkpoint["global_step"] > 0:
        raise unusable(path, "no training goes on from it: its optimizer has kept nothing of its steps")
    for place, index in enumerate(listed):
        of_weight = state["state"].get(index, {}) if isinstance(index, int) else {}
        if not isinstance(of_weight, dict):
            raise _damaged(path, f"optimizer_states.state[{index}]", of_weight, "must be a mapping")
        for name in _OF_A_WEIGHT & {*of_weight}:
            value = of_weight[name]
            shape = tuple(value.shape) if isinstance(value, Tensor) else None
            if value is not None and shape != tuple(weights[place].shape):
                wanted = " x ".join(map(str, weights[place].shape))
                got = value if shape is None else " x ".join(map(str, shape))
                raise _damaged(path, f"optimizer_states.state[{index}].{name}", got, f"must be {wanted}")


def _check_mid_epoch(path: Path, state: Any) -> None:
    """The part of an epoch that had been trained, with what every process had of it."""
    if not isinstance(state, dict):
        raise _damaged(path, "mid_epoch", state, "must be a mapping")
    for name in ("batches", "stepped"):
        if not _is_count(state.get(name)):
            raise _damaged(path, f"mid_epoch.{name}", state.get(name), "must be a whole number of 0 or more")
    for name in ("is_last_batch", "validation_due"):
        if name not in state or not (state[name] is None or isinstance(state[name], bool)):
            raise _damaged(path, f"mid_epoch.{name}", state.get(name), "must be true or false")
    ranks = state.get("ranks")
    if not isinstance(ranks, list) or not ranks or not all(isinstance(own, dict) for own in ranks):
        raise _damaged(path, "mid_epoch.ranks", ranks, "must be a list with a mapping for each process")
    for own in ranks:
        random = own.get("random")
        if not isinstance(random, dict) or not {"torch", "numpy", "python"} <= random.keys():
            raise _damaged(path, "mid_epoch.ranks.random", random, "must be the state of each generator")
