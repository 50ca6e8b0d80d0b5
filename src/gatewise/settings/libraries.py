"""Checks for settings of torch's, Lightning's and Optuna's own classes, which report a bad value late or not.

Those that files of ``conf/`` name are listed, as reading a library's source for its annotations takes time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn

from gatewise.settings.checks import (
    any_of,
    choice,
    flag,
    not_negative,
    number,
    optional,
    pair,
    share_or_number,
    shown,
    text,
    whole_number,
)
from gatewise.settings.values import Check

LIBRARIES = ("torch.", "pytorch_lightning.", "lightning_fabric.", "optuna.")
STRATEGIES = (
    *("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true"),
    *("fsdp", "fsdp_cpu_offload", "deepspeed", "deepspeed_stage_1", "deepspeed_stage_2"),
    *("deepspeed_stage_2_offload", "deepspeed_stage_3", "deepspeed_stage_3_offload"),
    *("deepspeed_stage_3_offload_nvme", "single_device", "single_xla", "xla", "xla_debug", "single_tpu"),
)
"""Names of Lightning's strategies, without those that start the processes in another way than Gatewise."""
SHORT_PRECISIONS = {"64": "64-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}
"""What Lightning takes some precisions for, with a warning each."""
PRECISIONS = (
    *("32-true", "16-mixed", "bf16-mixed", "64-true", "16-true", "bf16-true"),
    *("transformer-engine", "transformer-engine-float16", *SHORT_PRECISIONS, 64, 32, 16),
)

GIVEN_TO_TRAINER = {
    "barebones": "it keeps no metrics and no checkpoint",
    "callbacks": "give callbacks.NAME._target_=...",
    "logger": "choose one with logger=...",
    "plugins": "Gatewise gives those that its checkpoints and processes need",
    "default_root_dir": "paths.runs_dir says where runs go",
    "use_distributed_sampler": "the DataModules share batches among the processes",
    "enable_checkpointing": "leave checkpoints out with ~callbacks.best_checkpoint",
    "enable_progress_bar": "leave it out with ~callbacks.progress",
    "enable_model_summary": "leave it out with ~callbacks.model_table",
}
"""Settings of the Trainer that Gatewise gives itself, where a user's would be ignored; what to do instead."""

_count = partial(whole_number, least=0)
_from_minus_one = partial(whole_number, least=-1)
_mode = partial(choice, known=("min", "max"))
_TIME = re.compile(r"[0-9]{1,12}:[0-9]{2}:[0-9]{2}:[0-9]{2}")
_OF_TEXT = ("days", "hours", "minutes", "seconds")
_UNITS = ("weeks", "days", "hours", "minutes", "seconds", "milliseconds", "microseconds")


def duration(name: str, value: Any) -> timedelta:
    """The time that ``00:12:00:00`` or ``{hours: 12}`` says; ValueError for anything else."""
    try:
        if isinstance(value, Mapping) and value and set(value) <= set(_UNITS):
            return timedelta(
                **{unit: not_negative(f"{name}.{unit}", amount) for unit, amount in value.items()}
            )
        if isinstance(value, str) and _TIME.fullmatch(value):
            return timedelta(**dict(zip(_OF_TEXT, map(int, value.split(":")), strict=True)))
    except OverflowError:
        raise ValueError(
            f"{name} must be a time of at most {timedelta.max.days} days, got {shown(value)}"
        ) from None
    raise ValueError(
        f"{name} must be a time, 00:12:00:00 (days, hours, minutes, seconds) or {{hours: 12}}, got "
        f"{shown(value)}"
    )


def _some_time(name: str, value: Any) -> timedelta:
    time = duration(name, value)
    if not time:
        raise ValueError(f"{name} must be a time of more than nothing, got {shown(value)}")
    return time


def _interval(name: str, value: Any) -> Any:
    if share_or_number(name, value) == 0:
        raise ValueError(f"{name}={value}: give a share of an epoch such as 0.5, or batches")
    return value


def _not_taken(instead: str) -> Check:
    """The check of a setting that Gatewise gives itself, so that a user's would be ignored."""

    def refuse(name: str, value: Any) -> NoReturn:  # noqa: ARG001
        raise ValueError(f"{name}: is not for you to set: {instead}")

    return refuse


def _no_dev_run(name: str, value: Any) -> Any:
    if value not in (False, None) or isinstance(value, float):
        raise ValueError(f"{name}: keeps no metrics and no checkpoint; debug=one_batch does")
    return value


def _deterministic(name: str, value: Any) -> Any:
    return any_of(name, value, (flag, partial(choice, known=("warn",))))


def _devices(name: str, value: Any) -> Any:
    """A number, ``auto`` or a list of GPUs; how many there are is for the machine to say."""
    if isinstance(value, str) and (value == "auto" or re.fullmatch(r"-?\d{1,9}(,\d{1,9})*", value)):
        return value
    items = [value] if isinstance(value, (int, float, str)) or value is None else list(value)
    for item in items:
        whole_number(name, item, least=-1)
    return value


_CLASSES: dict[str, Mapping[str, Check]] = {
    "pytorch_lightning.Trainer": {
        "accelerator": partial(choice, known=("cpu", "gpu", "cuda", "mps", "tpu", "auto")),
        "strategy": partial(choice, known=STRATEGIES),
        "devices": _devices,
        "num_nodes": whole_number,
        "precision": optional(partial(choice, known=PRECISIONS)),
        "fast_dev_run": _no_dev_run,
        "max_epochs": optional(_from_minus_one),
        "min_epochs": optional(_count),
        "max_steps": _from_minus_one,
        "min_steps": optional(_count),
        "max_time": optional(_some_time),
        "limit_train_batches": optional(share_or_number),
        "limit_val_batches": optional(share_or_number),
        "limit_test_batches": optional(share_or_number),
        "limit_predict_batches": optional(share_or_number),
        "overfit_batches": share_or_number,
        "val_check_interval": optional(_interval),
        "check_val_every_n_epoch": optional(whole_number),
        "num_sanity_val_steps": optional(_from_minus_one),
        "log_every_n_steps": optional(_count),
        "accumulate_grad_batches": whole_number,
        "gradient_clip_val": optional(not_negative),
        "gradient_clip_algorithm": optional(partial(choice, known=("norm", "value"))),
        "deterministic": optional(_deterministic),
        "benchmark": optional(flag),
        "inference_mode": flag,
        "profiler": optional(partial(choice, known=("simple", "advanced", "pytorch", "xla"))),
        "detect_anomaly": flag,
        "sync_batchnorm": flag,
        "reload_dataloaders_every_n_epochs": _count,
        "enable_autolog_hparams": flag,
        "model_registry": optional(text),
        **{name: _not_taken(instead) for name, instead in GIVEN_TO_TRAINER.items()},
    },
    "pytorch_lightning.callbacks.ModelCheckpoint": {
        "filename": optional(text),
        "monitor": optional(text),
        "mode": _mode,
        "save_top_k": _from_minus_one,
        "save_on_train_epoch_end": optional(flag),
        "enable_version_counter": flag,
        "every_n_epochs": optional(whole_number),
        "every_n_train_steps": optional(_count),
        "save_weights_only": flag,
        "train_time_interval": optional(duration),
    },
    "pytorch_lightning.callbacks.EarlyStopping": {
        "monitor": text,
        "mode": _mode,
        "patience": _count,
        "min_delta": number,
    },
    "pytorch_lightning.callbacks.LearningRateMonitor": {
        "logging_interval": optional(partial(choice, known=("step", "epoch"))),
    },
    "pytorch_lightning.callbacks.Timer": {
        "duration": optional(_some_time),
        "interval": partial(choice, known=("step", "epoch")),
    },
}
"""The check of each setting of a class; others of its settings are read from its source."""

_GROUPS: dict[str, Mapping[str, Check]] = {
    "torch.optim.lr_scheduler.": {
        "step_size": whole_number,
        "T_max": whole_number,
        "T_0": whole_number,
        "T_mult": whole_number,
        "total_iters": _count,
        "patience": _count,
        "cooldown": _count,
        "factor": not_negative,
        "gamma": not_negative,
        "eta_min": not_negative,
        "mode": _mode,
    },
    "torch.optim.": {
        "lr": not_negative,
        "momentum": not_negative,
        "weight_decay": not_negative,
        "betas": pair,
        "etas": pair,
        "eps": not_negative,
    },
    "pytorch_lightning.": {"mode": _mode, "patience": _count},
    "optuna.": {"n_startup_trials": _count, "n_warmup_steps": _count, "n_min_trials": whole_number},
}
"""The same for every class of a prefix."""
_MODES_OF_ITS_OWN = ("CyclicLR", "BatchSizeFinder", "LearningRateFinder", "CometLogger", "Adafactor")
"""Classes whose ``mode`` or ``eps`` is of another kind than that of their group."""


def library_checks(target: str) -> Mapping[str, Check] | None:
    """The check of each setting of a library's class that is listed; None for a class of any other."""
    if not target.startswith(LIBRARIES):
        return None
    if target in _CLASSES:
        return _CLASSES[target]
    group = next((checks for start, checks in _GROUPS.items() if target.startswith(start)), {})
    if target.rpartition(".")[2] in _MODES_OF_ITS_OWN:
        return {name: check for name, check in group.items() if name not in ("mode", "eps")}
    return group


def is_whole(target: str, names: set[str]) -> bool:
    """Whether every one of a class's settings ``names`` is listed for that very class, or for its conf file.

    Then its source does not have to be read.
    """
    if target in _CLASSES:
        return names <= set(_CLASSES[target])
    return names <= set(_IN_CONF.get(target, ()))


_IN_CONF = {
    "torch.optim.Adam": ("lr", "betas", "weight_decay"),
    "torch.optim.AdamW": ("lr", "betas", "weight_decay"),
    "torch.optim.NAdam": ("lr", "betas", "weight_decay"),
    "torch.optim.SGD": ("lr", "momentum", "weight_decay"),
    "torch.optim.lr_scheduler.ConstantLR": ("factor", "total_iters"),
    "torch.optim.lr_scheduler.CosineAnnealingLR": ("T_max", "eta_min"),
    "torch.optim.lr_scheduler.ReduceLROnPlateau": ("mode", "factor", "patience"),
    "torch.optim.lr_scheduler.StepLR": ("step_size", "gamma"),
}
"""Settings that a class of torch is known to have; those of files in ``conf/``."""
