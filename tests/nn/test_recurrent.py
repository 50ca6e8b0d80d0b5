"""Settings of ``Recurrent``: initial values and states, errors, saving."""

import copy
import io
import pickle

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from gatewise.cells import GRU, LSTM, RNN, MinGRU, ProjectedLSTM
from gatewise.engine import ENGINES
from gatewise.nn import Recurrent

T, B, F, H = 6, 5, 3, 4


# Starting values


@pytest.mark.parametrize("cell", [LSTM(), GRU(), RNN()], ids=repr)
def test_orthogonal_gate_by_gate(cell):
    recurrent = Recurrent(F, H, 2, bidirectional=True, cell=cell)
    for layer in recurrent.layers:
        for name in cell.gates:
            W = layer.gate(name)["weight_hh"]
            torch.testing.assert_close(W @ W.T, torch.eye(H), rtol=0, atol=1e-6)


def test_gates_without_a_recurrent_product_have_no_weights():
    recurrent = Recurrent(F, H, cell=MinGRU())
    layer = recurrent.layers[0]
    assert layer.weight_hh.shape == (0, H)
    assert not layer.weight_hh.requires_grad  # or data-parallel processes would wait for its gradient
    assert set(layer.gate("z")) == {"weight_ih", "bias"}
    recurrent(torch.randn(T, B, F))[0].sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in recurrent.parameters() if p.requires_grad)


@pytest.mark.parametrize("init", ["orthogonal", "uniform"])
def test_a_projection_starts_as_the_recurrent_weights_do(init):
    recurrent = Recurrent(F, 100, cell=ProjectedLSTM(20), bidirectional=True, recurrent_init=init)
    assert recurrent.output_size == 40
    for layer in recurrent.layers:
        P = layer.weight_hr
        assert P.shape == (20, 100)
        if init == "orthogonal":
            torch.testing.assert_close(P @ P.T, torch.eye(20), rtol=0, atol=1e-6)
        else:
            assert 0.099 < P.abs().max() <= 0.1  # 1/√100; the largest of 2,000 draws


def test_uniform_is_torch_bound():
    layer = Recurrent(300, 100, recurrent_init="uniform").layers[0]
    for weight in (layer.weight_ih, layer.weight_hh):
        assert 0.0999 < weight.abs().max() <= 0.1  # 1/√100; the largest of 40,000 draws lies close below


def test_input_weights_are_glorot_gate_by_gate():
    layer = Recurrent(300, 100).layers[0]
    bound = (6 / (300 + 100)) ** 0.5  # Glorot & Bengio 2010, eq. 16, of one gate and not of the four together
    for name in layer.cell.gates:
        assert 0.999 * bound < layer.gate(name)["weight_ih"].abs().max() <= bound


@pytest.mark.parametrize("init", ["orthogonal", "uniform"])
def test_forget_bias_is_one_and_the_others_zero(init):
    for layer in Recurrent(F, H, 2, bidirectional=True, recurrent_init=init).layers:
        for name in layer.cell.gates:
            assert layer.gate(name)["bias"].tolist() == [float(name == "f")] * H


def test_reset_parameters_resets_all():
    layer = Recurrent(F, H, cell=GRU(), learn_initial_state=True).layers[0]
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(9.0)
    layer.reset_parameters()
    assert not any((parameter == 9.0).any() for parameter in layer.parameters())


def test_without_biases():
    recurrent = Recurrent(F, H, 2, bias=False)
    assert not any("bias" in name for name, _ in recurrent.named_parameters())
    assert set(recurrent.layers[0].gate("f")) == {"weight_ih", "weight_hh"}


def test_gate_blocks_are_views():
    layer = Recurrent(F, H).layers[0]
    with torch.no_grad():
        for value, block in enumerate(layer.gate("f").values(), 5):
            block.fill_(value)
    for value, whole in enumerate((layer.weight_ih, layer.weight_hh, layer.bias), 5):
        # i f n o: the second block of H rows.
        assert (whole[H : 2 * H] == value).all()
        assert not (whole[2 * H :] == value).any()


# The initial state


@pytest.mark.parametrize("cell", [LSTM(), GRU(), ProjectedLSTM(2)], ids=repr)
def test_initial_state_is_learnt(cell):
    recurrent = Recurrent(F, H, 2, bidirectional=True, cell=cell, learn_initial_state=True)
    x = torch.randn(T, B, F)
    zeros = tuple(torch.zeros(4, B, size) for size in recurrent.state_sizes)
    assert torch.equal(recurrent(x)[0], recurrent(x, zeros)[0])  # it starts at zero

    initial = {name: p for name, p in recurrent.named_parameters() if "initial" in name}
    assert len(initial) == 4 * len(cell.states)
    recurrent(x)[0].square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in initial.values())

    with torch.no_grad():
        for parameter in initial.values():
            parameter.normal_()
    given = tuple(
        torch.stack([layer.initial[name].expand(B, -1) for layer in recurrent.layers]) for name in cell.states
    )
    torch.testing.assert_close(recurrent(x)[0], recurrent(x, given)[0])


def test_a_given_state_goes_before_the_learnt_one():
    recurrent = Recurrent(F, H, learn_initial_state=True)
    x, state = torch.randn(T, B, F), (torch.randn(1, B, H), torch.randn(1, B, H))
    plain = Recurrent(F, H)
    plain.load_state_dict(recurrent.state_dict(), strict=False)
    outputs, _ = recurrent(x, state)
    assert torch.equal(outputs, plain(x, state)[0])
    outputs.sum().backward()
    assert all(p.grad is None for p in recurrent.layers[0].initial.values())


def test_final_state_is_named():
    _, final = Recurrent(F, H)(torch.randn(T, B, F))
    assert final._fields == ("h", "c")
    assert pickle.loads(pickle.dumps(final))._fields == ("h", "c")


# Errors

X = torch.zeros(T, B, F)
LENGTHS = torch.full((B,), T)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_size": 0}, "input_size must be a whole number of at least 1, got 0"),
        ({"hidden_size": -2}, "hidden_size must be a whole number of at least 1, got -2"),
        ({"hidden_size": 2.0}, "hidden_size must be a whole number of at least 1, got 2.0"),
        ({"num_layers": 0}, "num_layers must be a whole number of at least 1, got 0"),
        ({"num_layers": True}, "num_layers must be a whole number of at least 1, got True"),
        ({"dropout": 1.0}, "dropout must be a probability of 0 or more and below 1, got 1.0"),
        ({"dropout": True}, "dropout must be a probability of 0 or more and below 1, got True"),
        ({"input_dropout": -0.1}, "input_dropout must be a probability of 0 or more and below 1, got -0.1"),
        ({"state_dropout": "½"}, "state_dropout must be a probability of 0 or more and below 1, got '½'"),
        ({"state_dropout": float("nan")}, "state_dropout must be a probability .* got nan"),
        ({"weight_dropout": 1}, "weight_dropout must be a probability of 0 or more and below 1, got 1"),
        ({"zoneout": 1.5}, "zoneout must be a probability of 0 or more and below 1, got 1.5"),
        ({"zoneout": "much"}, "zoneout must be a probability of 0 or more and below 1, got 'much'"),
        ({"zoneout": {"c": -0.1}}, r"zoneout\.c must be a probability of 0 or more and below 1, got -0.1"),
        ({"zoneout": {"C": 0.1}}, r"zoneout='C' is unknown \(did you mean 'c'\?\); choose one of: h, c"),
        (
            {"zoneout": 0.1, "cell": ProjectedLSTM(2)},
            r"zoneout=0.1 would keep h, which a projection computes .*: zoneout=\{c: 0.1\}",
        ),
        (
            {"recurrent_init": "identity"},
            "recurrent_init='identity' is unknown; choose one of: orthogonal, uniform",
        ),
        ({"cell": "lstm"}, "cell must be a gatewise.cells.Cell, got 'lstm'"),
        ({"cell": LSTM}, "cell must be a gatewise.cells.Cell, got <class"),
        ({"engine": "fnction"}, r"engine='fnction' is unknown \(did you mean 'function'\?\); choose one of"),
        ({"engine": None}, "engine=None is unknown"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        Recurrent(**{"input_size": F, "hidden_size": H, **settings})


@pytest.mark.parametrize("name", ["state_dropout", "weight_dropout"])
def test_a_dropout_that_does_nothing_is_warned_of(name, caplog):
    Recurrent(F, H, cell=MinGRU(), **{name: 0.5})
    Recurrent(F, H, cell=MinGRU(), **{name: 0.0})
    Recurrent(F, H, cell=GRU(), **{name: 0.5})
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"{name}=0.5 does nothing: MinGRU() has no recurrent product"


def zeros(*shape, dtype=torch.float32):
    return torch.zeros(shape, dtype=dtype)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": zeros(T, B, F + 1)}, r"input must be \[T, B, F\] with F = 3, got \(6, 5, 4\)"),
        ({"x": zeros(F)}, r"input must be \[T, B, F\] with F = 3, got \(3,\)"),
        ({"x": zeros(1, T, B, F)}, r"input must be \[T, B, F\] with F = 3, got \(1, 6, 5, 3\)"),
        (
            {"x": pack_padded_sequence(zeros(T, B, F + 1), LENGTHS)},
            r"packed input must be \[N, F\] with F = 3, got \(30, 4\)",
        ),
        ({"x": X.double()}, "input is torch.float64 and the weights are torch.float32: make them one dtype"),
        ({"x": X.long()}, "input is torch.int64 and the weights are torch.float32"),
        (
            {"x": pack_padded_sequence(X, LENGTHS), "lengths": LENGTHS},
            "a PackedSequence carries its own lengths: leave `lengths` out",
        ),
        (
            {"state": (zeros(1, B, H), zeros(1, B, H + 1))},
            r"state must be \(h, c\), each of shape \(1, 5, 4\); got \(1, 5, 4\), \(1, 5, 5\)",
        ),
        ({"state": (zeros(2, B, H),) * 2}, r"each of shape \(1, 5, 4\); got \(2, 5, 4\), \(2, 5, 4\)"),
        ({"state": zeros(1, B, H)}, r"state must be \(h, c\), each of shape \(1, 5, 4\); got \(1, 5, 4\)"),
        ({"x": zeros(T, F), "state": (zeros(1, H + 1),) * 2}, r"state must be \(h, c\)"),
        (
            {"state": (zeros(1, B, H), zeros(1, B, H, dtype=torch.float64))},
            "state c is torch.float64 and the weights are torch.float32",
        ),
        ({"x": X.to("meta")}, "input is on meta and the weights are on cpu: move one to the other"),
        ({"state": (zeros(1, B, H), zeros(1, B, H).to("meta"))}, "state c is on meta and the weights are on"),
        ({"x": X.numpy()}, "input must be a torch.Tensor, got ndarray"),
        ({"x": X.to_sparse()}, "input is torch.sparse_coo: make it dense"),
        ({"x": PackedSequence(zeros(4, F), torch.tensor([1, 3]))}, r"must fall .*, got \[1, 3\]"),
        ({"x": PackedSequence(zeros(4, F), torch.tensor([3, 2]))}, r"add up to its 4 rows, got \[3, 2\]"),
        ({"x": PackedSequence(zeros(4, F), torch.tensor([3, 1, 0]))}, r"must fall .*, got \[3, 1, 0\]"),
        ({"x": PackedSequence(zeros(0, F), torch.tensor([], dtype=torch.int64))}, r"must fall .*, got \[\]"),
        ({"lengths": LENGTHS + 1}, r"lengths must lie in 0 … 6 \(the batch's time steps\), got 7"),
        ({"lengths": LENGTHS - 7}, "lengths must lie in 0 … 6 .*, got -1"),
        ({"lengths": LENGTHS[1:]}, r"lengths must hold one number per sequence, 5; got \(4,\)"),
        ({"lengths": LENGTHS.float()}, "lengths must be whole numbers, got torch.float32"),
        ({"x": zeros(T, F), "lengths": LENGTHS}, r"lengths must hold one number per sequence, 1; got \(5,\)"),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_inputs_that_do_not_fit(arguments, message, engine):
    with pytest.raises(ValueError, match=message):
        Recurrent(F, H, engine=engine)(**{"x": X, **arguments})


def test_the_error_shows_the_sizes_of_a_projected_state():
    message = r"state must be \(h, c\), of shapes \(1, 5, 2\), \(1, 5, 4\); got \(1, 5, 4\), \(1, 5, 4\)"
    with pytest.raises(ValueError, match=message):
        Recurrent(F, H, cell=ProjectedLSTM(2))(X, (zeros(1, B, H),) * 2)


def test_the_error_shows_the_axes_of_batch_first():
    with pytest.raises(ValueError, match=r"input must be \[B, T, F\] with F = 3"):
        Recurrent(F, H, batch_first=True)(zeros(B, T, F + 1))


def test_unknown_gate_is_named():
    with pytest.raises(ValueError, match="LSTM has no gate 'g'; its gates are i, f, n, o"):
        Recurrent(F, H).layers[0].gate("g")


# Shapes at the edge, saving, copying


@pytest.mark.parametrize("shape", [(0, B, F), (T, 0, F), (0, 0, F), (1, 1, F), (0, F)], ids=str)
def test_empty_batches(shape):
    x = torch.zeros(shape, requires_grad=True)
    outputs, final = Recurrent(F, H, 2, bidirectional=True)(x)
    assert outputs.shape == (*shape[:-1], 2 * H)
    assert [s.shape for s in final] == [(4, *shape[1:-1], H)] * 2
    outputs.sum().backward()
    assert x.grad.shape == shape


@pytest.mark.parametrize("batch_first", [False, True])
def test_one_sequence_with_a_length(batch_first):
    recurrent = Recurrent(F, H, batch_first=batch_first)
    x = torch.randn(T, F)
    outputs, final = recurrent(x, lengths=torch.tensor(4))
    short, short_final = recurrent(x[:4])
    assert torch.equal(outputs, torch.cat([short, torch.zeros(2, H)]))
    assert all(map(torch.equal, final, short_final))


def test_a_state_may_come_as_one_tensor_where_there_is_one():
    recurrent, h = Recurrent(F, H, cell=GRU()), torch.randn(1, B, H)
    assert torch.equal(recurrent(X, h)[0], recurrent(X, (h,))[0])


def test_autocast_takes_and_gives_back_its_own_states():
    recurrent = Recurrent(F, H, cell=RNN())
    with torch.autocast("cpu", torch.bfloat16):
        outputs, state = recurrent(X)
        again, _ = recurrent(X, state)
    assert state.h.dtype == outputs.dtype == again.dtype == torch.bfloat16


def test_state_dict_loads_as_weights_only():
    settings = {"bidirectional": True, "cell": GRU(), "learn_initial_state": True}
    recurrent, other = Recurrent(F, H, 2, **settings), Recurrent(F, H, 2, **settings)
    file = io.BytesIO()
    torch.save(recurrent.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    x = torch.randn(T, B, F)
    assert torch.equal(other(x)[0], recurrent(x)[0])


@pytest.mark.parametrize("zoneout", [0.0, 0.3])
@pytest.mark.parametrize("how", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_are_equal_and_apart(how, zoneout):
    recurrent, x = Recurrent(F, H, 2, zoneout=zoneout).eval(), torch.randn(T, B, F)
    recurrent(x)  # after an engine has looked at the cell
    other = how(recurrent)
    assert torch.equal(other(x)[0], recurrent(x)[0])
    with torch.no_grad():
        other.layers[0].weight_hh.zero_()
    assert not torch.equal(other(x)[0], recurrent(x)[0])


def test_repr_shows_the_settings():
    text = repr(Recurrent(F, H, 2, bias=False, bidirectional=True, cell=GRU(), engine="loop"))
    assert "3, 4, cell=GRU(), num_layers=2, bias=False, bidirectional=True, engine=loop" in text
