"""``Recurrent`` with the weights of a torch.nn module has its outputs, final states and gradients."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from gatewise.cells import ProjectedLSTM
from gatewise.nn import Recurrent

T, B, F, H = 5, 4, 3, 4
LENGTHS = {"packed": [5, 4, 4, 1], "unsorted": [2, 5, 1, 4]}

MODULES = {
    "lstm": nn.LSTM,
    "lstm-projected": lambda *args, **kwargs: nn.LSTM(*args, proj_size=2, **kwargs),
    "gru": nn.GRU,
    "rnn-tanh": nn.RNN,
    "rnn-relu": lambda *args, **kwargs: nn.RNN(*args, nonlinearity="relu", **kwargs),
}


def results(module, x, form, state):
    """Outputs, final states and the gradients of x and the state."""
    x = x.clone().requires_grad_()
    state = None if state is None else tuple(s.clone().requires_grad_() for s in state)
    given = state if state is None or len(state) > 1 or isinstance(module, Recurrent) else state[0]
    if form in LENGTHS:
        packed = pack_padded_sequence(x, torch.tensor(LENGTHS[form]), enforce_sorted=form == "packed")
        outputs, final = module(packed, given)
        assert isinstance(outputs, PackedSequence)
        for field, expected in zip(outputs[1:], packed[1:], strict=True):
            assert (field is None and expected is None) or torch.equal(field, expected)
        outputs = outputs.data
    else:
        outputs, final = module(x, given)
    final = (final,) if isinstance(final, torch.Tensor) else tuple(final)
    generator = torch.Generator().manual_seed(1)
    loss = sum((torch.randn(v.shape, generator=generator).to(v) * v).mean() for v in (outputs, *final))
    module.zero_grad()
    loss.backward()
    return [outputs, *final, x.grad, *(() if state is None else (s.grad for s in state))]


def gradients_of_torch(module, recurrent):
    """By the names of Recurrent. Its bias is the sum of torch's two, and has the gradient of either."""
    gradients = {}
    for index in range(len(recurrent.layers)):
        suffix = f"l{index // recurrent.num_directions}" + "_reverse" * (index % recurrent.num_directions)
        kinds = {"weight_ih": "weight_ih", "weight_hh": "weight_hh"}
        if getattr(module, "proj_size", 0):
            kinds["weight_hr"] = "weight_hr"
        if recurrent.bias:
            kinds["bias"] = "bias_ih"
        for name, name_in_torch in kinds.items():
            gradients[f"layers.{index}.{name}"] = getattr(module, f"{name_in_torch}_{suffix}").grad
        if recurrent.bias and isinstance(module, nn.GRU):
            # torch's b_hn, inside the reset gate's product, is the cell's own bias.
            gradients[f"layers.{index}.own.bias_n"] = getattr(module, f"bias_hh_{suffix}").grad[-H:]
    return gradients


# torch warns once that its projected LSTM does not use oneDNN.
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("form", ["padded", "batch_first", "unbatched", *LENGTHS])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "nobias"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("kind", MODULES)
def test_equals_torch(kind, layers, bidirectional, bias, form):
    torch.manual_seed(0)
    module = MODULES[kind](
        F, H, layers, bias=bias, bidirectional=bidirectional, batch_first=form == "batch_first"
    )
    x = torch.randn({"batch_first": (B, T, F), "unbatched": (T, F)}.get(form, (T, B, F)))
    batch = () if form == "unbatched" else (B,)
    sizes = {"lstm": (H, H), "lstm-projected": (2, H)}.get(kind, (H,))
    state = [torch.randn(layers * (1 + bidirectional), *batch, size) for size in sizes]
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        module.to(dtype)
        recurrent = Recurrent.from_torch(module)
        for given in (None, tuple(s.to(dtype) for s in state)):
            result, expected_result = (results(m, x.to(dtype), form, given) for m in (recurrent, module))
            torch.testing.assert_close(result, expected_result, rtol=tolerance, atol=tolerance)
            gradients = {n: p.grad for n, p in recurrent.named_parameters() if p.requires_grad}
            expected = gradients_of_torch(module, recurrent)
            torch.testing.assert_close(gradients, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", MODULES)
def test_from_torch_keeps_the_settings(kind):
    module = MODULES[kind](F, H, 2, bias=False, batch_first=True, dropout=0.25, bidirectional=True)
    recurrent = Recurrent.from_torch(module.double(), engine="loop")
    for name in (
        "input_size",
        "hidden_size",
        "num_layers",
        "bias",
        "batch_first",
        "dropout",
        "bidirectional",
    ):
        assert getattr(recurrent, name) == getattr(module, name), name
    assert recurrent.engine == "loop"
    assert {p.dtype for p in recurrent.parameters()} == {torch.float64}


def test_from_torch_copies():
    module = nn.LSTM(F, H)
    recurrent = Recurrent.from_torch(module)
    before = recurrent.layers[0].weight_ih.clone()
    with torch.no_grad():
        module.weight_ih_l0.zero_()
    assert torch.equal(recurrent.layers[0].weight_ih, before)


def test_from_torch_stays_on_the_device():
    assert Recurrent.from_torch(nn.GRU(F, H, device="meta")).layers[0].weight_ih.is_meta


@pytest.mark.parametrize(
    "module",
    [nn.Linear(F, H), nn.LSTMCell(F, H)],
    ids=lambda module: type(module).__name__,
)
def test_modules_that_cannot_be_expressed(module):
    with pytest.raises(ValueError, match="cannot express") as error:
        Recurrent.from_torch(module)
    assert repr(module) in str(error.value)


@pytest.mark.parametrize(
    ("module", "settings"),
    [
        (nn.GRU(F, H), {}),
        (nn.LSTM(F + 1, H), {}),
        (nn.LSTM(F, H + 1), {}),
        (nn.LSTM(F, H, 2), {}),
        (nn.LSTM(F, H, bias=False), {}),
        (nn.LSTM(F, H), {"bias": False}),
        (nn.LSTM(F, H, bidirectional=True), {}),
        (nn.LSTM(F, H, proj_size=2), {}),
        (nn.LSTM(F, H), {"cell": ProjectedLSTM(2)}),
        (nn.LSTM(F, H, proj_size=2), {"cell": ProjectedLSTM(3)}),
        (nn.Linear(F, H), {}),
    ],
    ids=str,
)
def test_load_torch_names_both_sides_of_a_mismatch(module, settings):
    recurrent = Recurrent(F, H, **settings)
    with pytest.raises(ValueError, match="they differ") as error:
        recurrent.load_torch(module)
    assert repr(module) in str(error.value)
    assert recurrent.extra_repr() in str(error.value)
    assert f"bias={recurrent.bias}" in str(error.value)


def test_load_torch_checks_the_nonlinearity():
    relu = Recurrent.from_torch(nn.RNN(F, H, nonlinearity="relu"))
    with pytest.raises(ValueError, match="they differ"):
        relu.load_torch(nn.RNN(F, H, nonlinearity="tanh"))
