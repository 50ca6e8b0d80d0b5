"""The native engine on several threads: each runs some sequences, or a part of every step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from problem import CELLS, COMPILES, FEW_CELLS, MatrixOfZeros, Problem, assert_same

from gatewise.cells import Cell
from gatewise.engine.native import call, threads

pytestmark = pytest.mark.skipif(not COMPILES, reason="no C compiler")

TOGETHER = pytest.mark.skipif(threads.openmp() == (0, 0), reason="torch has no GNU OpenMP here")


@pytest.fixture
def three_threads(monkeypatch):
    monkeypatch.setattr(call, "WORK_OF_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: type(cell).__name__)
@pytest.mark.parametrize("reverse", [False, True])
def test_threads_share_the_sequences(cell, reverse, three_threads):  # noqa: ARG001
    problem = Problem.draw(cell, [9, 9, 7, 4, 4, 1, 0], H=4, masked=True, reverse=reverse)
    assert_same(problem.results("native"), problem.results("loop"), 1e-12)


@TOGETHER
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    # With H = 4 one thread has all columns, but each has some rows.
    ("cell", "H", "recompute"),
    [
        *((cell, 4, False) for cell in CELLS),
        (FEW_CELLS[0], 40, True),
        *(pytest.param(cell, 40, True, marks=pytest.mark.slow) for cell in FEW_CELLS[1:]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Cell) else None,
)
def test_threads_share_every_step(cell, reverse, recompute, H, three_threads, monkeypatch):  # noqa: ARG001
    monkeypatch.setattr(call, "CACHE_OF_A_CORE", 0)
    monkeypatch.setattr(threads, "_forked", False)
    problem = Problem.draw(
        cell, [9, 9, 7, 4, 4, 1, 0], H=H, masked=True, reverse=reverse, recompute=recompute
    )
    problem.results("native")  # compiles a cell and tries it out
    together = []
    forward = call.Call.forward

    def spy(self, *arguments):
        together.append(self.together)
        return forward(self, *arguments)

    monkeypatch.setattr(call.Call, "forward", spy)
    assert_same(problem.results("native"), problem.results("loop"), 1e-12)
    if not isinstance(cell, MatrixOfZeros):  # another engine runs it
        assert together == [len(cell.recurrent) > 0]


ONE_OF_THREE = """
import sys
sys.path.insert(0, {tests!r})
import torch
from problem import Problem, assert_same
from gatewise.cells import LSTM
from gatewise.cells import Cell
from gatewise.engine.native import call, threads
call.WORK_OF_A_THREAD, call.CACHE_OF_A_CORE = 1, 0
torch.get_num_threads = lambda: 3
problem = Problem.draw(LSTM(), [9, 9, 7, 4, 4, 1, 0], H=40)
assert_same(problem.results("native"), problem.results("loop"), 1e-12)
{then}
print("same")
"""
# The backward pass as in a process that was forked after the forward pass: it has none of the threads.
FORKED = """
import os
forward = call.Call.backward
call.Call.backward = lambda self, *a: (threads._note_fork(), forward(self, *a))[1]
assert_same(problem.results("native"), problem.results("loop"), 1e-12)
"""


@pytest.mark.slow
@TOGETHER
@pytest.mark.parametrize(("limit", "then"), [("2", ""), ("3", FORKED)])
def test_fewer_threads_than_wanted(limit, then):
    script = ONE_OF_THREE.format(tests=str(Path(__file__).parent), then=then)
    environment = {**os.environ, "OMP_THREAD_LIMIT": limit}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout) == (0, "same\n"), done.stderr
