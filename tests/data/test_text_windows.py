"""Windows of text: of random length, whole ones alone, and of an evaluation that is exact."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gatewise.data.text import LanguageText
from gatewise.data.text.lanes import Lanes, OneLane
from gatewise.data.text.random_windows import RandomWindows
from gatewise.kinds.kind import IGNORED


def pairs_in(dataset):
    """(token, target) of everything that is counted, in order of rows and steps."""
    batches = list(dataset)
    tokens, targets = (torch.cat([batch[i] for batch in batches], 1) for i in (0, 1))
    return list(zip(tokens[targets != IGNORED].tolist(), targets[targets != IGNORED].tolist(), strict=True))


@given(
    size=st.integers(3, 90),
    lanes=st.integers(1, 4),
    window=st.integers(1, 9),
    warmup=st.integers(0, 12),
    world_size=st.integers(1, 3),
)
def test_lanes_that_warm_up_count_every_pair_once(size, lanes, window, warmup, world_size):
    warmup = min(warmup, size - 2)
    lanes *= world_size
    found = []
    for rank in range(world_size):
        dataset = Lanes(torch.arange(size), lanes, window, rank, world_size, warmup)
        found += pairs_in(dataset)
        for row, (tokens, targets) in enumerate(zip(*dataset[0 : dataset.length][:2], strict=True)):
            counted = (targets != IGNORED).nonzero()[:, 0].tolist()
            if counted:
                assert counted[0] == (0 if rank == 0 and row == 0 else warmup)
                # Ids count up, so this lane reads the text as it runs, from before what it counts.
                assert tokens[: counted[-1] + 1].diff().eq(1).all()
    assert sorted(found) == [(i, i + 1) for i in range(size - 1)]


@given(size=st.integers(2, 60), window=st.integers(1, 9), world_size=st.integers(1, 5))
def test_one_lane_is_read_from_its_start_by_every_process(size, window, world_size):
    shares = [OneLane(torch.arange(size), window, rank, world_size) for rank in range(world_size)]
    assert [pair for share in shares for pair in pairs_in(share)] == [(i, i + 1) for i in range(size - 1)]
    for share in shares:
        assert share[0 : share.length].tokens.tolist() == [list(range(size - 1))]
    assert len({len(share) for share in shares}) == 1


def test_whole_windows_are_those_of_the_published_recipes():
    """As Zaremba's data.lua and main.lua count: rows of floor(N / lanes) tokens, windows of 20 steps."""
    size, lanes, window = 929_589, 20, 20  # Penn Treebank
    dataset = Lanes(torch.arange(size), lanes, window, whole=True)
    rows = np.arange(size)[: size // lanes * lanes].reshape(lanes, -1)
    count = (rows.shape[1] - 1) // window
    assert len(dataset) == count == 2323
    for index in (0, 1, count - 1):
        steps = slice(index * window, (index + 1) * window)
        assert (dataset[index].tokens.numpy() == rows[:, steps]).all()
        assert (dataset[index].targets.numpy() == rows[:, steps.start + 1 : steps.stop + 1]).all()


def test_too_little_text_for_a_whole_window():
    with pytest.raises(ValueError, match=r"50 tokens do not fill one window of 30 steps in 2 lanes: give"):
        Lanes(torch.arange(50), 2, 30, whole=True)


def lengths_of(sampler):
    return [steps.stop - steps.start for steps in sampler]


@given(length=st.integers(1, 4000), window=st.integers(20, 90), seed=st.integers(0, 9))
def test_random_windows_read_every_step_once(length, window, seed):
    sampler = RandomWindows(length, window, seed)
    cuts = list(sampler)
    assert len(cuts) == len(sampler)
    assert cuts[0].start == 0
    assert cuts[-1].stop == length
    assert all(a.stop == b.start for a, b in itertools.pairwise(cuts))
    assert min(lengths_of(sampler)) > 0


def test_random_windows_are_of_the_lengths_that_merity_draws():
    length, window = 700_000, 70
    lengths = np.array(lengths_of(RandomWindows(length, window, 1)))
    # A normal distribution around 70, and of one in twenty around 35: 10,256 windows.
    short = lengths < 52.5
    assert short.mean() == pytest.approx(0.05, abs=5 * np.sqrt(0.05 * 0.95 / len(lengths)))
    for part, centre in ((lengths[short], 35), (lengths[~short], 70)):
        assert part.mean() == pytest.approx(centre - 0.5, abs=1)  # cut to whole steps
        assert part.std() == pytest.approx(5, rel=0.15)
    assert len(lengths) == round(length / 68.25)


def test_random_windows_follow_seed_and_epoch_and_resume():
    epoch = [0]
    sampler = RandomWindows(5000, 70, 3, lambda: epoch[0])
    first = list(sampler)
    epoch[0] = 1
    second = list(sampler)
    assert second != first
    sampler.start = 11
    assert list(sampler) == second[11:]
    assert list(sampler) == second  # of the next pass all
    epoch[0] = 0
    assert list(sampler) == first
    assert list(RandomWindows(5000, 70, 4)) != first


def make(tmp_path, text="one two three four\n" * 300, **settings):
    (tmp_path / "a.txt").write_text(text)
    module = LanguageText(files=["a.txt"], folders=[tmp_path], batch_size=4, **settings)
    module.setup()
    return module


def test_random_windows_of_a_data_module(tmp_path):
    module = make(tmp_path, random_window=True, window=20)
    loader = module.train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader) == 17  # 337 steps in four lanes, of 19.5 in the mean
    assert len({batch.tokens.shape[1] for batch in batches}) > 5
    fixed = list(make(tmp_path, window=20).train_dataloader())
    for index in (0, 1):
        ours, theirs = (torch.cat([batch[index] for batch in each], 1) for each in (batches, fixed))
        assert torch.equal(ours, theirs)


def test_random_windows_need_room():
    with pytest.raises(ValueError, match=r"random_window draws lengths around window=19 .*make window 20"):
        LanguageText(files=["a.txt"], random_window=True, window=19)


def test_evaluation_is_of_one_lane_unless_asked_otherwise(tmp_path):
    module = make(tmp_path, test_fraction=0.3)
    batches = list(module.test_dataloader())
    assert torch.equal(torch.cat([batch.tokens for batch in batches], 1)[0], module.test_ids[:-1])
    assert torch.equal(torch.cat([batch.targets for batch in batches], 1)[0], module.test_ids[1:])
    assert batches[0].tokens.shape == (1, 350)
    several = make(tmp_path, test_fraction=0.3, evaluation_lanes=3, evaluation_warmup=50)
    assert next(iter(several.test_dataloader())).tokens.shape == (3, 350 // 3)
    # Where they would read more than the text has, one lane reads it.
    much = make(tmp_path, test_fraction=0.3, evaluation_lanes=3, evaluation_warmup=500)
    assert next(iter(much.test_dataloader())).tokens.shape == (1, 350)
