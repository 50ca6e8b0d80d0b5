"""Checks for settings of torch's and Lightning's own classes, which report a bad value late or unclearly."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from gatewise.settings.checks import (
    choice,
    flag,
    not_negative,
    optional,
    share_or_number,
    whole_number,
)
from gatewise.settings.values import Check

_LIBRARIES: dict[str, Mapping[str, Check]] = {
    "torch.optim.lr_scheduler.": {
        "step_size": whole_number,
        "T_max": whole_number,
        "total_iters": partial(whole_number, least=0),
        "patience": partial(whole_number, least=0),
        "factor": not_negative,
        "gamma": not_negative,
        "mode": partial(choice, known=("min", "max")),
    },
    "torch.optim.": {"lr": not_negative, "momentum": not_negative, "weight_decay": not_negative},
    "pytorch_lightning.": {
        "accelerator": partial(choice, known=("cpu", "gpu", "cuda", "mps", "tpu", "auto")),
        "max_epochs": optional(partial(whole_number, least=-1)),
        "max_steps": partial(whole_number, least=-1),
        "gradient_clip_val": not_negative,
        "accumulate_grad_batches": whole_number,
        "limit_train_batches": share_or_number,
        "limit_val_batches": share_or_number,
        "limit_test_batches": share_or_number,
        "overfit_batches": share_or_number,
        "val_check_interval": share_or_number,
        "check_val_every_n_epoch": whole_number,
        "num_sanity_val_steps": partial(whole_number, least=-1),
        "log_every_n_steps": partial(whole_number, least=0),
        "detect_anomaly": flag,
        "patience": partial(whole_number, least=0),
        "save_top_k": partial(whole_number, least=-1),
        "mode": partial(choice, known=("min", "max")),
    },
}
"""The check of each setting, for every prefix of a ``_target_``."""


def library_checks(target: str) -> Mapping[str, Check] | None:
    """The check of each setting of a torch or Lightning class; None for any other class."""
    if not target.startswith(("torch.", "pytorch_lightning.")):
        return None
    return next((checks for start, checks in _LIBRARIES.items() if target.startswith(start)), {})
