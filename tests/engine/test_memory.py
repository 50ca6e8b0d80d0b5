"""The memory of the native engine: what it keeps of a sequence, and what it reuses for the next one."""

from __future__ import annotations

import pytest
import torch
from problem import COMPILES, Problem, assert_same

from gatewise.cells import GRU, LSTM, RNN
from gatewise.engine.native import call, memory
from gatewise.engine.native.kernel import Kernel

pytestmark = pytest.mark.skipif(not COMPILES, reason="no C compiler")


@pytest.fixture
def nothing_free(monkeypatch):
    monkeypatch.setattr(memory, "_free", [])
    monkeypatch.setattr(memory, "LARGE", 0)


def test_too_little_memory_is_an_error(monkeypatch):
    monkeypatch.setattr(Kernel, "forward", property(lambda _: lambda _: 1))
    with pytest.raises(MemoryError, match="too little memory for a sequence of 3 steps"):
        Problem.draw(LSTM(), [3, 2]).results("native")


def test_recomputing_keeps_only_the_states(monkeypatch):
    kept = []
    forward = call.Call.forward

    def spy(self, x, initial, states, final, unprojected, saved, gates, keeps_states):
        kept.append(saved is not None)
        return forward(self, x, initial, states, final, unprojected, saved, gates, keeps_states)

    monkeypatch.setattr(call.Call, "forward", spy)
    for recompute in (False, True):
        Problem.draw(LSTM(), [3, 2], recompute=recompute).results("native")
    assert kept == [True, False]


def test_without_gradients_nothing_is_kept(monkeypatch):
    kept = []
    forward = call.Call.forward

    def spy(self, x, initial, states, final, unprojected, saved, gates, keeps_states):
        kept.append((saved is not None, keeps_states, len(states[1])))
        return forward(self, x, initial, states, final, unprojected, saved, gates, keeps_states)

    monkeypatch.setattr(call.Call, "forward", spy)
    problem = Problem.draw(LSTM(), [9, 8])
    tensors = [tensor.requires_grad_() for tensor in problem.tensors]
    with torch.no_grad():
        problem.run("native", *tensors)
    with torch.inference_mode():
        problem.run("native", *tensors)
    problem.run("native", *tensors)
    # Two steps of two sequences, then all 17 steps.
    assert kept == [(False, False, 4), (False, False, 4), (True, True, 17)]


def test_new_states_are_kept_once():
    """The derivative of an RNN, 1 - h'², follows from the state itself."""
    problem = Problem.draw(RNN(), [3, 2])
    problem.results("native")  # tracing saves tensors of its own
    saved = []
    x = problem.tensors[0].requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        problem.run("native", x, *problem.tensors[1:])
    inputs = [tensor.numel() for tensor in problem.tensors]
    outputs = 5 * problem.tensors[-1].shape[-1]
    # Besides the inputs and the states there is an empty column.
    assert sorted(saved) == sorted([*inputs, outputs, 5])


def test_memory_that_was_freed_is_used_again(nothing_free):  # noqa: ARG001
    like = torch.empty(0, dtype=torch.float64)
    first = memory.empty(like, 5, 7)
    address = first.data_ptr()
    assert (first.shape, first.dtype, address % 64) == ((5, 7), torch.float64, 0)
    view = first[2:4, 1]
    del first
    second = memory.empty(like, 5, 7)
    assert second.data_ptr() != address, "a view still uses it"
    del view
    assert memory.empty(like, 5, 6).data_ptr() == address


def test_no_more_is_kept_than_was_in_use(nothing_free):  # noqa: ARG001
    like = torch.empty(0)
    for numbers in range(1, 3000, 7):
        held = memory.empty(like, numbers), memory.empty(like, numbers)
        assert held[0].data_ptr() != held[1].data_ptr()
        del held
    # Two at a time of at most 4 · 2,997 bytes, which is less than 2^14.
    assert sum(len(block) for block in memory._free) == 2 * 2**14


@pytest.mark.parametrize("cell", [LSTM(), GRU()], ids=repr)
def test_what_a_graph_still_needs_is_not_used_again(cell, nothing_free):  # noqa: ARG001
    problem = Problem.draw(cell, [4, 3, 1])
    expected = problem.results("loop")
    leaves = [tensor.clone().requires_grad_() for tensor in problem.tensors]
    outputs = problem.run("native", *leaves)
    total = sum((output * output).sum() for output in outputs)
    once = torch.autograd.grad(total, leaves, retain_graph=True, allow_unused=True)
    assert_same(problem.results("native"), expected, 1e-12)
    again = torch.autograd.grad(total, leaves, allow_unused=True)
    for one, other in zip(once, again, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    del outputs, total
    assert memory._free
