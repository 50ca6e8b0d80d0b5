"""Compiled engines inside of torch.func: one call for all models of a vmap, and gradients by torch.func.

torch.func takes autograd Functions of another form: what the backward pass needs beside the inputs has to be
an output, each has a rule for vmap, and the backward pass is such a Function as well, because its tensors may
belong to many models too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gatewise.engine.request import Request, Result, Settings, Unsupported
from gatewise.engine.second import pulled_back
from gatewise.engine.torch_internals import in_dispatch_mode, torch_func_transforms
from gatewise.engine.traced.trace import Trace

_MASK = 4
"""Place of the state mask in Request.tensors."""


class Forward(NamedTuple):
    """Results of K models' forward pass over N rows each."""

    outputs: Tensor
    """[K, N, P]."""
    final: Sequence[Tensor]
    """The final state, [K, B, …] each."""
    kept: Sequence[Tensor]
    """What the backward pass needs beside the outputs, [K, …] each."""


class Compiled(Protocol):
    """A compiled cell that runs K models of the same sizes in one call.

    Its requests have tensors [K, …], in any layout; what all models share repeats along K by a stride of 0.
    """

    @property
    def trace(self) -> Trace:
        """The step that it was made from."""

    def reads(self, tensors: Sequence[Tensor]) -> bool:
        """Whether it can read the memory of such tensors."""

    def forward(self, request: Request, count: int, keep: bool) -> Forward:
        """Run ``count`` models; ``keep`` says whether a backward pass may follow."""

    def backward(
        self,
        request: Request,
        count: int,
        kept: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        wanted: Sequence[bool],
    ) -> Sequence[Tensor | None]:
        """Each model's gradients, [K, …], in the order of :meth:`Request.tensors`.

        ``kept`` are the outputs and what else was kept; ``grads`` the gradients of outputs and final state,
        one of which at least is there. What is not ``wanted`` may be None.
        """


@dataclass(frozen=True, slots=True)
class _Plan:
    """A request without its tensors; or K, whose tensors are [K, …] where ``batched``, or else of all K."""

    settings: Settings
    compiled: Compiled
    models: int | None
    """K; None for a single request, whose results have no dimension for it."""
    batched: tuple[bool, ...]
    """For each operand of a Function, in order."""
    differentiated: bool
    """Whether to keep what the backward pass needs."""
    wanted: tuple[bool, ...] = ()
    """For each of a request's tensors: whether the backward pass computes its gradient."""

    @property
    def count(self) -> int:
        """K, or 1."""
        return self.models or 1

    @property
    def results(self) -> int:
        """Number of outputs and final states."""
        return 1 + len(self.settings.cell.states)

    def vmapped(
        self, size: int, dims: Sequence[int | None], operands: Sequence[Any]
    ) -> tuple[_Plan, list[Any]]:
        """The plan of ``size`` times as many models, and their operands; ``dims`` says where vmap's are."""
        batched, stacked = [], []
        for operand, dim, mine in zip(operands, dims, self.batched, strict=True):
            if dim is None and not mine:
                stacked.append(operand)
                batched.append(False)
                continue
            outer = operand.expand(size, *operand.shape) if dim is None else operand.movedim(dim, 0)
            if self.models is not None:
                if not mine:
                    outer = outer.unsqueeze(1).expand(size, self.models, *outer.shape[1:])
                outer = outer.flatten(0, 1)
            stacked.append(outer)
            batched.append(True)
        keeps = torch.is_grad_enabled() and any(t.requires_grad for t in stacked if t is not None)
        plan = replace(
            self,
            models=size * self.count,
            batched=tuple(batched),
            differentiated=self.differentiated or keeps,
        )
        return plan, stacked

    def returned(self, results: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Results [K, …]; those of a single request without K."""
        return tuple(result.squeeze(0) for result in results) if self.models is None else tuple(results)

    def plain(self, operands: Sequence[Any]) -> list[Any] | None:
        """All operands as [K, …]; None where compiled code cannot read them."""
        stacked: list[Any] = []
        for operand, mine in zip(operands, self.batched, strict=True):
            tensor = None if operand is None else operand.detach()
            if tensor is not None and not mine:
                tensor = tensor.expand(self.count, *tensor.shape)
            stacked.append(tensor)
        there = [tensor for tensor in stacked if tensor is not None]
        plain = all(type(tensor) is Tensor and tensor.layout == torch.strided for tensor in there)
        return stacked if plain and self.compiled.reads(there) else None


def possible() -> bool:
    """Whether the active transforms of torch.func are such as this module has rules for."""
    transforms = torch_func_transforms()
    return _has_rules(transforms) and transforms.count("Grad") <= 1


def _has_rules(transforms: Sequence[str]) -> bool:
    """Not for derivatives along a direction; and what records operations would not see ours."""
    return not (set(transforms) - {"Vmap", "Grad"} or in_dispatch_mode())


def run(request: Request, compiled: Compiled) -> Result:
    """Run the request. Raises Unsupported where another engine has to run it."""
    if request.return_gates:
        raise Unsupported("gates inside of torch.func")
    tensors = request.tensors()
    # Inside of a gradient, tensors that do not need one here may need one further out.
    keeps = "Grad" in torch_func_transforms()
    keeps = keeps or (torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors))
    plan = _Plan(request.settings, compiled, None, (False,) * len(tensors), keeps)
    outputs, *final = _Sequences.apply(plan, *tensors)[: plan.results]
    return Result(outputs, tuple(final), {})


class _Sequences(torch.autograd.Function):
    """From a plan and its requests' tensors to (outputs, final state…, what the backward pass needs…)."""

    @staticmethod
    def forward(plan: _Plan, *operands: Tensor | None) -> tuple[Tensor, ...]:
        stacked = plan.plain(operands)
        if stacked is None:
            raise Unsupported("tensors inside of torch.func that are no plain ones")
        request = plan.settings.request(stacked)
        outputs, final, kept = plan.compiled.forward(request, plan.count, plan.differentiated)
        return plan.returned([outputs, *final, *(kept if plan.differentiated else ())])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        plan, *tensors = inputs
        of_tensors = ctx.needs_input_grad[1:]
        if of_tensors[_MASK] or (plan.settings.cell.noise and of_tensors[-1]):
            raise Unsupported("gradients of masks or of noise")
        kept = output[plan.results :]
        ctx.plan = plan
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*kept)
        ctx.save_for_backward(*tensors, output[0], *kept)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], plan: _Plan, *operands: Any) -> tuple[Any, Any]:
        return _vmapped(_Sequences, info.batch_size, in_dims[1:], plan, operands)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:  # noqa: ARG004
        # Called in the forward pass, for torch.autograd.forward_ad: so the loop runs it.
        raise Unsupported("derivatives along a direction")

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        plan: _Plan = ctx.plan
        count = len(plan.batched)
        tensors, kept = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        plan = replace(plan, wanted=_wanted(plan, ctx.needs_input_grad[1:]))
        if not any(plan.wanted):
            return (None,) * (1 + count)
        above = _with_a_gradient(grads[: plan.results], kept[0])
        if plan.differentiated and _has_rules(torch_func_transforms()):
            later = (plan.models is not None,) * (len(kept) + len(above))
            found = _Gradients.apply(replace(plan, batched=(*plan.batched, *later)), *tensors, *kept, *above)
        else:
            found = _by_loop(plan, _alive(tensors), above)
        each = iter(found)
        gradients: list[Tensor | None] = [None]
        for wanted, batched_one in zip(plan.wanted, plan.batched, strict=True):
            gradient = next(each) if wanted else None
            if gradient is not None and plan.models is not None and not batched_one:
                gradient = gradient.sum(0)
            gradients.append(gradient)
        return tuple(gradients)


class _Gradients(torch.autograd.Function):
    """The backward pass: from the operands and results of _Sequences, and the gradients of its results.

    Those may be None, but not all. Returns each model's gradient, [K, …], of every wanted tensor. Its own
    derivatives come from the loop.
    """

    @staticmethod
    def forward(plan: _Plan, *operands: Any) -> tuple[Tensor, ...]:
        stacked, count = plan.plain(operands), len(plan.wanted)
        if stacked is None:
            return _by_loop(plan, operands[:count], operands[-plan.results :], plan.batched[-plan.results :])
        request, grads = plan.settings.request(stacked[:count]), stacked[-plan.results :]
        gradients: Sequence[Any] = plan.compiled.backward(
            request, plan.count, stacked[count : -plan.results], grads, plan.wanted
        )
        return plan.returned([g for g, wanted in zip(gradients, plan.wanted, strict=False) if wanted])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ARG004
        plan, *operands = inputs
        count = len(plan.wanted)
        ctx.plan = plan
        ctx.save_for_backward(*operands[:count], *operands[-plan.results :])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], plan: _Plan, *operands: Any) -> tuple[Any, Any]:
        return _vmapped(_Gradients, info.batch_size, in_dims[1:], plan, operands)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        plan, saved, count = ctx.plan, _alive(ctx.saved_tensors), len(ctx.plan.wanted)
        needed = ctx.needs_input_grad[1:]
        needed = (*needed[:count], *needed[-plan.results :])
        places = [place for place, need in enumerate(needed) if need and saved[place] is not None]

        def gradients(*chosen: Tensor) -> tuple[Tensor, ...]:
            values = list(saved)
            for place, value in zip(places, chosen, strict=True):
                values[place] = value
            return _by_loop(plan, values[:count], values[count:], plan.batched[-plan.results :])

        _, pull_back = torch.func.vjp(gradients, *(saved[place] for place in places))  # type: ignore[misc]
        found: list[Tensor | None] = [None] * len(saved)
        for place, gradient in zip(places, pull_back(grads), strict=True):
            found[place] = gradient
        # What was kept is a function of the tensors, which the loop has computed again from them.
        kept = len(plan.batched) - len(saved)
        return (None, *found[:count], *(None,) * kept, *found[count:])


def _vmapped(
    function: type[torch.autograd.Function],
    size: int,
    dims: Sequence[Any],
    plan: _Plan,
    operands: Sequence[Any],
) -> tuple[Any, Any]:
    all_models, stacked = plan.vmapped(size, dims, operands)
    results = function.apply(all_models, *stacked)
    if plan.models is not None:
        results = tuple(result.unflatten(0, (size, plan.models)) for result in results)
    return results, (0,) * len(results)


def _wanted(plan: _Plan, needed: Sequence[bool]) -> tuple[bool, ...]:
    """Which of the tensors have a gradient, of those that need one: not what ``step`` does not use."""
    trace, cell = plan.compiled.trace, plan.settings.cell
    by_a, by_r = trace.reaches("a"), trace.reaches("r")
    used = [by_a, by_a, by_r, by_a, False, *(bool(name) for name in trace.grad["p"])]
    used += [True] * (len(cell.states) + (cell.projection_size is not None)) + [False] * bool(cell.noise)
    return tuple(need and has for need, has in zip(needed, used, strict=True))


def _alive(tensors: Sequence[Any]) -> list[Any]:
    """Saved tensors for torch.func.vjp, which does not look for what transforms that have ended wrapped."""
    return [None if tensor is None else tensor.view_as(tensor) for tensor in tensors]


def _with_a_gradient(grads: Sequence[Tensor | None], outputs: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients of outputs and final states, of which one at least is a tensor."""
    if any(grad is not None for grad in grads):
        return tuple(grads)
    return (torch.zeros_like(outputs), *grads[1:])


def _by_loop(
    plan: _Plan, tensors: Sequence[Any], above: Sequence[Any], batched: Sequence[bool] | None = None
) -> tuple[Tensor, ...]:
    """What _Gradients returns, as a graph that can be differentiated."""

    def one(tensors: tuple[Any, ...], above: tuple[Any, ...]) -> tuple[Tensor, ...]:
        return pulled_back(plan.settings, tensors, above, plan.wanted)

    if plan.models is None:
        return one(tuple(tensors), tuple(above))
    dims = tuple(0 if mine else None for mine in plan.batched[: len(tensors)])
    batched = batched or (True,) * len(above)
    of_above = tuple(
        0 if mine and grad is not None else None for grad, mine in zip(above, batched, strict=True)
    )
    results: tuple[Tensor, ...] = torch.func.vmap(one, (dims, of_above))(tuple(tensors), tuple(above))
    return results
