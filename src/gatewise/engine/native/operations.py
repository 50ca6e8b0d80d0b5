"""What of torch the engine can express: operations with a C expression, and those that are made of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# aten's names to ours, which the C code is written for.
OPERATIONS = {
    "add.Tensor": "add",
    "add.Scalar": "add",
    "sub.Tensor": "sub",
    "sub.Scalar": "sub",
    "mul.Tensor": "mul",
    "mul.Scalar": "mul",
    "div.Tensor": "div",
    "div.Scalar": "div",
    "neg.default": "neg",
    "reciprocal.default": "reciprocal",
    "sigmoid.default": "sigmoid",
    "tanh.default": "tanh",
    "relu.default": "relu",
    "exp.default": "exp",
    "log.default": "log",
    "log1p.default": "log1p",
    "expm1.default": "expm1",
    "sqrt.default": "sqrt",
    "rsqrt.default": "rsqrt",
    "abs.default": "abs",
    "sign.default": "sign",
    "sgn.default": "sign",
    "sin.default": "sin",
    "cos.default": "cos",
    "erf.default": "erf",
    "pow.Tensor_Scalar": "pow",
    "pow.Tensor_Tensor": "pow",
    "maximum.default": "maximum",
    "minimum.default": "minimum",
    "where.self": "where",
    "gt.Scalar": "gt",
    "gt.Tensor": "gt",
    "ge.Scalar": "ge",
    "ge.Tensor": "ge",
    "lt.Scalar": "lt",
    "lt.Tensor": "lt",
    "le.Scalar": "le",
    "le.Tensor": "le",
    "eq.Scalar": "eq",
    "eq.Tensor": "eq",
    "ne.Scalar": "ne",
    "ne.Tensor": "ne",
    "logical_not.default": "not",
    "logical_and.default": "and",
    "logical_or.default": "or",
    "bitwise_not.default": "not",
    "bitwise_and.Tensor": "and",
    "bitwise_or.Tensor": "or",
}
# How many values each of ours is of.
ARGUMENTS = {
    **dict.fromkeys(("neg", "reciprocal", "abs", "sign", "sqrt", "rsqrt", "not"), 1),
    **dict.fromkeys(("sigmoid", "tanh", "relu", "exp", "expm1", "log", "log1p", "sin", "cos", "erf"), 1),
    **dict.fromkeys(("sum", "mean", "amax", "amin"), 1),
    **dict.fromkeys(("add", "sub", "mul", "div", "pow", "maximum", "minimum", "and", "or"), 2),
    **dict.fromkeys(("gt", "ge", "lt", "le", "eq", "ne"), 2),
    "where": 3,
}
# Core operations that are made of simpler ones.
COMPOSITE = (
    "native_layer_norm_backward",
    "elu",
    "gelu",
    "hardtanh",
    "leaky_relu",
    "_softmax",
    "_log_softmax",
)
REDUCTIONS = {"sum.dim_IntList": "sum", "mean.dim": "mean", "amax.default": "amax", "amin.default": "amin"}
SAME = {
    "detach.default",
    "alias.default",
    "clone.default",
    "expand.default",
    "view.default",
    "_unsafe_view.default",
    "reshape.default",
    "unsqueeze.default",
    "squeeze.dims",
    "squeeze.dim",
    "lift_fresh_copy.default",
    "_to_copy.default",
}
CONSTANT: dict[str, Callable[[list[Any]], float]] = {
    "full_like.default": lambda args: args[1],
    "full.default": lambda args: args[1],
    "scalar_tensor.default": lambda args: args[0],
    "zeros_like.default": lambda args: 0.0,  # noqa: ARG005
    "ones_like.default": lambda args: 1.0,  # noqa: ARG005
    "zeros.default": lambda args: 0.0,  # noqa: ARG005
}


@functools.cache
def decompositions() -> dict[Any, Callable[..., Any]]:
    """How ``make_fx`` takes operations apart, down to those of this module."""
    from torch._decomp import core_aten_decompositions, get_decompositions

    aten = torch.ops.aten
    table = {
        **core_aten_decompositions(),
        **get_decompositions([getattr(aten, name) for name in COMPOSITE]),
        aten.native_layer_norm.default: _layer_norm,
    }
    table.pop(aten.mean.dim, None)
    return table


def _layer_norm(
    x: Tensor,
    shape: Any,  # noqa: ARG001
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """native_layer_norm over the features, in operations that can be read."""
    mean = x.mean(-1, keepdim=True)
    apart = x - mean
    scale = torch.rsqrt((apart * apart).mean(-1, keepdim=True) + eps)
    normed = apart * scale
    normed = normed if weight is None else normed * weight
    return (normed if bias is None else normed + bias), mean, scale
