"""Products with large packed weights, fetched ahead and multiplied in parts, against double precision."""

from __future__ import annotations

import ctypes

import pytest
import torch
from problem import COMPILES

from gatewise.engine.native.emit import products_source
from gatewise.engine.native.library import load

pytestmark = pytest.mark.skipif(not COMPILES, reason="no C compiler")


@pytest.fixture(scope="module")
def products():
    return load(products_source(torch.float32))


def call(function, *arguments):
    words = [a.data_ptr() if isinstance(a, torch.Tensor) else a or 0 for a in arguments]
    function(*map(ctypes.c_int64, words))


# Of more than 2^18 weights the next ones are fetched; of more than 2048 k there are parts.
@pytest.mark.parametrize(
    ("N", "K"), [(300, 1000), (1000, 300), (40, 5000), (130, 2049), (31, 9000), (64, 4096)]
)
@pytest.mark.parametrize("M", [1, 8, 13, 20, 64])
@pytest.mark.parametrize("by_columns", [False, True])
def test_a_product_with_large_weights(products, M, N, K, by_columns):
    draw = torch.Generator().manual_seed(M + N + K)
    x, w, begun = (torch.randn(shape, generator=draw) for shape in ((M, K), (N, K), (M, N)))
    packed = torch.full(((N + 15) // 16 * 16 * K,), torch.nan)
    source, wn, wk = (w.t().contiguous(), 1, N) if by_columns else (w, K, 1)
    call(products.gw_pack, source, wn, wk, N, K, packed)
    exact = x.double() @ w.t().double()
    for turned in (0, 1):
        for start in ("zero", "row", "matrix", "out"):
            out = torch.full((M, N + 3), 7.0)
            out[:, :N] = begun
            init = {"zero": None, "row": begun[:1].contiguous(), "matrix": begun, "out": out}[start]
            ldi = {"row": 0, "out": N + 3}.get(start, N)
            plus = {"zero": torch.zeros(M, N), "row": begun[:1]}.get(start, begun).double()
            call(products.gw_multiply, x, K, packed, K, None, 0, None, 0, M, N, init, ldi, out, N + 3, turned)
            torch.testing.assert_close(out[:, :N].double(), exact + plus, rtol=1e-4, atol=1e-6 * K)
            assert (out[:, N:] == 7).all()  # nothing is written past the last column
