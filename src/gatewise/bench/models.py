"""Many models at once: one call by torch.func's vmap beside a call for each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap

from gatewise.bench.case import DTYPES, Case
from gatewise.bench.timing import Bench
from gatewise.nn import Recurrent


class ModelsTiming(NamedTuple):
    """The times of K models at once and one by one; a row of the CSV file. All have the same sequences."""

    cell: str
    size: str
    work: str
    engine: str
    models: int
    """K."""
    together_milliseconds: float
    """One call for all models: the best of all rounds."""
    separate_milliseconds: float
    """A call for each model: likewise, for all of them."""
    ratio: float
    """How many times as fast as separate calls the one call is."""
    dtype: str
    lengths: str
    bidirectional: bool
    threads: int
    device: str


def timings(
    bench: Bench, case: Case, engines: Sequence[str], works: Sequence[str], counts: Sequence[int]
) -> list[ModelsTiming]:
    """A row for each engine, work and number of models, timed in turns."""
    rows = []
    for engine in engines:
        for work in works:
            for count in counts:
                bench.budget.begin()
                runs = _runs(case, engine, work, count)
                taken = bench.in_turns(case, f"{work} of {count} models by {engine}", runs)
                together, separate = (min(taken[name]) for name in ("together", "separate"))
                rows.append(
                    ModelsTiming(
                        cell=case.cell,
                        size=str(case.size),
                        work=work,
                        engine=engine,
                        models=count,
                        together_milliseconds=1000 * together,
                        separate_milliseconds=1000 * separate,
                        ratio=separate / together,
                        dtype=case.dtype,
                        lengths=case.lengths,
                        bidirectional=case.bidirectional,
                        threads=case.threads,
                        device=case.device,
                    )
                )
    return rows


def _runs(case: Case, engine: Any, work: str, count: int) -> dict[str, Callable[[], Any]]:
    """The same work for all models in one call, and in a call for each of them.

    Training computes the gradients of the sum of all outputs with respect to all weights.
    """
    torch.manual_seed(0)
    settings: Any = {"bidirectional": case.bidirectional, "engine": engine}
    modules = [
        Recurrent(case.size.inputs, case.size.hidden, cell=case.cell_type(), **settings).to(
            case.device, DTYPES[case.dtype]
        )
        for _ in range(count)
    ]
    x, lengths = case.sequences(), case.steps_of_each()
    weights = {name: weight.detach() for name, weight in stack_module_state(list(modules))[0].items()}

    def outputs(weights: dict[str, Tensor]) -> Tensor:
        found: Tensor = functional_call(modules[0], weights, (x,), {"lengths": lengths})[0]
        return found

    if work == "training":
        gradients = vmap(grad(lambda weights: outputs(weights).sum()))

        def separate() -> list[Recurrent]:
            for module in modules:
                module.zero_grad()
                module(x, lengths=lengths)[0].sum().backward()
            return modules

        return {"together": lambda: gradients(weights), "separate": separate}

    values = vmap(outputs)

    @torch.no_grad()
    def all_values() -> Tensor:
        found: Tensor = values(weights)
        return found

    @torch.no_grad()
    def separate_values() -> list[Tensor]:
        return [module(x, lengths=lengths)[0] for module in modules]

    return {"together": all_values, "separate": separate_values}
