"""The contenders: torch.nn, every engine, and Keras and FlashRNN where they are installed.

All run the same sequences: they take a padded batch [T, B, I] (Keras [B, T, I]) and return padded outputs.
With ragged lengths, packing and padding count towards the time of torch.nn: its users have to do it, and
``Recurrent`` does it for them. Keras gets a mask; FlashRNN runs over the padding, where its outputs are then
made zero.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gatewise.bench.case import DTYPES, TORCH, TORCH_CELLS, Case
from gatewise.bench.flashrnn import FUNCTIONS, FlashRNN
from gatewise.engine import auto
from gatewise.nn import Recurrent

KERAS = "keras"
FLASHRNN = "flashrnn"
GRAPH = " graph"
"""Suffix for a step as a CUDA graph: what it costs without the CPU that starts its kernels."""
GRAPHED = (TORCH, "cuda", "auto")
"""The contenders that are measured as a CUDA graph, too."""
KERAS_LAYERS = {"LSTM": "LSTM", "GRU": "GRU", "RNN": "SimpleRNN"}
MOST_TRIALS = 60
"""Calls in which ``auto`` has to find out what is fastest on a GPU."""
BESIDE = "LSTM by "
"""Prefix for a plain LSTM that is measured beside a cell that torch lacks; the engine's name follows."""


class Contender(NamedTuple):
    """One layer and its sequences; calls of the first two functions are timed."""

    train: Callable[[], Any]
    """Computes the gradients of the sum of all outputs with respect to all weights."""
    infer: Callable[[], Any]
    """Computes the padded outputs, without a graph."""
    gradients: Callable[[], list[Tensor]] | None = None
    """The gradients that ``train`` has left, in :func:`expected`'s order; None where they are not seen."""

    def run(self, work: str) -> Callable[[], Any]:
        """The function for ``work``, training or inference."""
        return self.train if work == "training" else self.infer


def reference_of(cell: str) -> str:
    """The contender that the others are compared with: torch.nn, or the loop for a cell that torch lacks."""
    return TORCH if cell in TORCH_CELLS else "loop"


def names(cell: str, engines: list[str], others: Iterable[str] = (), graphs: bool = False) -> list[str]:
    """The contenders for a cell, the reference first.

    ``others`` are libraries to measure beside (Keras, FlashRNN), ``graphs`` whether there are CUDA graphs.
    """
    first = reference_of(cell)
    contenders = [first, *(name for name in engines if name != first)]
    if graphs:
        contenders += [name + GRAPH for name in contenders if name in GRAPHED]
    has = {KERAS: KERAS_LAYERS, FLASHRNN: FUNCTIONS}
    contenders += [name for name in others if cell in has[name]]
    if first != TORCH:
        contenders += [BESIDE + name for name in engines if name not in ("loop", "function")]
    return contenders


def may_fail(name: str) -> bool:
    """Whether the benchmark goes on without this contender where it fails."""
    return name in (KERAS, FLASHRNN) or name.endswith(GRAPH)


def keras_is_there() -> bool:
    """Whether Keras is installed; importing it takes seconds and is not done here."""
    return importlib.util.find_spec("keras") is not None


def contender(case: Case, name: str) -> Contender:
    """A layer with fresh weights, the same for all engines and torch.nn, and the case's sequences."""
    torch.manual_seed(0)
    if name.startswith(BESIDE):
        return contender(replace(case, cell="LSTM"), name.removeprefix(BESIDE))
    if name == KERAS:
        return _keras(case)
    x, lengths = case.sequences(), case.steps_of_each()
    if name.endswith(GRAPH):
        eager = _sorted(case, x, lengths) if name == TORCH + GRAPH else contender(case, name[: -len(GRAPH)])
        return Contender(_captured(eager.train), _captured(eager.infer))
    if name == TORCH:
        layer = _torch_layer(case)
        return _of_torch(layer, lambda: _padded(layer, x, lengths))
    if name == FLASHRNN:
        flash = FlashRNN(_torch_layer(case))
        padding = None if lengths is None else _is_padding(case, lengths)

        def outputs() -> Tensor:
            found: Tensor = flash(x)
            return found if padding is None else found.masked_fill(padding, 0)

        return _of_torch(flash, outputs)._replace(gradients=flash.torch_gradients)
    recurrent = _recurrent(case, name)
    made = _of_torch(recurrent, lambda: recurrent(x, lengths=lengths)[0])
    if name == "auto" and auto.chooses(torch.device(case.device)):
        _settle(case.device, made)
    return made


def _settle(device: str, made: Contender) -> None:
    """Let ``auto`` find out what is fastest, which is not what is measured."""
    for run in (made.train, made.infer):
        for _ in range(MOST_TRIALS):
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            if auto.settled(device):
                break


def expected(case: Case) -> tuple[Tensor, list[Tensor]]:
    """Outputs of the loop in float64 with every contender's weights, and the gradients of these weights."""
    torch.manual_seed(0)
    recurrent = deepcopy(_recurrent(case, "loop")).double()
    x, lengths = case.sequences().double(), case.steps_of_each()
    outputs: Tensor = recurrent(x, lengths=lengths)[0]
    outputs.sum().backward()
    return outputs.detach(), _gradients(recurrent)


def _recurrent(case: Case, name: Any) -> Recurrent:
    if case.cell in TORCH_CELLS:
        return Recurrent.from_torch(_torch_layer(case), engine=name)
    settings: Any = {"bidirectional": case.bidirectional, "cell": case.cell_type(), "engine": name}
    return Recurrent(case.size.inputs, case.size.hidden, **settings).to(case.device, DTYPES[case.dtype])


def _gradients(module: nn.Module) -> list[Tensor]:
    """Gradients of input and hidden weights and of the input's bias; of all others nothing is said."""
    named = [(name, weight.grad) for name, weight in module.named_parameters() if weight.grad is not None]
    # Gatewise's bias is ``bias``, which torch.nn has twice.
    kinds = (r"weight_ih", r"weight_hh", r"bias_ih|\.bias$")
    return [grad for kind in kinds for name, grad in named if re.search(kind, name)]


def _torch_layer(case: Case) -> nn.RNNBase:
    make = getattr(nn, case.cell)
    settings = {"bidirectional": case.bidirectional, "dtype": DTYPES[case.dtype], "device": case.device}
    layer = make(case.size.inputs, case.size.hidden, **settings)
    assert isinstance(layer, nn.RNNBase)
    return layer


def _padded(layer: nn.Module, x: Tensor, lengths: Tensor | None) -> Tensor:
    """Outputs of a torch.nn layer; with lengths it runs packed, the only way to leave out the padding."""
    if lengths is None:
        outputs: Tensor = layer(x)[0]
        return outputs
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    return pad_packed_sequence(layer(packed)[0], total_length=len(x))[0]


def _sorted(case: Case, x: Tensor, lengths: Tensor | None) -> Contender:
    """torch.nn without copies from the host, which a CUDA graph cannot hold: longest sequences first."""
    layer = _torch_layer(case)
    if lengths is None:
        return _of_torch(layer, lambda: _padded(layer, x, None))
    descending, order = lengths.sort(descending=True)
    order = order.to(x.device)
    back = order.argsort()

    def outputs() -> Tensor:
        packed = pack_padded_sequence(x.index_select(1, order), descending)
        return pad_packed_sequence(layer(packed)[0], total_length=len(x))[0].index_select(1, back)

    return _of_torch(layer, outputs)


def _is_padding(case: Case, lengths: Tensor) -> Tensor:
    """[T, B, 1]: whether a step is one of padding."""
    steps = torch.arange(case.size.steps, device=case.device)
    return steps[:, None, None] >= lengths.to(case.device)[:, None]


def _of_torch(module: nn.Module, outputs: Callable[[], Tensor]) -> Contender:
    def train() -> None:
        module.zero_grad()
        outputs().sum().backward()

    @torch.no_grad()
    def infer() -> Tensor:
        return outputs()

    return Contender(train, infer, lambda: _gradients(module))


def _captured(run: Callable[[], Any]) -> Callable[[], Any]:
    """The same work as a CUDA graph, captured at the first call."""
    replay: Callable[[], Any] | None = None

    def call() -> None:
        nonlocal replay
        if replay is None:
            # What allocates or tunes itself at first does so before, on another stream, as torch asks for.
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(3):
                    run()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                run()
            replay = graph.replay
        replay()

    return call


def _keras(case: Case) -> Contender:
    backend = os.environ.setdefault("KERAS_BACKEND", "torch")
    if backend not in ("torch", "jax"):
        raise ValueError(
            f"KERAS_BACKEND={backend}: Keras is measured on torch or jax; to leave it out, set keras=false"
        )
    if case.threads == 1:
        # JAX has no function for it; it reads this when it is first imported.
        os.environ.setdefault(
            "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        )
    import keras

    if backend == "jax":
        import jax

        if case.device == "cuda" and jax.default_backend() != "gpu":
            raise ValueError("this JAX has no GPU")
        jax.config.update("jax_enable_x64", case.dtype == "float64")
    layer = getattr(keras.layers, KERAS_LAYERS[case.cell])(
        case.size.hidden, return_sequences=True, dtype=str(DTYPES[case.dtype]).removeprefix("torch.")
    )
    if case.bidirectional:
        layer = keras.layers.Bidirectional(layer)
    x, lengths = case.sequences().transpose(0, 1).contiguous(), case.steps_of_each()
    layer.build(tuple(x.shape))
    mask = None if lengths is None else ~_is_padding(case, lengths)[..., 0].t()
    if backend == "torch":
        return _of_torch(layer, lambda: layer(x, mask=mask))._replace(gradients=None)
    return _of_jax(layer, x, mask)


def _of_jax(layer: Any, x: Tensor, mask: Tensor | None) -> Contender:
    import jax

    wide = x.float() if x.dtype.itemsize == 2 else x  # NumPy has no bfloat16
    rows = jax.numpy.asarray(wide.cpu().numpy()).astype(layer.compute_dtype)
    kept = None if mask is None else jax.numpy.asarray(mask.cpu().numpy())
    weights = [variable.value for variable in layer.trainable_variables]
    others = [variable.value for variable in layer.non_trainable_variables]

    def outputs(weights: Any, training: bool) -> Any:
        return layer.stateless_call(weights, others, rows, mask=kept, training=training)[0]

    gradients = jax.jit(jax.grad(lambda weights: outputs(weights, True).sum()))
    values = jax.jit(lambda weights: outputs(weights, False))
    return Contender(
        lambda: jax.block_until_ready(gradients(weights)), lambda: jax.block_until_ready(values(weights))
    )
