"""The installed torch has every private name that Gatewise uses, and each does what is expected of it."""

import re
from pathlib import Path

import pytest
import torch

import gatewise
from gatewise.engine import torch_internals

SOURCES = sorted(Path(gatewise.__file__).parent.rglob("*.py"))
NAMES = {
    "torch._C._autograd._get_current_graph_task_keep_graph": lambda: (
        torch._C._autograd._get_current_graph_task_keep_graph
    ),
    "torch._C._are_functorch_transforms_active": lambda: torch._C._are_functorch_transforms_active,
    "torch._C._functorch.get_interpreter_stack": torch_internals.torch_func_transforms,
    "torch.utils._python_dispatch.is_in_torch_dispatch_mode": torch_internals.in_dispatch_mode,
    "torch.fx.experimental.proxy_tensor.make_fx": torch_internals.make_fx,
    "torch._decomp.core_aten_decompositions and get_decompositions": lambda: torch_internals.decompositions(
        []
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_torch_has_the_name(name):
    try:
        NAMES[name]()
    except (AttributeError, ImportError) as error:
        pytest.fail(f"torch {torch.__version__} lacks {name} ({error})", pytrace=False)


def test_transforms_of_torch_func_are_noticed():
    noticed = []

    def square(x):
        noticed.append(torch_internals.in_torch_func())
        return x * x

    square(torch.ones(2))
    torch.func.vmap(square)(torch.ones(2))
    torch.func.grad(square)(torch.ones(()))
    assert noticed == [False, True, True]


@pytest.mark.parametrize("kept", [False, True])
def test_a_backward_pass_that_keeps_its_graph_is_noticed(kept):
    noticed = []

    class Same(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):  # noqa: ARG004
            return x.clone()

        @staticmethod
        def backward(ctx, grad):  # noqa: ARG004
            noticed.append(torch_internals.graph_is_kept())
            return grad

    Same.apply(torch.ones((), requires_grad=True)).backward(retain_graph=kept)
    assert noticed == [kept]


def test_transforms_of_torch_func_have_names():
    noticed = []

    def square(x):
        noticed.append(torch_internals.torch_func_transforms())
        return (x * x).sum()

    square(torch.ones(2))
    torch.func.vmap(torch.func.grad(square))(torch.ones(2))
    torch.func.jvp(torch.func.functionalize(square), (torch.ones(2),), (torch.ones(2),))
    assert noticed == [(), ("Vmap", "Grad"), ("Jvp", "Functionalize")]


def test_modes_that_record_operations_are_noticed():
    def square(x):
        noticed.append(torch_internals.in_dispatch_mode())
        return x * x

    noticed = []
    square(torch.ones(2))
    torch_internals.make_fx()(square)(torch.ones(2))
    with torch_internals.watching(lambda operation: None):  # noqa: ARG005
        torch.func.vmap(square)(torch.ones(2))
    assert noticed == [False, True, True]


# Dynamo reads every attribute of a tensor.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_compiled_code_is_noticed():
    torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1))
    assert torch_internals.dynamo_is_loaded()


def test_layer_norm_is_taken_apart():
    operator = torch.ops.aten.native_layer_norm_backward
    assert operator.default in torch_internals.decompositions([operator])


def test_private_names_of_torch_are_in_one_file():
    private = re.compile(r"\btorch(\.\w+)*\.(_[A-Za-z]\w*|experimental)\b")
    users = {path.name for path in SOURCES if private.search(path.read_text(encoding="utf-8"))}
    assert users == {"torch_internals.py"}
