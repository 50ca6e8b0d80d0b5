"""Whether a contender computes what the loop does: nothing wrong is timed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from gatewise.bench.case import Case
from gatewise.bench.contenders import BESIDE, GRAPH, KERAS, contender, expected

STEPS = 16
"""Steps that are compared: rounding adds up over more of them, and what is wrong shows in few."""
# ‖found - expected‖ / ‖expected‖ that rounding can explain.
LIMITS = {"float64": 1e-9, "float32": 1e-4, "tf32": 5e-3, "float16": 1e-2, "bfloat16": 5e-2}


def difference(case: Case, name: str) -> str | None:
    """How results and gradients differ from the loop's in float64, in words; None where they do not.

    Over the first steps of the case. Keras has other weights and is not compared; a CUDA graph is the same
    work as its contender, which is.
    """
    if name == KERAS or name.endswith(GRAPH) or name.startswith(BESIDE):
        return None
    few = replace(case, size=case.size._replace(steps=min(case.size.steps, STEPS)))
    runner = contender(few, name)
    outputs, gradients = expected(few)
    errors = {"outputs": _error([runner.infer()], [outputs])}
    runner.train()
    if runner.gradients is not None:
        errors["gradients"] = _error(runner.gradients(), gradients)
    worst = max(errors, key=lambda key: errors[key])
    limit = LIMITS[case.dtype]
    if errors[worst] <= limit:
        return None
    by = f"{errors[worst]:.1e} of their size, {case.dtype} explains {limit:.0e}"
    return f"its {worst} differ from the loop's by {by}"


def _error(found: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """The largest relative error; infinite where something is not a number."""
    errors = [
        float((one.double() - other).norm() / other.norm().clamp_min(torch.finfo(torch.float64).tiny))
        for one, other in zip(found, expected, strict=True)
    ]
    return max(error if error == error else float("inf") for error in errors)
