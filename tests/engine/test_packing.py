"""The packed layout: its order, its inverse, its errors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence

from gatewise.engine.packing import Packing, step_slices


@st.composite
def batches(draw):
    time, batch = draw(st.integers(0, 6)), draw(st.integers(0, 6))
    lengths = draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch))
    return torch.arange(1, time * batch * 2 + 1).view(time, batch, 2), torch.tensor(
        lengths, dtype=torch.int64
    )


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(batches())
def test_unpack_undoes_pack_and_zeroes_the_padding(batch):
    padded, lengths = batch
    packing = Packing.of(lengths, *padded.shape[:2])
    packed = packing.pack(padded)
    real = torch.arange(len(padded))[:, None] < lengths
    assert packed.shape == (int(lengths.sum()), 2)
    assert torch.equal(packing.unpack(packed), padded * real[..., None])
    assert torch.equal(packing.pack(packing.unpack(packed)), packed)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(batches())
def test_rows_name_the_sorted_sequence_and_sort_is_undone(batch):
    padded, lengths = batch
    packing = Packing.of(lengths, *padded.shape[:2])
    sequences = torch.arange(padded.shape[1])
    packed = packing.pack(sequences.expand(padded.shape[:2]))
    assert torch.equal(packed, packing.sort(sequences, 0)[packing.rows])
    assert torch.equal(packing.unsort(packing.sort(padded, 1), 1), padded)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(batches().filter(lambda batch: len(batch[1]) and batch[1].min() > 0))
def test_layout_is_torch_packed_sequence(batch):
    """torch does not take sequences of length 0, and its sorting does not keep ties in order."""
    padded, lengths = batch
    lengths = lengths.sort(descending=True).values
    expected = pack_padded_sequence(padded, lengths)
    packing = Packing.of(lengths, *padded.shape[:2])
    assert packing.batch_sizes == tuple(expected.batch_sizes.tolist())
    assert torch.equal(packing.pack(padded), expected.data)


def test_rows_are_sorted_by_time_then_falling_length_with_ties_in_order():
    # Sequences a b c d of lengths 1 3 0 3: sorted b d a c.
    padded = torch.tensor([[10, 20, 30, 40], [11, 21, 31, 41], [12, 22, 32, 42]])[..., None]
    packing = Packing.of(torch.tensor([1, 3, 0, 3]), 3, 4)
    assert packing.batch_sizes == (3, 2, 2)
    assert packing.order.tolist() == [1, 3, 0, 2]
    assert packing.rows.tolist() == [0, 1, 2, 0, 1, 0, 1]
    assert packing.pack(padded)[:, 0].tolist() == [20, 40, 10, 21, 41, 22, 42]


def test_a_full_batch_is_not_copied():
    padded = torch.zeros(3, 2, 4)
    packing = Packing.of(torch.tensor([3, 3]), 3, 2)
    assert packing == Packing.full(3, 2)
    assert packing.pack(padded).data_ptr() == padded.data_ptr()


def test_lengths_may_be_on_another_device_than_the_data():
    """torch wants them on the CPU, also for data on an accelerator; "meta" stands in for one."""
    packing = Packing.of(torch.tensor([1, 2]), 2, 2, torch.device("meta"))
    packed = packing.pack(torch.empty(2, 2, 5, device="meta"))
    assert packed.shape == (3, 5)
    assert packing.unpack(packed).shape == (2, 2, 5)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int64])
def test_lengths_of_every_whole_dtype(dtype):
    assert Packing.of(torch.tensor([1, 2], dtype=dtype), 2, 2).batch_sizes == (2, 1)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([2, -1, 3], r"lengths must lie in 0 … 4 \(the batch's time steps\), got -1"),
        ([2, 5, 3], r"lengths must lie in 0 … 4 \(the batch's time steps\), got 5"),
        ([2, 3], r"one number per sequence, 3; got \(2,\)"),
        ([[2], [3], [4]], r"one number per sequence, 3; got \(3, 1\)"),
        ([2.0, 3.0, 4.0], r"lengths must be whole numbers, got torch.float32"),
        ([True, True, False], r"lengths must be whole numbers, got torch.bool"),
    ],
)
def test_lengths_that_cannot_be(lengths, message):
    with pytest.raises(ValueError, match=message):
        Packing.of(torch.tensor(lengths), 4, 3)


@pytest.mark.parametrize(
    ("sizes", "reverse", "steps"),
    [
        ((3, 1), False, [(slice(0, 3), 3), (slice(3, 4), 1)]),
        ((3, 1), True, [(slice(3, 4), 1), (slice(0, 3), 3)]),
        ((), False, [(slice(0, 0), 0)]),
    ],
)
def test_step_slices(sizes, reverse, steps):
    assert step_slices(sizes, reverse) == steps
