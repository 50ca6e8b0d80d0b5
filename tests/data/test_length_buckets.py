"""Batches by length: every example once, the limits kept, the same number in every epoch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewise.data.buckets import LengthBuckets

cases = given(
    lengths=st.lists(st.integers(1, 60), min_size=3, max_size=400),
    batch_size=st.integers(3, 40),
    batch_tokens=st.none() | st.integers(60, 500),
    world_size=st.integers(1, 3),
    shuffle=st.booleans(),
    epoch=st.integers(0, 3),
)


def samplers(lengths, batch_size, batch_tokens, world_size, shuffle, epoch, seed=5):
    values = np.array(lengths, dtype=np.int64)
    return [
        LengthBuckets(values, batch_size, batch_tokens, shuffle, seed, rank, world_size, lambda: epoch)
        for rank in range(world_size)
    ]


@cases
def test_every_example_comes_once_and_limits_are_kept(
    lengths, batch_size, batch_tokens, world_size, shuffle, epoch
):
    made = samplers(lengths, batch_size, batch_tokens, world_size, shuffle, epoch)
    shares = [list(sampler) for sampler in made]
    assert [len(share) for share in shares] == [len(sampler) for sampler in made]
    if shuffle:
        assert len({len(share) for share in shares}) == 1, "a process would wait for the others"
    seen = []
    for index in range(max(map(len, shares))):
        batch = [i for share in shares if index < len(share) for i in share[index]]
        longest = max(lengths[i] for i in batch)
        if len(batch) > world_size:
            assert len(batch) <= batch_size
            assert batch_tokens is None or len(batch) * longest <= batch_tokens
        seen += sorted(set(batch))
    assert sorted(seen) == list(range(len(lengths)))


@cases
def test_epochs_have_as_many_batches_and_can_be_resumed(
    lengths, batch_size, batch_tokens, world_size, shuffle, epoch
):
    settings = (lengths, batch_size, batch_tokens, world_size, shuffle)
    for sampler, other in zip(samplers(*settings, epoch), samplers(*settings, epoch + 1), strict=True):
        whole = list(sampler)
        assert len(whole) == len(list(other))
        sampler.start = len(whole) // 2
        assert list(sampler) == whole[len(whole) // 2 :]
        assert list(sampler) == whole


def test_little_is_padding_and_epochs_differ():
    lengths = np.random.default_rng(0).integers(1, 60, 5000)
    first, second = (LengthBuckets(lengths, 50, None, True, 1, epoch=lambda e=e: e) for e in (0, 1))
    batches = list(first)
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert lengths.sum() / padded > 0.8
    assert [sorted(b) for b in batches] != [sorted(b) for b in second]
    # Not from short to long: the order of the batches is drawn as well.
    longest = [lengths[batch].max() for batch in batches]
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.3


def test_too_few_for_the_processes():
    with pytest.raises(ValueError, match=r"data\.batch_size=2 is shared by 3 processes"):
        LengthBuckets(np.array([1, 2, 3]), 2, None, True, 0, 0, 3)
    with pytest.raises(ValueError, match="2 example"):
        LengthBuckets(np.array([1, 2]), 4, None, False, 0, 0, 3)
