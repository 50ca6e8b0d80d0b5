"""Products of float32 numbers in all of their digits, also where torch may round factors to TF32."""

from __future__ import annotations

import torch
from torch import Tensor


def tf32_allowed() -> bool:
    """Whether torch may round the factors of products in float32 to TF32's 11 digits."""
    matmul = torch.backends.cuda.matmul
    precision = getattr(matmul, "fp32_precision", None)  # its setting since torch 2.9
    return bool(matmul.allow_tf32) if precision is None else precision == "tf32"


# TF32 has the first 11 of float32's 24 digits; what is left of a number has no more than TF32 and two bits.
_FIRST_DIGITS = ~0x1FFF


def product_of_all_digits(x: Tensor, y: Tensor) -> Tensor:
    """x [N, I] times y [J, I] transposed, [N, J]; or of K models each [K, …].

    Each factor is split into two that TF32 has; the product of the two small parts is below float32's digits.
    """
    high, low = _split(x)
    of_y, rest_of_y = _split(y)
    return torch.cat([high, low, high], -1) @ torch.cat([of_y, of_y, rest_of_y], -1).mT


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    high = (x.view(torch.int32) & _FIRST_DIGITS).view(torch.float32)
    return high, x - high
