"""Traces that outlive their process: when one may be reused, and which files are refused."""

from __future__ import annotations

import copy
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files

import pytest
import torch
from problem import CELLS, MatrixOfZeros
from torch.nn import functional as F

from gatewise import cells
from gatewise.cells import LSTM, RNN, Cell
from gatewise.cells.zoneout import zoneout
from gatewise.engine.traced import operations
from gatewise.engine.traced.fingerprint import fingerprint
from gatewise.engine.traced.kept import traced
from gatewise.engine.traced.record import FORMAT, from_json, to_json
from gatewise.engine.traced.trace import Operation, Trace, trace

SHIPPED = [kind() for name in cells.__all__ if (kind := getattr(cells, name)) is not Cell]

MODULE = """
import functools, math, random
from collections import namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
import torch
from torch import tanh
from gatewise.cells import Cell

SCALE = 0.5
TABLE = {"squash": tanh}

def helper(x):
    return SCALE * inner(x)

def inner(x):
    return x * math.pi

def scaled(factor):
    def times(x, shift=1.0):
        return factor * x + shift
    return times

by_two = scaled(2.0)

class Base(Cell):
    gates = ("n",)
    states = ("h",)
    sharpness = 3

    def squashed(self, x):
        return TABLE["squash"](x)

class Mine(Base):
    def __init__(self, setting=1.0):
        self.setting = setting

    def own_parameters(self, hidden_size):
        return {"gain": torch.ones(hidden_size)}

    def step(self, a, r, s, p):
        x = helper(a.n) + by_two(r.n) + self.setting + torch.nn.functional.softplus(r.n)
        return (self.squashed(x) * p.gain,), {}
"""


def users_cell(source: str = MODULE, arguments: str = "") -> Cell:
    """The cell of a user's module."""
    names: dict[str, object] = {"__name__": "users_module"}
    exec(compile(source, "users_module.py", "exec", dont_inherit=True), names)
    return eval(f"Mine({arguments})", names)


@pytest.mark.parametrize("cell", [*SHIPPED, *CELLS], ids=repr)
def test_a_cell_of_plain_equations_has_a_digest(cell):
    digest = fingerprint(cell)
    assert len(digest) == 64
    assert digest == fingerprint(cell)


def test_no_two_cells_have_the_same_digest():
    assert len({fingerprint(cell) for cell in CELLS}) == len(CELLS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SCALE = 0.5", "SCALE = 0.25"),
        ("SCALE = 0.5", "SCALE = -0.5"),
        ("SCALE = 0.5", "SCALE = float('nan')"),
        ("SCALE * inner", "SCALE + inner"),
        ("math.pi", "math.e"),
        ("x * math.pi", "x * (math.pi if True in (True,) else 0)"),
        ("scaled(2.0)", "scaled(2)"),
        ("shift=1.0", "shift=2.0"),
        ("shift=1.0", "*, shift=1.0"),
        ('"squash": tanh', '"squash": torch.sigmoid'),
        ("from torch import tanh", "from torch import sin as tanh"),
        ("functional.softplus", "functional.silu"),
        ("sharpness = 3", "sharpness = 4"),
        ('TABLE["squash"](x)', 'TABLE["squash"](2 * x)'),
        ('states = ("h",)', 'states = ("k",)'),
        ('gates = ("n",)', 'gates = ("n", "m")'),
        ('"gain": torch.ones', '"gain": torch.zeros'),
        ('"gain": torch.ones(hidden_size)', '"gain": torch.ones(hidden_size, 1)'),
        ("class Mine(Base):", "class Mine(Base):\n    recurrent = ()"),
        ("sharpness = 3", "Pair = namedtuple('Pair', ('left', 'right'))"),
        ("* p.gain,", "* p.gain + 0.0,"),
    ],
)
def test_what_changes_a_step_changes_its_digest(old, new):
    assert old in MODULE
    changed = users_cell(MODULE.replace(old, new))
    assert fingerprint(changed) is not None
    assert fingerprint(changed) != fingerprint(users_cell())


@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        (MODULE, ""),
        (MODULE, "1.0"),
        ("\n\n# other lines\n" + MODULE + "\nUNUSED = object()\n", "setting=1.0"),
    ],
)
def test_what_does_not_change_a_step_keeps_its_digest(source, arguments):
    assert fingerprint(users_cell(source, arguments)) == fingerprint(users_cell())


def test_a_pickled_cell_and_state_have_the_digest_of_before():
    class Mine(LSTM):
        pass

    before = fingerprint(Mine())
    for thing in (Mine(), Mine.State(1, 2), Mine.Gates(1, 2, 3, 4)):
        copy.copy(thing)  # by the same protocol
    assert "__slotnames__" in vars(Mine.State)
    assert fingerprint(Mine()) == before is not None


def test_settings_count():
    assert fingerprint(users_cell(arguments="2.0")) not in (None, fingerprint(users_cell()))
    assert fingerprint(RNN("relu")) != fingerprint(RNN("tanh"))
    zoned = [fingerprint(zoneout(LSTM(), {"c": p}, training)) for p in (0.1, 0.1, 0.2) for training in (0, 1)]
    assert zoned[:2] == zoned[2:4]
    assert len({None, *zoned}) == 5
    cell = users_cell()
    cell.added = {"a": (1, [2.5])}
    assert fingerprint(cell) not in (None, fingerprint(users_cell()))


def test_a_function_of_torch_that_was_replaced_counts(monkeypatch):
    before = fingerprint(users_cell())
    monkeypatch.setattr(F, "softplus", lambda x: x)
    assert fingerprint(users_cell()) not in (None, before)


def test_torchs_default_dtype_counts():
    before = fingerprint(LSTM())
    torch.set_default_dtype(torch.float64)
    try:
        assert fingerprint(LSTM()) not in (None, before)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def inner(x):", "BOX = object()\ndef inner(x):\n    BOX"),
        ("by_two = scaled(2.0)", "by_two = scaled(torch.ones(()))"),
        ("by_two = scaled(2.0)", "by_two = (lambda box: lambda x: x * box.value)(SimpleNamespace(value=2))"),
        ("return x * math.pi", "return x * random.random()"),
        ("return x * math.pi", "return x * eval('2')"),
        ("return x * math.pi", "import json\n    return x"),
        ("return x * math.pi", "return x * missing"),
        ("x = helper(a.n)", "self.setting += 1\n        x = helper(a.n)"),
        ("SCALE * inner(x)", "getattr(random, 'random')() * x"),
        ("self.setting = setting", "self.setting = random.Random(0)"),
        ("self.setting = setting", "self.setting = torch.ones(())"),
        ("sharpness = 3", "sharpness = object()"),
        (
            "sharpness = 3",
            "class Pair(namedtuple('Pair', 'x')):\n        def __add__(self, other): return self",
        ),
    ],
)
def test_what_cannot_be_followed_has_no_digest(old, new):
    assert old in MODULE
    assert fingerprint(users_cell(MODULE.replace(old, new))) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return x * math.pi", "return inner(x) if x is None else x"),
        ("by_two = scaled(2.0)", "by_two = functools.partial(scaled(2.0), shift=0.5)"),
        ("return x * math.pi", "return sum(part * 2 for part in (x, x)) if 3 in {3, 'a'} else x"),
        ("    def squashed", "    @staticmethod\n    def unused(x):\n        return x\n\n    def squashed"),
        ("    def squashed", "    @property\n    def twice(self):\n        return 2\n\n    def squashed"),
    ],
    ids=["recursion", "partial", "comprehension", "static method", "property"],
)
def test_what_python_has_besides_is_followed(old, new):
    assert old in MODULE
    assert fingerprint(users_cell(MODULE.replace(old, new))) not in (None, fingerprint(users_cell()))


def test_a_dataclass_is_known_by_its_fields():
    init = MODULE[MODULE.index("    def __init__") : MODULE.index("    def own")]
    fields = "@dataclass(frozen=True)\nclass Mine(Base):\n    setting: float = 1.0\n    other: str = 'a'"
    source = MODULE.replace("class Mine(Base):", fields).replace(init, "")
    digest = fingerprint(users_cell(source))
    assert digest is not None
    assert digest == fingerprint(users_cell(source, "1.0"))
    assert digest not in (
        fingerprint(users_cell(source, "2.0")),
        fingerprint(users_cell(source, "other='b'")),
    )


CHANGED = MODULE.replace("return x * math.pi", "return x if 3 in {3, 'a', 'b'} else -x")


def test_the_same_in_every_process():
    code = "import test_kept_traces as t; print(*map(t.fingerprint, (*t.SHIPPED, t.users_cell())))"
    code += f"; print(t.fingerprint(t.users_cell({CHANGED!r})))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        # The order of sets differs between any two of these.
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    here = [fingerprint(cell) for cell in (*SHIPPED, users_cell(), users_cell(CHANGED))]
    assert done.stdout.split() == here


# As text


@pytest.mark.parametrize(
    "cell", [*SHIPPED, *(c for c in CELLS if not isinstance(c, MatrixOfZeros))], ids=repr
)
def test_a_trace_is_read_as_it_was_written(cell):
    recorded = trace(cell, 6)
    assert from_json(to_json(recorded)) == recorded


def test_a_trace_with_gradients_of_gates_is_kept_beside_that_without(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = ()
    for _ in range(2):
        found = traced("native", LSTM(), 6, torch.float32, names)
        assert not found.is_tried
        found.keep()
        read = traced("native", LSTM(), 6, torch.float32, names)
        assert read.is_tried
        assert read.trace == found.trace
        assert bool(read.trace.carrying) == bool(names)
        names = found.trace.gate_names


def operation(name, kind, *args, per_row=False):
    return Operation(name, kind, args, per_row)


SMALL = Trace(
    forward=(operation("v0", "add", "a0", "r0"), operation("v1", "mul", "v0", 0.1)),
    new_state=("v1",),
    gate_names=("n",),
    gates=("v0",),
    backward=(operation("v2", "mul", "g0", 0.1), operation("v3", "mul", "v0", "v2")),
    grad={"a": ("v2",), "r": ("v2",), "s": (None,), "p": ()},
    saved=("v0",),
    row_values=frozenset({"v9"}),
)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1 + 0.2, 1e300])
def test_every_number_survives(number):
    written = replace(SMALL, forward=(operation("v0", "add", "a0", number), SMALL.forward[1]))
    read = from_json(to_json(written)).forward[0].args[1]
    assert repr(read) == repr(number)


def with_body(**changed) -> str:
    """A file with changed content and the right digest."""
    from gatewise.engine.traced.record import _digest

    document = json.loads(to_json(SMALL))
    document["trace"].update(changed)
    return json.dumps({**document, "sha256": _digest(document["trace"])})


WHOLE = to_json(SMALL)


@pytest.mark.parametrize(
    "text",
    [
        "",
        WHOLE[: len(WHOLE) // 2],
        WHOLE.replace("0.1", "0.2", 1),
        WHOLE.replace(FORMAT, "gatewise trace 0"),
        "[]",
        "null",
        "3",
        json.dumps({"format": FORMAT}),
        "[" * 100_000,
        json.dumps({**json.loads(WHOLE), "trace": []}),
        with_body(forward=[["v0", "add", ["a0", "r0; system(0)"], False]]),
        with_body(forward=[["v0", "system", ["a0"], False]]),
        with_body(forward=[["v0", "add", ["a0"], False]]),
        with_body(forward=[["v0", "add", ["a0", "a1"], False]]),
        with_body(forward=[["v0", "add", ["a0", "v1"], False], ["v1", "add", ["a0", "v0"], False]]),
        with_body(forward=[["v0 = 0, x", "add", ["a0", "r0"], False]]),
        with_body(forward=[["v0", "add", ["a0", "r0"], True]]),
        with_body(forward=[["v0", "add", ["a0", "r0"], False], ["v0", "add", ["a0", "r0"], False]]),
        with_body(forward=[["v0", "add", ["a0", 1], False]]),
        with_body(forward=[["v0", "add", ["a0", None], False]]),
        with_body(forward="v0"),
        with_body(new_state=["v7"]),
        with_body(new_state=[]),
        with_body(gates=["v7"]),
        with_body(gate_names=[]),
        with_body(gate_names=[1]),
        with_body(saved=["s0"]),
        with_body(saved=[["v0"]]),
        with_body(saved=[]),
        with_body(grad={"a": ["v2"], "r": ["v2"], "s": [None]}),
        with_body(grad={"a": ["v1"], "r": ["v2"], "s": [None], "p": []}),
        with_body(grad={"a": [0.5], "r": ["v2"], "s": [None], "p": []}),
        with_body(row_values=["v0"]),
        with_body(row_values=None),
    ],
)
def test_what_is_not_a_trace_is_refused(text):
    with pytest.raises(ValueError, match="not a trace that Gatewise wrote"):
        from_json(text)


def test_a_changed_body_with_its_digest_is_a_trace():
    assert from_json(with_body()) == SMALL  # so the table above is not refused for its digest


def test_every_operation_has_as_many_arguments_as_its_c_code():
    code = files("gatewise.engine.native").joinpath("vector.c").read_text(encoding="utf-8")
    given = dict.fromkeys(re.findall(r"EACH\((\w+)\)", code), 1)
    given |= dict.fromkeys(re.findall(r"EACH_PAIR\((\w+)\)", code), 2)
    for name, parameters in re.findall(r"INLINE V gw_(\w+)\(((?:V \w+(?:, )?)+)\)", code):
        given[name] = parameters.count("V ")
    for name, expression in operations.EXPRESSIONS.items():
        values = [f"<{i}>" for i in range(5)]
        given[name] = sum(value in expression.format(*values) for value in values)
    given |= dict.fromkeys(operations.REDUCTIONS.values(), 1)
    assert {kind: given.get(kind) for kind in operations.ARGUMENTS} == operations.ARGUMENTS
    assert set(operations.OPERATIONS.values()) <= set(operations.ARGUMENTS)
