"""A cell with gates and states set from outside, on every engine, the emulated cuda one as well."""

import pytest
import torch
from emulator import emulated_gpu, needs_cpp
from problem import Problem, assert_same, relative_errors

from gatewise import cells, engine
from gatewise.cells import GRU, LSTM, MinGRU
from gatewise.cells.zoneout import zoneout
from gatewise.engine.intervened import find_places, intervened
from gatewise.engine.traced.fingerprint import fingerprint


def setting(cell, names, run_cell=None):
    places = find_places(cell, 4)
    return intervened(cell, run_cell or cell, tuple((name, places[name]) for name in names))


PLAIN = LSTM()
CELLS = [
    setting(PLAIN, ("f", "c")),
    setting(PLAIN, ("f", "c"), zoneout(PLAIN, {"h": 0.3, "c": 0.5}, training=True)),
    setting(GRU(), ("r", "h")),
    setting(MinGRU(), ("n",)),
]


@pytest.mark.parametrize("name", [name for name in engine.ENGINES if name != "loop"])
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_every_engine_equals_the_loop(cell, name):
    problem = Problem.draw(cell, [5, 3, 3, 1, 0])
    assert_same(problem.results(name), problem.results("loop"), 1e-12)


@needs_cpp
@pytest.mark.usefixtures("tf32")
@pytest.mark.parametrize("cell", CELLS[:2], ids=repr)
def test_the_cuda_engine_equals_the_loop(cell):
    with emulated_gpu():
        errors = relative_errors("cuda", Problem.draw(cell, [4, 3, 1]), torch.float32)
    assert max(errors.values()) < 1e-3


def test_places():
    assert find_places(PLAIN, 4) == {
        "i": ("call", 1, "sigmoid", -1),
        "f": ("call", 3, "sigmoid", -1),
        "n": ("call", 5, "tanh", -1),
        "o": ("call", 7, "sigmoid", -1),
        "c": ("call", 10, "add", -1),
        "h": ("call", 12, "mul", -1),
    }
    assert find_places(MinGRU(), 4)["n"] == ("a", "n", "", -1)


def test_cells_that_set_the_same_share_code_and_others_do_not():
    other = LSTM()
    digests = [fingerprint(setting(cell, names)) for cell in (PLAIN, other) for names in (("f",), ("i",))]
    assert None not in digests
    assert digests[:2] == digests[2:]
    assert digests[0] != digests[1] != fingerprint(PLAIN)


@pytest.mark.parametrize("name", cells.__all__)
def test_every_gate_and_state_of_a_shipped_cell_has_a_place(name):
    kind = getattr(cells, name)
    if name == "Cell" or not issubclass(kind, cells.Cell):
        pytest.skip("no cell")
    places = find_places(kind(), 40)
    assert set(kind.states) <= places.keys()
    assert not [place for place in places.values() if isinstance(place, str)]
