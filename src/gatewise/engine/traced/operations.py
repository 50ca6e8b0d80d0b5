"""Which operations of torch the engine can express: those with a C expression, and those composed of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gatewise.engine import torch_internals

# From aten's names to ours, which the C code uses.
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
    "tan.default": "tan",
    "asin.default": "asin",
    "acos.default": "acos",
    "atan.default": "atan",
    "atan2.default": "atan2",
    "sinh.default": "sinh",
    "cosh.default": "cosh",
    "asinh.default": "asinh",
    "acosh.default": "acosh",
    "atanh.default": "atanh",
    "exp2.default": "exp2",
    "log2.default": "log2",
    "log10.default": "log10",
    "erf.default": "erf",
    "erfc.default": "erfc",
    "floor.default": "floor",
    "ceil.default": "ceil",
    "trunc.default": "trunc",
    "round.default": "nearbyint",
    "fmod.Scalar": "fmod",
    "fmod.Tensor": "fmod",
    "hypot.default": "hypot",
    "copysign.Tensor": "copysign",
    "fmax.default": "fmax",
    "fmin.default": "fmin",
    "pow.Tensor_Scalar": "pow",
    "pow.Tensor_Tensor": "pow",
    "pow.Scalar": "pow",
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
    "logical_xor.default": "xor",
    "bitwise_xor.Tensor": "xor",
    "bitwise_xor.Scalar": "xor",
    "isnan.default": "isnan",
}
# How many arguments each of ours takes.
ARGUMENTS = {
    **dict.fromkeys(("neg", "reciprocal", "abs", "sign", "sqrt", "rsqrt", "not", "isnan"), 1),
    **dict.fromkeys(("sigmoid", "tanh", "relu", "exp", "expm1", "exp2", "log", "log1p", "log2", "log10"), 1),
    **dict.fromkeys(("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh"), 1),
    **dict.fromkeys(("atanh", "erf", "erfc", "floor", "ceil", "trunc", "nearbyint"), 1),
    **dict.fromkeys(("sum", "mean", "amax", "amin"), 1),
    **dict.fromkeys(("add", "sub", "mul", "div", "pow", "fmod", "atan2", "hypot", "copysign"), 2),
    **dict.fromkeys(("maximum", "minimum", "fmax", "fmin", "and", "or", "xor"), 2),
    **dict.fromkeys(("gt", "ge", "lt", "le", "eq", "ne"), 2),
    "where": 3,
}
# How C writes an operation; for every other there is a function with its name and gw_ before it.
EXPRESSIONS = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "div": "{} / {}",
    "neg": "-{}",
    "reciprocal": "1 / {}",
    "rsqrt": "1 / gw_sqrt({})",
    "where": "gw_where({}, {}, {})",
    "gt": "gw_truth({} > {})",
    "ge": "gw_truth({} >= {})",
    "lt": "gw_truth({} < {})",
    "le": "gw_truth({} <= {})",
    "eq": "gw_truth({} == {})",
    "ne": "gw_truth({} != {})",
    "not": "gw_truth({} == 0)",
    "and": "gw_truth(({} != 0) & ({} != 0))",
    "or": "gw_truth(({} != 0) | ({} != 0))",
    "xor": "gw_truth(({} != 0) ^ ({} != 0))",
    "isnan": "gw_truth({0} != {0})",
}
# Core operations that are taken apart into simpler ones.
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
    # Their values are never read, only their shape.
    "empty_permuted.default": lambda args: math.nan,  # noqa: ARG005
    "empty.memory_format": lambda args: math.nan,  # noqa: ARG005
}


@functools.cache
def decompositions() -> dict[Any, Callable[..., Any]]:
    """How ``make_fx`` takes operations apart, down to those of this module."""
    aten = torch.ops.aten
    table: dict[Any, Callable[..., Any]] = {
        **torch_internals.decompositions(getattr(aten, name) for name in COMPOSITE),
        aten.native_layer_norm.default: _layer_norm,
        aten.linalg_vector_norm.default: _vector_norm,
        aten.var_mean.correction: _var_mean,
        aten.hardshrink_backward.default: _shrink_backward,
        aten.softshrink_backward.default: _shrink_backward,
        aten._efficientzerotensor.default: torch.zeros,
        aten.remainder.Scalar: _remainder,
        aten.remainder.Tensor: _remainder,
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
    """native_layer_norm over the features, in operations that the tables above have."""
    mean = x.mean(-1, keepdim=True)
    centred = x - mean
    scale = torch.rsqrt((centred * centred).mean(-1, keepdim=True) + eps)
    normed = centred * scale
    normed = normed if weight is None else normed * weight
    return (normed if bias is None else normed + bias), mean, scale


def _vector_norm(
    x: Tensor, order: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """linalg_vector_norm, (Σ |x|^order)^(1 / order), with the limits for 0 and ±∞."""
    x = x.abs() if dtype is None else x.to(dtype).abs()
    dim = list(range(x.dim())) if dim is None else dim
    if math.isinf(order):
        return x.amax(dim, keepdim) if order > 0 else x.amin(dim, keepdim)
    if order == 0:
        return (x != 0).to(x.dtype).sum(dim, keepdim)
    return x.pow(order).sum(dim, keepdim).pow(1 / order)


def _var_mean(
    x: Tensor, dim: Any = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """var_mean, as a variance and a mean."""
    return x.var(dim, correction=correction, keepdim=keepdim), x.mean(dim, keepdim)


def _shrink_backward(grad: Tensor, x: Tensor, limit: float) -> Tensor:
    """hardshrink_backward and softshrink_backward: 0 between the limits; NaN counts as beyond them."""
    return torch.where((x >= -limit) & (x <= limit), 0.0, grad)


def _remainder(x: Tensor, divisor: Any) -> Tensor:
    """remainder, which has the sign of the divisor, from fmod, which has the sign of x."""
    rest = torch.fmod(x, divisor)
    return torch.where((rest != 0) & ((rest < 0) ^ (divisor < 0)), rest + divisor, rest)
