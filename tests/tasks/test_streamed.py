"""Frames as they come are read as all of them at once."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.kinds.kind import Input
from gatewise.kinds.sound import SpokenFacts
from gatewise.kinds.transcripts import TranscribedBatch
from gatewise.nn import Recurrent
from gatewise.tasks.recognition import Recognition

FACTS = SpokenFacts(
    feature_size=3, units=("one", "two", "oh"), joiner=" ", mean=(0.0,) * 3, std=(1.0,) * 3, sample_rate=8000,
    channel="mean", features="log_mel", bins=3, coefficients=3, frame_ms=25.0, shift_ms=10.0, low_hz=20.0,
    high_hz=4000.0, deltas=0, normalise="training",
)  # fmt: skip


def make_task(bidirectional: bool = False, **changes: Any) -> Recognition:
    torch.manual_seed(1)
    model = partial(Recurrent, hidden_size=8, bidirectional=bidirectional, engine="function")
    task = Recognition(model, FACTS, **changes).eval()
    with torch.no_grad():
        task.head.weight.mul_(8)  # else every step would be about the same
    return task


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    beam=st.sampled_from([1, 3]),
    stack=st.integers(1, 3),
    sizes=st.lists(st.integers(0, 7), min_size=1, max_size=8),
)
def test_the_result_is_that_of_the_whole(seed: int, beam: int, stack: int, sizes: list[int]) -> None:
    length = sum(sizes) + 1
    frames = torch.randn(length, 3, generator=torch.Generator().manual_seed(seed))
    task = make_task(beam=beam, stack=stack)
    stream = task.streamed()
    read = [unit for piece in frames.split([*sizes, 1]) for unit in stream.accept(piece)] + stream.end()
    empty = torch.zeros(1, 0, dtype=torch.long)
    batch = TranscribedBatch(frames.unsqueeze(0), torch.tensor([length]), empty, torch.tensor([-1]))
    whole = task.answer(Input(batch, "mine")).table["transcript"][0]
    assert "".join(unit.text for unit in read) == whole
    assert [unit.frame % stack for unit in read] == [0] * len(read)
    assert sorted(unit.frame for unit in read) == [unit.frame for unit in read]


def test_labels_do_not_wait_for_the_end() -> None:
    task = make_task(beam=3)
    stream = task.streamed()
    frames = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    early = stream.accept(frames)
    assert len(early) > 20
    assert len(stream.end()) < 5
    assert len(stream._decoder._search.parents) == 0, "what is certain is forgotten"


def test_a_model_that_reads_from_both_ends_says_why_it_cannot() -> None:
    with pytest.raises(ValueError, match=r"reads from both ends .*first unit depends on the last frame"):
        make_task(bidirectional=True).streamed()
