"""The same search as a sweep of W&B's, whose server draws and whose agents train."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from gatewise.sweeps.folder import Plan
from gatewise.sweeps.space import SEED, Range
from gatewise.views.places import program

WARM_UP = 3
"""Epochs before W&B may stop a training, where the pruner does not say."""


def wandb_sweep(plan: Plan, monitor: str) -> str:
    """The YAML that ``wandb sweep`` takes.

    Raises ValueError for what W&B has no word for: several objectives, seeds in a search.
    """
    if len(plan.directions) > 1:
        raise ValueError("sweep.wandb_file: W&B optimises one objective: give sweep.objectives one metric")
    parameters = {key: _parameter(values) for key, values in plan.space.swept.items()}
    if plan.space.seeds is not None:
        if plan.sampler is not None:
            raise ValueError(
                "sweep.wandb_file: W&B would draw the seed as if it were a setting: give sweep.seeds=null"
            )
        parameters[SEED] = {"values": plan.space.seeds}
    fixed = [text for text in plan.space.fixed if not text.startswith(("sweep=", "wandb.mode="))]
    command = [*shlex.split(program()), "train", *fixed, "wandb.mode=online"]
    values: dict[str, Any] = {
        "name": plan.name,
        "program": "gatewise",
        "command": ["${env}", *command, "${args_no_hyphens}"],
        "method": _method(plan),
        "metric": {"name": (plan.objectives or [monitor])[0], "goal": plan.directions[0]},
        "parameters": parameters,
    }
    if plan.sampler is not None:
        values["run_cap"] = plan.trials
    if plan.pruner is not None:
        warm_up = max(int(plan.pruner.get("n_warmup_steps", WARM_UP)), 1)
        values["early_terminate"] = {"type": "hyperband", "min_iter": warm_up}
    return yaml.safe_dump(values, sort_keys=False, width=1000)


def _method(plan: Plan) -> str:
    if plan.sampler is None:
        return "grid"
    return "random" if str(plan.sampler["_target_"]).endswith(".RandomSampler") else "bayes"


def _parameter(values: list[str] | Range) -> dict[str, Any]:
    if not isinstance(values, Range):
        return {"values": [_plain(text) for text in values]}
    ends = {"min": values.low, "max": values.high}
    whole = isinstance(values.low, int)
    if values.log:
        return {"distribution": "q_log_uniform_values" if whole else "log_uniform_values", **ends}
    if whole and values.step == 1:
        return {"distribution": "int_uniform", **ends}
    if values.step is not None:
        return {"distribution": "q_uniform", "q": values.step, **ends}
    return {"distribution": "uniform", **ends}


def _plain(text: str) -> Any:
    """A number for a number, so that W&B can plot it; else the text as the command line has it."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
