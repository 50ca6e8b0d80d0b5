"""The sampler, and what every DataModule has in common."""

import json

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st

from gatewise.data.module import EpochBatches
from gatewise.data.sequences import FeatureSequences
from gatewise.data.series import SeriesWindows
from gatewise.data.text import LanguageText
from gatewise.kinds.reading import facts_from_dict
from gatewise.kinds.sequences import FeatureFacts

SHARES = {
    "size": st.integers(1, 60),
    "batch_size": st.integers(1, 20),
    "world_size": st.integers(1, 5),
    "seed": st.integers(0, 9),
}


def _epoch(size, batch_size, shuffle, seed, world_size, epoch=0):
    """Per process, the index lists of one epoch."""
    lists = []
    for rank in range(world_size):
        sampler = EpochBatches(size, batch_size, shuffle, seed, rank, world_size, lambda: epoch)
        lists.append(list(sampler))
        assert len(sampler) == len(lists[-1])
    return lists


@given(**SHARES)
def test_unshuffled_examples_come_exactly_once_over_all_processes(size, batch_size, world_size, seed):
    size += world_size
    lists = _epoch(size, batch_size + world_size, False, seed, world_size)
    assert sorted(i for batches in lists for batch in batches for i in batch) == list(range(size))


@given(**SHARES)
def test_shuffled_processes_take_equally_many_steps_and_miss_no_example(size, batch_size, world_size, seed):
    batch_size += world_size
    lists = _epoch(size, batch_size, True, seed, world_size)
    assert {len(batches) for batches in lists} == {-(-size // batch_size)}
    assert {i for batches in lists for batch in batches for i in batch} == set(range(size))
    assert all(batch for batches in lists for batch in batches)


def test_order_is_a_function_of_seed_and_epoch():
    first = _epoch(50, 8, True, 3, 1, epoch=2)
    assert first == _epoch(50, 8, True, 3, 1, epoch=2)
    assert first != _epoch(50, 8, True, 3, 1, epoch=1)
    assert first != _epoch(50, 8, True, 4, 1, epoch=2)


@given(**SHARES)
def test_one_process_sees_what_several_see_together(size, batch_size, world_size, seed):
    batch_size += world_size
    together = zip(*_epoch(size, batch_size, True, seed, world_size), strict=True)
    for whole, shares in zip(_epoch(size, batch_size, True, seed, 1)[0], together, strict=True):
        assert set(whole) == {i for share in shares for i in share}
        # With fewer examples left than processes some come twice; with one, as often as any other.
        assert len(whole) in (1, sum(len(share) for share in shares)) or len(whole) < world_size


class _Recorder(pl.LightningModule):
    """Notes the targets of every training batch and learns nothing."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = {}

    def training_step(self, batch, _):
        self.seen.setdefault(self.current_epoch, []).append(tuple(batch.inputs.sum((1, 2)).tolist()))
        return self.weight * batch.inputs.sum()

    def validation_step(self, batch, _):
        """Nothing to learn from; the DataModule has validation batches."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.filterwarnings("ignore:.*num_workers.*")
@pytest.mark.filterwarnings("ignore:.*logging interval.*")
def test_lightning_gives_every_epoch_an_order_of_its_own(speakers):
    data = FeatureSequences(**speakers, batch_size=32, seed=1)
    recorder = _Recorder()
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data.setup()
    trainer.fit(recorder, datamodule=data)
    first, second = ([value for batch in recorder.seen[epoch] for value in batch] for epoch in (0, 1))
    assert first != second
    assert sorted(first) == pytest.approx(sorted(second), rel=1e-4)  # padding changes how a sum rounds


def _modules(speakers):
    return {
        "features": FeatureSequences(**speakers, neighbours=False),
        "series": SeriesWindows(dataset="sunspots_monthly", lookback=24, horizon=12),
        "text": LanguageText(corpus="king_james", max_tokens=20_000, tokenizer="word"),
    }


@pytest.mark.parametrize("kind", ["features", "series", "text"])
def test_facts_survive_json_and_give_the_same_data_again(kind, speakers):
    first = _modules(speakers)[kind]
    first.setup()
    facts = facts_from_dict(json.loads(json.dumps(first.facts.to_dict())))
    assert facts == first.facts
    again = _modules(speakers)[kind]
    again.facts = facts
    again.setup()
    assert again.facts is facts
    assert again.describe() == first.describe()
    for ours, theirs in zip(
        next(iter(first.test_dataloader())), next(iter(again.test_dataloader())), strict=True
    ):
        assert np.array_equal(ours, theirs)  # the times of a series are text


@pytest.mark.parametrize("kind", ["features", "series", "text"])
def test_setup_reads_the_files_once(kind, speakers, monkeypatch):
    module = _modules(speakers)[kind]
    module.setup("fit")
    monkeypatch.setattr(module, "load", lambda: pytest.fail("read again"))
    module.setup("test")


def test_facts_of_another_kind_are_refused():
    module = SeriesWindows(dataset="sunspots_monthly")
    module.facts = FeatureFacts(1, ("a",), (1,), (0.0,), (1.0,))
    with pytest.raises(ValueError, match="trained on labelled feature sequences: choose data of that kind"):
        module.setup()
