"""The steps of a run's own data: what its units do at them, and what these steps are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewise.data.module import BatchDataset, SequenceDataModule
from gatewise.inspection.limits import rows_within
from gatewise.inspection.passes import gates_and_states
from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.series import WindowBatch
from gatewise.kinds.text import TextBatch
from gatewise.tasks.inspected import Inspected

MOST_STEPS = 30_000
MOST_NUMBERS = 40_000_000
"""Of all arrays that are traced."""
MOST_SEQUENCES = 1_000
"""Of which ten thousand orders are tried for every label: more would take hundreds of megabytes each."""
SEQUENCES_AT_ONCE = 64


@dataclass
class OwnSteps:
    """N steps of several sequences, laid end to end without padding."""

    part: str
    """What was sampled, in words."""
    step: str = "token"
    lengths: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    units: list[list[NDArray[Any]]] = field(default_factory=list)
    """A state, [D, n, H] of each layer, by sequence."""
    features: list[NDArray[Any]] = field(default_factory=list)
    """[n, F] by sequence."""
    feature_names: list[str] = field(default_factory=list)


def sample(
    data: SequenceDataModule, inspect: Callable[[Input], Inspected], state: str, seed: int = 0
) -> OwnSteps:
    """A state after every step of a sample of a run's validation part, and the features of these steps.

    ``inspect`` is the task's; sequences are drawn with ``seed``, windows of a series so that none overlap.
    Raises ValueError where there is no step, or the task names no feature.
    """
    found = OwnSteps("the validation part of its own data")
    room = MOST_STEPS
    for numbers, batch in _batches(data, seed):
        inspected = inspect(Input(batch, ""))
        if not inspected.features:
            raise ValueError("the task names no features of its steps")
        if not found.lengths:
            room = min(room, _most_steps(inspected))
            found.step, found.feature_names = inspected.step, list(inspected.features)
        left = room - sum(found.lengths)
        _add(found, inspected, state, left, numbers)
        if sum(found.lengths) >= room:
            break
    if not found.lengths:
        raise ValueError("the validation part of the run's own data has no step")
    return found


def _batches(data: SequenceDataModule, seed: int) -> Iterator[tuple[Sequence[int], Any]]:
    """Batches, each with the numbers of its sequences in the validation part, from 1 on."""
    dataset = getattr(data, "validation_data", None)
    if not isinstance(dataset, BatchDataset):
        first_row = 1
        for batch in _lanes(list(data.val_dataloader())):
            yield range(first_row, first_row + len(batch[0])), batch
            first_row += len(batch[0])
        return
    first = dataset[[0]]
    apart = first.inputs.shape[1] if isinstance(first, WindowBatch) else 1
    every = np.random.default_rng(seed).permutation(np.arange(0, len(dataset), apart))
    order = every[:MOST_SEQUENCES].tolist()
    for start in range(0, len(order), SEQUENCES_AT_ONCE):
        chosen = order[start : start + SEQUENCES_AT_ONCE]
        yield [index + 1 for index in chosen], dataset[chosen]


def _lanes(batches: Sequence[Any]) -> Sequence[Any]:
    """The windows of running text put together again, one long row for each lane."""
    if not batches or not isinstance(batches[0], TextBatch):
        return batches
    tokens = torch.cat([batch.tokens for batch in batches], 1)
    targets = torch.cat([batch.targets for batch in batches], 1)
    # The last lane ends earlier than the others, and a lane may have nothing.
    known = (targets != IGNORED).sum(1)
    whole = known > tokens.shape[1] // 2
    steps = int(known[whole].min()) if bool(whole.any()) else 0
    return [TextBatch(tokens[whole, :steps], targets[whole, :steps])] if steps else []


def _most_steps(inspected: Inspected) -> int:
    encoder = inspected.encoder
    arrays = len(encoder.cell.gates) + 3 * len(encoder.cell.states)
    numbers = sum(inspected.sizes) * encoder.num_directions * arrays
    return max(1, min(MOST_NUMBERS // numbers, rows_within(inspected, 1)))


def _add(found: OwnSteps, inspected: Inspected, state: str, room: int, numbers: Sequence[int]) -> None:
    """Add whole sequences of a batch while there is room; running text is cut, each lane alike."""
    lengths = inspected.lengths
    if inspected.at_every_step:
        lengths = lengths.clamp(max=max(1, room // len(lengths)))
    count = max(1, int((lengths.cumsum(0) <= room).sum()))
    lengths = lengths[:count].clamp(max=room)
    rows: Tensor = inspected.inputs[:count, : int(lengths.max())]
    layers = [layer.float().numpy() for layer in gates_and_states(inspected, rows, lengths)[state]]
    for row, length in enumerate(lengths.tolist()):
        found.lengths.append(length)
        found.units.append([layer[:, row, :length] for layer in layers])
        found.features.append(
            np.stack([feature[row, :length] for feature in inspected.features.values()], axis=1)
        )
        names = inspected.names[row][:length]
        place = "" if inspected.step == "token" else f"sequence {numbers[row]}, {inspected.step} "
        found.names += [f"{place}{name}" for name in names]
