"""The contenders: torch.nn, every engine, and Keras where it is installed, each on the same sequences.

All take a padded batch [T, B, I] (Keras [B, T, I]) and return padded outputs. With ragged lengths, packing
and padding count towards the time of torch.nn: its users have to do it, and ``Recurrent`` does it for them.
Keras gets a mask.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gatewise.bench.case import DTYPES, TORCH, TORCH_CELLS, Case
from gatewise.nn import Recurrent

KERAS = "keras"
GRAPH = "torch.nn graph"
"""torch.nn's step as a CUDA graph: what it costs without the CPU that starts its kernels."""
KERAS_LAYERS = {"LSTM": "LSTM", "GRU": "GRU", "RNN": "SimpleRNN"}
BESIDE = "LSTM by "
"""Prefix for a plain LSTM that is measured beside a cell that torch lacks; the engine's name follows."""


class Contender(NamedTuple):
    """One layer and its sequences; calls of these two functions are timed."""

    train: Callable[[], Any]
    """Computes the gradients of the sum of all outputs with respect to all weights."""
    infer: Callable[[], Any]
    """Computes the padded outputs, without a graph."""

    def run(self, work: str) -> Callable[[], Any]:
        """The function for ``work``, training or inference."""
        return self.train if work == "training" else self.infer


def reference_of(cell: str) -> str:
    """The contender that the others are compared with: torch.nn, or the loop for a cell that torch lacks."""
    return TORCH if cell in TORCH_CELLS else "loop"


def names(cell: str, engines: list[str], keras: bool, graph: bool = False) -> list[str]:
    """The contenders for a cell, the reference first; ``graph`` whether torch.nn is one as a CUDA graph."""
    first = reference_of(cell)
    contenders = [first, *(name for name in engines if name != first)]
    if graph and cell in TORCH_CELLS:
        contenders.append(GRAPH)
    if keras and cell in KERAS_LAYERS:
        contenders.append(KERAS)
    if first != TORCH:
        contenders += [BESIDE + name for name in engines if name not in ("loop", "function")]
    return contenders


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
    if name in (TORCH, GRAPH):
        layer = _torch_layer(case)
        plain = _of_torch(layer, lambda: _padded(layer, x, lengths))
        return plain if name == TORCH else Contender(_captured(plain.train), _captured(plain.infer))
    if case.cell in TORCH_CELLS:
        engine: Any = name
        recurrent = Recurrent.from_torch(_torch_layer(case), engine=engine)
    else:
        sizes = case.size.inputs, case.size.hidden
        settings: Any = {"bidirectional": case.bidirectional, "cell": case.cell_type(), "engine": name}
        recurrent = Recurrent(*sizes, **settings).to(case.device, DTYPES[case.dtype])
    return _of_torch(recurrent, lambda: recurrent(x, lengths=lengths)[0])


def operations(case: Case, work: str) -> float:
    """Floating-point operations of all matrix products.

    Each weight takes 2 per step, and in training 2 more for its gradient. The gradient of the hidden state
    adds 2 per step for its weights; the input needs no gradient.
    """
    layer = Recurrent(
        case.size.inputs, case.size.hidden, bidirectional=case.bidirectional, cell=case.cell_type()
    )
    matrices = {name: weight.numel() for name, weight in layer.named_parameters() if weight.dim() == 2}
    all_weights = sum(matrices.values())
    inner = sum(count for name, count in matrices.items() if not name.endswith("weight_ih"))
    return 2.0 * case.all_steps() * (all_weights if work == "inference" else 2 * all_weights + inner)


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


def _of_torch(module: nn.Module, outputs: Callable[[], Tensor]) -> Contender:
    def train() -> None:
        module.zero_grad()
        outputs().sum().backward()

    @torch.no_grad()
    def infer() -> Tensor:
        return outputs()

    return Contender(train, infer)


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

        jax.config.update("jax_enable_x64", case.dtype == "float64")
    layer = getattr(keras.layers, KERAS_LAYERS[case.cell])(
        case.size.hidden, return_sequences=True, dtype=case.dtype
    )
    if case.bidirectional:
        layer = keras.layers.Bidirectional(layer)
    x, lengths = case.sequences().transpose(0, 1).contiguous(), case.steps_of_each()
    layer.build(tuple(x.shape))
    mask = None if lengths is None else torch.arange(case.size.steps) < lengths[:, None]
    if backend == "torch":
        return _of_torch(layer, lambda: layer(x, mask=mask))
    return _of_jax(layer, x, mask)


def _of_jax(layer: Any, x: Tensor, mask: Tensor | None) -> Contender:
    import jax

    rows = jax.numpy.asarray(x.numpy())
    kept = None if mask is None else jax.numpy.asarray(mask.numpy())
    weights = [variable.value for variable in layer.trainable_variables]
    others = [variable.value for variable in layer.non_trainable_variables]

    def outputs(weights: Any, training: bool) -> Any:
        return layer.stateless_call(weights, others, rows, mask=kept, training=training)[0]

    gradients = jax.jit(jax.grad(lambda weights: outputs(weights, True).sum()))
    values = jax.jit(lambda weights: outputs(weights, False))
    return Contender(
        lambda: jax.block_until_ready(gradients(weights)), lambda: jax.block_until_ready(values(weights))
    )
