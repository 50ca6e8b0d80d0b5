"""What a step has to do at least: floating-point operations and bytes, counted from the sizes."""

from __future__ import annotations

from gatewise.bench.case import DTYPES, Case
from gatewise.nn import Recurrent


def operations(case: Case, work: str) -> float:
    """Floating-point operations of all matrix products.

    Each weight takes 2 per step, and in training 2 more for its gradient. The gradient of the hidden state
    adds 2 per step for its weights; the input needs no gradient.
    """
    matrices = _weights(case, matrices=True)
    all_weights = sum(matrices.values())
    return (
        2.0 * case.all_steps() * (all_weights if work == "inference" else 2 * all_weights + _inner(matrices))
    )


def bytes_moved(case: Case, work: str) -> int:
    """Bytes that have to be read or written at least once.

    Inference reads every weight and input and writes every output. Training reads inputs, outputs and the
    weights of the hidden state once more and writes a gradient for every weight. Gates and states kept for
    the way back are not counted, since they could be computed again; nor is padding.
    """
    weights, matrices = _weights(case), _weights(case, matrices=True)
    directions = 2 if case.bidirectional else 1
    sequences = case.all_steps() * (case.size.inputs + directions * case.size.hidden)
    numbers = sum(weights.values()) + sequences
    if work == "training":
        numbers += sequences + _inner(matrices) + sum(weights.values())
    return numbers * DTYPES[case.dtype].itemsize


def _weights(case: Case, matrices: bool = False) -> dict[str, int]:
    """How many numbers each weight has; ``matrices`` leaves out biases and the like."""
    layer = Recurrent(
        case.size.inputs, case.size.hidden, bidirectional=case.bidirectional, cell=case.cell_type()
    )
    named = layer.named_parameters()
    return {name: weight.numel() for name, weight in named if weight.dim() == 2 or not matrices}


def _inner(matrices: dict[str, int]) -> int:
    """Numbers in the weights of the hidden state."""
    return sum(count for name, count in matrices.items() if not name.endswith("weight_ih"))
