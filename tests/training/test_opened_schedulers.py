"""A scheduler's state in a checkpoint that may have come from anywhere: it takes the place of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD, lr_scheduler

from gatewise.training.resumable import _check_scheduler


def optimizer() -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


MADE = {
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 1.0, 0),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 5),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.1, 0.2),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 4]),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.2, 10),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
}


@pytest.mark.parametrize("name", MADE)
def test_its_own_of_later_is_taken(name: str) -> None:
    scheduler: Any = MADE[name](optimizer())
    for _ in range(3):
        scheduler.optimizer.step()
        scheduler.step(*([0.5] if name == "ReduceLROnPlateau" else []))
    _check_scheduler(Path("last.ckpt"), scheduler.state_dict(), MADE[name](optimizer()))
    # What another version of torch keeps besides is left to that.
    _check_scheduler(Path("last.ckpt"), {**scheduler.state_dict(), "verbose": 1}, MADE[name](optimizer()))


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        *(("StepLR", {key: 5}) for key in ("step", "get_lr", "optimizer", "state_dict", "__class__")),
        *(("StepLR", entry) for entry in ({"step_size": 0}, {"gamma": "x"}, {"gamma": 1e300}, {5: 5})),
        *(("StepLR", {"last_epoch": value}) for value in ("x", 1.5, True, 10**30, [1])),
        *(("StepLR", {"base_lrs": value}) for value in ([], ["x"], 5, [0.1] * 9, "x", [[0.1]])),
        *(("CosineAnnealingLR", {"T_max": value}) for value in (0, 6, None, "x")),
        *(("MultiStepLR", {"milestones": value}) for value in (5, [2, 4], {2: "x", 4: 1})),
        *(("ReduceLROnPlateau", {"best": value}) for value in ("x", [0.5])),
        ("ReduceLROnPlateau", {"step": 5}),
        ("LambdaLR", {"lr_lambdas": [[5]]}),
    ],
)  # fmt: skip
def test_what_is_none_of_its_own(name: str, entry: dict[Any, Any]) -> None:
    scheduler: Any = MADE[name](optimizer())
    with pytest.raises(ValueError, match=r"^last\.ckpt: no training goes on from it: scheduler\.\S+ "):
        _check_scheduler(Path("last.ckpt"), {**scheduler.state_dict(), **entry}, scheduler)
