"""Memory for what a backward pass computes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from gatewise.engine.native import memory
from gatewise.engine.request import Request
from gatewise.engine.traced.trace import Trace


def empty_gradients(
    trace: Trace, request: Request, needed: Sequence[bool], threads: int, sums: int, *models: int
) -> list[Tensor | None]:
    """Tensors to fill with the gradients of x, U, W, the projection, b and the own parameters.

    Those of b and the own parameters are added to, and so start at 0; without any rows, all do, because
    nothing fills them.

    All but the first hold ``sums`` sums, the last one for each thread. None for what is not ``needed``, and
    where ``step`` does not use a, r or a parameter: a product with zeros would let NaN into the gradient.
    With ``models`` K, each tensor is one of K models, [K, …].
    """
    x, weights = request.x, request.weights
    x_needed, input_needed, hidden_needed, bias_needed = needed[:4]
    by_a, by_r = trace.reaches("a"), trace.reaches("r")

    def empty(weight: Tensor | None, wanted: bool) -> Tensor | None:
        if weight is None or not wanted:
            return None
        shape = (*models, sums, *weight.shape)
        return memory.empty(weight, *shape) if len(x) else weight.new_zeros(shape)

    bias = weights.bias if bias_needed and by_a else None
    own = (
        x.new_zeros(*models, threads, len(weights.own), *next(iter(weights.own.values())).shape)
        if weights.own
        else None
    )
    return [
        x.new_empty(*models, *x.shape) if x_needed and by_a else None,
        empty(weights.input, input_needed and by_a),
        empty(weights.hidden, hidden_needed and by_r),
        empty(weights.projection, True),
        None if bias is None else bias.new_zeros(*models, sums, *bias.shape),
        own,
    ]
