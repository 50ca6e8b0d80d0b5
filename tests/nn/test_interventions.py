"""``intervene``: gates and states set to values, on every engine, and all that follows from them."""

import copy
import pickle
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trace import SHIPPED, before_each_step, made
from torch import tanh
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence

from gatewise.cells import GRU, LSTM, RNN, Cell, MinGRU, MinLSTM, PeepholeLSTM, ProjectedLSTM
from gatewise.engine import ENGINES
from gatewise.engine.native import kernel
from gatewise.engine.traced.fingerprint import fingerprint
from gatewise.nn import Clamp, Recurrent

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from odd_cells import EVERY_ENGINE, LOOP_ONLY

law = settings(max_examples=30, deadline=None, derandomize=True, database=None)
EXACT = {"rtol": 1e-12, "atol": 1e-12}
NAN = torch.nan
EITHER = st.booleans()


def randn(*shape):
    return torch.randn(shape, dtype=torch.float64)


def in_loop(cell, *args, **settings):
    """In the loop: what does not depend on the engine need not be compiled."""
    return made(cell, *args, engine="loop", **settings)


def names_of(recurrent):
    """Every gate and state that can be set."""
    names = list(recurrent.trace(randn(1, 1, 3)).arrays)
    return names if recurrent.cell.projection_size is None else [name for name in names if name != "h"]


def some_values(recurrent, batch, time, share=0.3):
    """Values for every name, at a share of all places: [L, D, B, T, H]."""
    shape = (recurrent.num_layers, recurrent.num_directions, batch, time, 4)
    return {
        name: torch.where(torch.rand(shape) < share, randn(*shape).sigmoid(), NAN)
        for name in names_of(recurrent)
    }


@st.composite
def batches(draw, bidirectional=EITHER):
    """(recurrent, x [T, B, F], lengths [B])"""
    recurrent = made(
        draw(st.sampled_from(SHIPPED)),
        draw(st.integers(1, 2)),
        draw(bidirectional),
        draw(st.integers(0, 1000)),
        engine="loop",
    )
    time, batch = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    lengths = draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch))
    return recurrent, randn(time, batch, 3), torch.tensor(lengths)


def results(recurrent, x, lengths, intervene):
    """Outputs, final state, gates and gradients, by name."""
    x = x.clone().requires_grad_()
    torch.manual_seed(5)
    outputs, final, gates = recurrent(x, None, lengths, True, intervene)
    torch.manual_seed(5)
    outputs, final = recurrent(x, None, lengths, False, intervene)
    loss = outputs.square().sum() + sum((k + 1) * s.sin().sum() for k, s in enumerate(final))
    parameters = {name: p for name, p in recurrent.named_parameters() if p.requires_grad}
    grads = torch.autograd.grad(loss, [x, *parameters.values()], allow_unused=True, materialize_grads=True)
    named = dict(zip(["grad x", *parameters], grads, strict=True))
    return {"outputs": outputs, **dict(zip("hc", final, strict=False)), **named, "gates": gates}


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "loop"])
@pytest.mark.parametrize("cell", SHIPPED, ids=repr)
def test_every_engine_equals_the_loop(cell, engine):
    x, lengths = randn(4, 3, 3), torch.tensor([4, 0, 3])
    recurrent = made(cell, engine=engine)
    intervene = some_values(recurrent, 3, 4)
    found = results(recurrent, x, lengths, intervene)
    recurrent.engine = "loop"
    torch.testing.assert_close(found, results(recurrent, x, lengths, intervene), **EXACT)


@pytest.mark.parametrize("engine", ["auto", "native", "function"])
def test_every_engine_equals_the_loop_with_zoneout_and_dropouts(engine):
    kinds = {"zoneout": {"h": 0.3, "c": 0.5}, "state_dropout": 0.3, "input_dropout": 0.3, "dropout": 0.3}
    x, lengths = randn(4, 3, 3), torch.tensor([4, 0, 3])
    recurrent = made(LSTM(), engine=engine, **kinds)
    intervene = {"f": some_values(recurrent, 3, 4)["f"], "c": some_values(recurrent, 3, 4)["c"]}
    for training in (True, False):
        recurrent.train(training).engine = engine
        found = results(recurrent, x, lengths, intervene)
        recurrent.engine = "loop"
        torch.testing.assert_close(found, results(recurrent, x, lengths, intervene), **EXACT)


@law
@given(batches())
def test_the_value_that_it_has_anyway_changes_nothing(batch):
    recurrent, x, lengths = batch
    trace = recurrent.trace(x, lengths)
    for name in names_of(recurrent):
        outputs, final = recurrent(x, lengths=lengths, intervene={name: trace[name]})
        torch.testing.assert_close(outputs, trace.outputs, **EXACT)
        torch.testing.assert_close(tuple(final), tuple(trace.state), **EXACT)


@law
@given(batches())
def test_what_is_set_is_what_there_is(batch):
    recurrent, x, lengths = batch
    intervene = some_values(recurrent, x.shape[1], len(x))
    trace = recurrent.trace(x, lengths, intervene=intervene)
    for name, values in intervene.items():
        if name == "n" and recurrent.cell_name == "RNN":
            continue  # it is h, which is set last
        is_set = ~values.isnan() & ~trace[name].isnan()
        assert torch.equal(trace[name][is_set], values[is_set])
    for state, share in trace.kept.items():
        made_of = share * before_each_step(trace, state) + trace.written[state]
        torch.testing.assert_close(made_of, trace[state], **EXACT, equal_nan=True)


@law
@given(batches())
def test_each_row_of_a_batch_is_an_experiment_of_its_own(batch):
    recurrent, x, lengths = batch
    intervene = some_values(recurrent, x.shape[1], len(x))
    outputs, final = recurrent(x, lengths=lengths, intervene=intervene)
    for b in range(x.shape[1]):
        of_row = {name: values[:, :, b : b + 1] for name, values in intervene.items()}
        alone, alone_final = recurrent(x[:, b : b + 1], lengths=lengths[b : b + 1], intervene=of_row)
        torch.testing.assert_close(alone, outputs[:, b : b + 1], **EXACT)
        torch.testing.assert_close(tuple(alone_final), tuple(state[:, b : b + 1] for state in final), **EXACT)


@law
@given(batches(), st.sampled_from([0.0, 1e30]))
def test_what_is_set_on_padding_changes_nothing(batch, garbage):
    recurrent, x, lengths = batch
    intervene = some_values(recurrent, x.shape[1], len(x))
    padding = (torch.arange(len(x)) >= lengths[:, None])[:, :, None]
    filled = {name: torch.where(padding, garbage, values) for name, values in intervene.items()}
    outputs, final = recurrent(x, lengths=lengths, intervene=intervene)
    with_garbage, garbage_final = recurrent(x, lengths=lengths, intervene=filled)
    assert torch.equal(with_garbage, outputs)
    assert all(map(torch.equal, garbage_final, final))


@law
@given(batches(bidirectional=st.just(False)))
def test_steps_with_a_carried_state_are_the_whole_sequence(batch):
    recurrent, x, _ = batch
    intervene = some_values(recurrent, x.shape[1], len(x))
    outputs, final = recurrent(x, intervene=intervene)
    state = None
    for t in range(len(x)):
        of_step = {name: values[:, :, :, t : t + 1] for name, values in intervene.items()}
        step, state = recurrent(x[t : t + 1], state, intervene=of_step)
        torch.testing.assert_close(step, outputs[t : t + 1], **EXACT)
    torch.testing.assert_close(tuple(state), tuple(final), **EXACT)


@law
@given(batches())
def test_nothing_set_is_a_plain_call(batch):
    recurrent, x, lengths = batch
    outputs, final = recurrent(x, lengths=lengths)
    for intervene in ({}, {name: torch.tensor(NAN) for name in names_of(recurrent)}, {"n": []}):
        same, same_final = recurrent(x, lengths=lengths, intervene=intervene)
        assert torch.equal(same, outputs)
        assert all(map(torch.equal, same_final, final))


def sequence(recurrent, x, step):
    """What ``step(a, r, state)`` makes of [T, B, F] in one layer, by hand; the state's first tensor is h."""
    layer = recurrent.layers[0]
    state = tuple(torch.zeros(x.shape[1], 4, dtype=x.dtype) for _ in recurrent.cell.states)
    outputs = []
    for t, x_t in enumerate(x):
        a = (x_t @ layer.weight_ih.T + layer.bias).chunk(len(recurrent.cell.gates), 1)
        r = (state[0] @ layer.weight_hh.T).chunk(len(recurrent.cell.recurrent), 1)
        state = step(t, a, r, state)
        outputs.append(state[0])
    return torch.stack(outputs)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_lstm_by_hand(engine):
    recurrent, x = made(LSTM(), 1, False, engine=engine), randn(5, 2, 3)

    def step(t, a, r, state):
        i, f, o = (torch.sigmoid(a[k] + r[k]) for k in (0, 1, 3))
        if t >= 2:
            f[:, 1] = 0.25
        c = f * state[1] + i * tanh(a[2] + r[2])
        if t == 3:
            c[:, [0, 3]] = -1.5
        return o * tanh(c), c

    intervene = {
        "f": Clamp(0.25, units=1, steps=slice(2, None)),
        "c": [Clamp(7.0, units=[0], steps=3), Clamp(-1.5, units=[0, 3], steps=[3])],
    }
    outputs, _ = recurrent(x, intervene=intervene)
    torch.testing.assert_close(outputs, sequence(recurrent, x, step), **EXACT)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_gru_by_hand(engine):
    recurrent, x = made(GRU(), 1, False, engine=engine), randn(5, 2, 3)

    def step(t, a, r, state):
        assert t < 5
        z = torch.sigmoid(a[1] + r[1])
        n = tanh(a[2] + 0.5 * (r[2] + recurrent.layers[0].own["bias_n"]))
        h = (1 - z) * n + z * state[0]
        h[:, 2] = 0.75
        return (h,)

    outputs, _ = recurrent(x, intervene={"r": 0.5, "h": Clamp(0.75, units=slice(2, 3))})
    torch.testing.assert_close(outputs, sequence(recurrent, x, step), **EXACT)


def test_without_a_forget_gate_the_cell_state_is_what_is_written():
    trace = in_loop(LSTM()).trace(randn(5, 2, 3), intervene={"f": 0})
    torch.testing.assert_close(trace["c"], trace["i"] * trace["n"], **EXACT)
    torch.testing.assert_close(trace.kept["c"], torch.zeros_like(trace["c"]), **EXACT)
    assert torch.equal(trace["f"], torch.zeros_like(trace["f"]))


def test_what_sees_a_gate_sees_what_was_set():
    x = randn(5, 2, 3)
    shares = in_loop(MinLSTM()).trace(x, intervene={"f": 0.25})
    torch.testing.assert_close(shares["i"], torch.full_like(shares["i"], 0.75), **EXACT)
    candidate = in_loop(MinGRU()).trace(x, intervene={"n": 2.0, "z": 1.0})
    torch.testing.assert_close(candidate["h"], torch.full_like(candidate["h"], 2.0), **EXACT)
    peephole = in_loop(PeepholeLSTM())
    without = in_loop(PeepholeLSTM()).trace(x)["o"]
    assert not torch.allclose(peephole.trace(x, intervene={"c": 3.0})["o"][0], without[0])


def test_layer_and_direction():
    recurrent, x = in_loop(LSTM()), randn(5, 2, 3)
    trace, plain = recurrent.trace(x, intervene={"f": Clamp(0.5, layer=1, direction=0)}), recurrent.trace(x)
    assert torch.equal(trace["f"][1, 0], torch.full_like(trace["f"][1, 0], 0.5))
    for layer, direction in ((0, 0), (0, 1), (1, 1)):
        torch.testing.assert_close(trace["h"][layer, direction], plain["h"][layer, direction], **EXACT)


@pytest.mark.parametrize("training", [False, True])
def test_with_zoneout_a_state_is_set_before_its_use_and_after_zoneout(training):
    recurrent = in_loop(LSTM(), zoneout={"h": 0.2, "c": 0.5}).train(training)
    trace = recurrent.trace(randn(6, 2, 3), intervene={"c": 0.5})
    assert torch.equal(trace["c"], torch.full_like(trace["c"], 0.5))
    shown = trace["o"] * torch.tensor(0.5, dtype=torch.float64).tanh()
    old = before_each_step(trace, "h")
    if training:
        assert ((trace["h"] - shown).abs().lt(1e-12) | (trace["h"] == old)).all()
    else:
        torch.testing.assert_close(trace["h"], shown + 0.2 * (old - shown), **EXACT)


def test_gradients_reach_what_is_not_set():
    recurrent, x = in_loop(LSTM(), 1, False), randn(5, 2, 3).requires_grad_()
    outputs, _ = recurrent(x, intervene={"h": Clamp(0.0, steps=slice(0, 3))})
    (grad,) = torch.autograd.grad(outputs[:4].sum(), x)
    # c goes on through the steps in which h is set.
    assert grad[:4].abs().sum(dim=(1, 2)).gt(0).all()
    (grad,) = torch.autograd.grad(recurrent(x, intervene={"h": 0.0, "c": 0.0})[0].sum(), x)
    assert not grad.any()
    value = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    outputs, _ = recurrent(x.detach(), intervene={"f": value})
    assert torch.autograd.grad(outputs.sum(), value, allow_unused=True) == (None,)


def test_forms_of_input():
    recurrent, x, lengths = in_loop(LSTM()), randn(5, 3, 3), torch.tensor([2, 5, 4])
    intervene = some_values(recurrent, 3, 5)
    outputs, _ = recurrent(x, lengths=lengths, intervene=intervene)
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    found, _ = recurrent(packed, intervene=intervene)
    unpacked, _ = torch.nn.utils.rnn.pad_packed_sequence(found)
    torch.testing.assert_close(unpacked, outputs, **EXACT)
    single, _ = recurrent(x[:2, 0], intervene={n: v[:, :, 0, :2][:, :, None] for n, v in intervene.items()})
    torch.testing.assert_close(single, outputs[:2, 0], **EXACT)
    recurrent.batch_first = True
    swapped, _ = recurrent(x.transpose(0, 1), lengths=lengths, intervene=intervene)
    torch.testing.assert_close(swapped.transpose(0, 1), outputs, **EXACT)


def test_tensors_broadcast():
    recurrent, x = in_loop(LSTM()), randn(5, 2, 3)
    whole = randn(2, 2, 2, 5, 4).sigmoid()
    for part in (whole[0, 0, 0, 0], whole[0, 0, 0], whole[0, 0], whole[:, :1, :, :1], whole[..., :1]):
        outputs, _ = recurrent(x, intervene={"f": part})
        expected, _ = recurrent(x, intervene={"f": part.expand(2, 2, 2, 5, 4).contiguous()})
        assert torch.equal(outputs, expected)
    array, _ = recurrent(x, intervene={"f": whole.numpy()})
    assert torch.equal(array, recurrent(x, intervene={"f": whole})[0])


def test_code_is_made_once_for_each_set_of_names(monkeypatch):
    calls = []
    traced = kernel.traced
    monkeypatch.setattr(kernel, "traced", lambda *args: calls.append(args[1]) or traced(*args))
    recurrent, x = made(LSTM(), engine="native"), randn(5, 2, 3)
    for value in (0.25, 0.5, 1.0):
        recurrent(x, intervene={"f": value})
    assert len(calls) == 1
    recurrent(x, intervene={"f": 0.5, "i": 0.5})
    recurrent(x, intervene={"i": 0.5})
    recurrent(x, intervene={"i": Clamp(0.2, layer=1)})
    # The last one's first layer runs the plain cell.
    assert len(calls) == 4
    digests = {fingerprint(cell) for cell in calls}
    assert len(digests) == 4
    assert None not in digests
    again = made(LSTM(), engine="native")
    again(x, intervene={"f": 0.5})
    assert fingerprint(calls[-1]) in digests


def test_a_module_is_copied_and_saved_without_them():
    recurrent, x = in_loop(LSTM()), randn(5, 2, 3)
    before = pickle.dumps(recurrent)
    outputs, _ = recurrent(x, intervene={"f": 0.5})
    for other in (copy.deepcopy(recurrent), pickle.loads(pickle.dumps(recurrent))):
        assert torch.equal(other(x, intervene={"f": 0.5})[0], outputs)
    assert pickle.dumps(recurrent) == before


def odd(cell):
    torch.manual_seed(0)
    return Recurrent(3, 4, 1, cell=cell, engine="loop").double()


@pytest.mark.parametrize("kind", EVERY_ENGINE)
def test_users_cells_of_every_kind(kind):
    recurrent, x = odd(EVERY_ENGINE[kind]), randn(5, 2, 3)
    trace = recurrent.trace(x, intervene={"n": Clamp(0.5, units=[1], steps=slice(0, 3))})
    plain = recurrent.trace(x)
    assert torch.equal(trace["n"][0, 0, :, :3, 1], torch.full((2, 3), 0.5).double())
    assert not torch.allclose(trace["n"][0, 0, :, 3:], plain["n"][0, 0, :, 3:])
    same = recurrent.trace(x, intervene={"h": plain["h"]})
    torch.testing.assert_close(same.outputs, plain.outputs, **EXACT)


def refused(cell):
    """Whether it calls more functions in its first step, or another one by the values of its input."""
    return type(cell).__name__ == "Cached" or cell in LOOP_ONLY["reads the values of tensors"][4:5]


@pytest.mark.parametrize("kind", LOOP_ONLY)
def test_cells_for_the_loop_alone(kind):
    for cell in LOOP_ONLY[kind]:
        recurrent = odd(copy.deepcopy(cell))
        if refused(cell):
            with pytest.raises(
                ValueError, match=r"^\w+\.step \(.*odd_cells.*\) does not make h in the same way at each"
            ):
                recurrent(randn(3, 2, 3), intervene={"h": 0.5})
        else:
            outputs, _ = recurrent(randn(3, 2, 3), intervene={"h": 0.5})
            assert torch.equal(outputs, torch.full_like(outputs, 0.5))


class Odd(Cell):
    gates = ("n",)
    states = ("h", "m", "d")

    def step(self, a, r, s, p):  # noqa: ARG002
        low, n = torch.stack([a.n - 1, tanh(a.n + r.n)]).unbind(0)
        double = n * 2
        double.mul_(0.5)
        return (double + s.m, s.m, a.n), {"n": n, "low": low, "mean": n.mean(1, keepdim=True), "old": s.m}


def test_values_made_in_unusual_ways():
    recurrent, x = odd(Odd()), randn(5, 2, 3)
    state = (randn(1, 2, 4), randn(1, 2, 4), randn(1, 2, 4))
    trace = recurrent.trace(x, None, state, {"n": 0.5})
    torch.testing.assert_close(trace["h"], 0.5 + trace["m"], **EXACT)
    trace = recurrent.trace(x, None, state, {"old": 0.25, "m": 1.5, "d": 7.0})
    torch.testing.assert_close(trace["h"], trace["n"] + 0.25, **EXACT)
    assert (trace["m"] == 1.5).all()
    assert (trace["d"] == 7).all()
    with pytest.raises(ValueError, match=r"mean of Odd cannot be set: it is no number for each feature"):
        recurrent(x, intervene={"mean": 0.5})
    with pytest.raises(ValueError, match=r"low of Odd cannot be set: no new state is computed from"):
        recurrent(x, intervene={"low": 0.5})


class Twice(Cell):
    """Its step returns a gate that it has computed a second time."""

    gates = ("f",)
    states = ("h",)

    def step(self, a, r, s, p):  # noqa: ARG002
        return (torch.sigmoid(a.f + r.f) * s.h + a.f,), {"f": torch.sigmoid(a.f + r.f)}


def test_a_gate_that_the_step_does_not_use_is_not_set_without_effect():
    with pytest.raises(ValueError, match=r"f of Twice cannot be set: .* return the tensor it uses"):
        odd(Twice())(randn(5, 2, 3), intervene={"f": 0.0})


CASES = [
    ({"fo": 1.0}, r"LSTM returns no gate or state 'fo' \(did you mean '\w'\?\); it has i, f, n, o, h, c"),
    ({3: 1.0}, "no gate or state 3"),
    ({"f": "1"}, "f must be a number, a Clamp, a list of them or a tensor, got '1'"),
    ({"f": True}, "f must be a number, a Clamp"),
    ({"f": [1.0]}, "f must be a number, a Clamp"),
    ({"f": float("nan")}, "a clamp's value must be a finite number, got nan"),
    ({"f": float("inf")}, "a clamp's value must be a finite number, got inf"),
    ({"f": torch.zeros(3)}, r"must broadcast to \[L, D, B, T, H\] = \[2, 2, 2, 5, 4\], got \[3\]"),
    ({"f": torch.zeros(1, 1, 1, 1, 1, 1)}, "must broadcast to"),
    ({"f": torch.tensor(torch.inf)}, "the tensor for f must hold real, finite numbers, or NaN"),
    ({"f": Clamp(1.0, units=4)}, r"f: unit must lie in 0 … 3, got 4"),
    ({"f": Clamp(1.0, units=[0, -1])}, "f: unit must lie in 0 … 3, got -1"),
    ({"f": Clamp(1.0, units=[0.5])}, "f: unit must lie in 0 … 3, got 0.5"),
    ({"f": Clamp(1.0, steps=[5])}, "f: step must lie in 0 … 4, got 5"),
    ({"f": Clamp(1.0, layer=2)}, "f: layer must lie in 0 … 1, got 2"),
    ({"f": Clamp(1.0, direction=2)}, "f: direction must lie in 0 … 1, got 2"),
    ({"f": Clamp(1.0, layer=[0])}, r"f: layer must be a whole number, got \[0\]"),
    ([("f", 1.0)], r"intervene must be a dict, as in \{'f': 1.0\}, got list"),
]


@pytest.mark.parametrize(("intervene", "message"), CASES, ids=lambda case: str(case)[:30])
def test_what_cannot_be_set_is_one_line(intervene, message):
    with pytest.raises(ValueError, match=message) as error:
        in_loop(LSTM())(randn(5, 2, 3), intervene=intervene)
    assert "\n" not in str(error.value)


def test_a_value_that_is_no_number():
    with pytest.raises(ValueError, match="a clamp's value must be a finite number, got 'high'"):
        Clamp("high")


def test_a_projected_state_is_one_line():
    with pytest.raises(ValueError, match="h of ProjectedLSTM cannot be set: each step projects it from 4"):
        in_loop(ProjectedLSTM(2))(randn(5, 2, 3), intervene={"h": 0.0})


def test_an_rnns_gate_is_its_state():
    trace = in_loop(RNN(), 1, False).trace(randn(5, 2, 3), intervene={"n": Clamp(0.5, units=2)})
    assert torch.equal(trace["n"], trace["h"])
    assert (trace["h"][..., 2] == 0.5).all()


@pytest.mark.parametrize("engine", ["native", "loop"])
def test_many_models_at_once(engine):
    recurrent, x = made(LSTM(), engine=engine), randn(5, 2, 3)
    models = {name: torch.stack([value, 2 * value]) for name, value in recurrent.named_parameters()}

    def call(parameters):
        return functional_call(recurrent, parameters, (x,), {"intervene": {"f": 0.5}})[0]

    found = torch.vmap(call)(models)
    for index in range(2):
        alone = call({name: value[index] for name, value in models.items()})
        torch.testing.assert_close(found[index], alone, **EXACT)


@pytest.mark.parametrize("engine", ["auto", "loop"])
def test_without_gradients_and_under_autocast(engine):
    recurrent, x = made(LSTM(), engine=engine), randn(5, 2, 3)
    expected, _ = recurrent(x, intervene={"f": 0.5})
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            torch.testing.assert_close(recurrent(x, intervene={"f": 0.5})[0], expected, **EXACT)
    recurrent.float()
    with torch.autocast("cpu", torch.bfloat16):
        trace = recurrent.trace(x.float(), intervene={"f": 0.5})
    assert (trace["f"] == 0.5).all()
    torch.testing.assert_close(trace.kept["c"], torch.full_like(trace.kept["c"], 0.5))
    torch.testing.assert_close(trace.outputs.double(), expected, rtol=0.05, atol=0.05)


def test_a_compiled_module():
    recurrent, x = in_loop(LSTM()), randn(5, 2, 3)
    compiled = torch.compile(recurrent, backend="eager")
    expected, _ = recurrent(x, intervene={"f": 0.5})
    torch.testing.assert_close(compiled(x, intervene={"f": 0.5})[0], expected, **EXACT)


def test_one_unit():
    torch.manual_seed(0)
    recurrent = Recurrent(3, 1, cell=LSTM())
    assert (recurrent.trace(torch.randn(5, 2, 3), intervene={"f": 0.5})["f"] == 0.5).all()
