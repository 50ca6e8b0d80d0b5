"""Scores of additive attention by compiled code: numbers, gradients of both orders, where torch does it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from problem import COMPILES
from torch import Tensor

from gatewise import engine
from gatewise.engine import additive_scores
from gatewise.engine.native import attention
from gatewise.engine.request import Unsupported

compiles = pytest.mark.skipif(not COMPILES, reason="no C compiler")


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have compiled code do the smallest ones too; gets a number for each of its calls."""
    calls: list[int] = []
    call = attention._call

    def noted(*arguments: Tensor) -> None:
        calls.append(len(arguments))
        call(*arguments)

    monkeypatch.setattr(attention, "_call", noted)
    monkeypatch.setattr(engine, "WORTH_COMPILING", 1)
    return calls


def drawn(
    size: int = 19, dtype: torch.dtype = torch.float64, batch: int = 3
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    shapes = ((batch, 4, size), (batch, 6, size), (size,))
    return tuple(  # type: ignore[return-value]
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in shapes
    )


@compiles
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
# Whole vectors of the CPU, and some numbers more or fewer.
@pytest.mark.parametrize("size", [1, 16, 19, 40])
def test_scores_and_gradients_are_those_of_the_equation(
    size: int, dtype: torch.dtype, error: float, compiled: list[int]
) -> None:
    tensors = drawn(size, dtype)
    scores = additive_scores(*tensors)
    above = torch.randn(scores.shape, dtype=dtype)
    gradients = torch.autograd.grad(scores, tensors, above)
    assert len(compiled) == 2
    q, k, v, g = (tensor.detach().double().numpy() for tensor in (*tensors, above))
    h = np.tanh(q[:, :, None] + k[:, None])
    inside = g[..., None] * v * (1 - h**2)
    expected = [(h * v).sum(-1), inside.sum(2), inside.sum(1), (g[..., None] * h).sum((0, 1, 2))]
    for found, numbers in zip((scores, *gradients), expected, strict=True):
        np.testing.assert_allclose(found.detach().numpy(), numbers, atol=error, rtol=error)


@compiles
def test_gradients_of_both_orders(compiled: list[int]) -> None:
    tensors = drawn(size=5, batch=2)
    assert torch.autograd.gradcheck(additive_scores, tensors)
    assert torch.autograd.gradgradcheck(additive_scores, tensors)
    assert compiled


@compiles
def test_large_numbers_and_nan(compiled: list[int]) -> None:
    queries, keys, weight = (tensor.detach() for tensor in drawn())
    queries[0] *= 1e4
    keys[1, 2, 3] = torch.nan
    queries[2, 1, 0] = torch.inf
    found = additive_scores(queries, keys, weight)
    torch.testing.assert_close(found, attention.plain_scores(queries, keys, weight), equal_nan=True)
    assert found.isnan().sum() == 4
    assert compiled


@compiles
def test_threads_and_views_change_nothing(compiled: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    queries, keys, weight = drawn(batch=70)
    one = additive_scores(queries, keys, weight)
    gradients = torch.autograd.grad(one.sin().sum(), (queries, keys, weight))
    monkeypatch.setattr(attention, "WORK_OF_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    views = [tensor.detach().mT.contiguous().mT.requires_grad_() for tensor in (queries, keys)]
    views.append(torch.stack([weight, weight], 1).detach()[:, 0].requires_grad_())
    assert not any(view.is_contiguous() for view in views)
    several = additive_scores(*views)
    assert several.equal(one)
    for found, gradient in zip(torch.autograd.grad(several.sin().sum(), views), gradients, strict=True):
        assert found.equal(gradient)
    assert len(compiled) == 4


def test_torch_does_what_compiled_code_cannot(compiled: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = queries, keys, weight = tuple(tensor.detach() for tensor in drawn())
    expected = attention.plain_scores(*tensors)
    half = additive_scores(*(tensor.bfloat16() for tensor in tensors))
    torch.testing.assert_close(half.double(), expected, atol=0.1, rtol=0.1)
    assert half.dtype == torch.bfloat16
    mapped = torch.func.vmap(lambda q, k: additive_scores(q[None], k[None], weight)[0])(queries, keys)
    torch.testing.assert_close(mapped, expected)
    assert torch.func.jacrev(additive_scores, 2)(*tensors).shape == (*expected.shape, len(weight))
    traced = torch.jit.trace(additive_scores, tensors)
    torch.testing.assert_close(
        traced(*(2 * tensor for tensor in tensors)), additive_scores(*(2 * tensor for tensor in tensors))
    )
    monkeypatch.setattr(attention, "_compiled", lambda _: Unsupported("no C compiler"))
    calls = len(compiled)
    assert additive_scores(*tensors).equal(expected)
    assert len(compiled) == calls


@pytest.mark.slow
@compiles
def test_torch_compile_and_export(compiled: list[int]) -> None:
    class Scores(torch.nn.Module):
        def forward(self, queries: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
            return additive_scores(queries, keys, weight)

    tensors = tuple(tensor.detach() for tensor in drawn())
    expected = attention.plain_scores(*tensors)
    # In compiled code the compiler does it, with nothing in between.
    whole = torch.compile(Scores(), backend="eager", fullgraph=True)
    torch.testing.assert_close(whole(*tensors), expected)
    exported = torch.export.export(Scores(), tensors).module()
    torch.testing.assert_close(exported(*tensors), expected)
    assert not compiled


def test_other_shapes_are_torchs_own(compiled: list[int]) -> None:
    queries, keys, weight = drawn()
    with pytest.raises(RuntimeError, match="size"):
        additive_scores(queries, keys[..., :-1], weight)
    shared = additive_scores(queries, keys[:1], weight)
    torch.testing.assert_close(shared, additive_scores(queries, keys[:1].expand(3, -1, -1), weight))
    assert len(compiled) <= 1
