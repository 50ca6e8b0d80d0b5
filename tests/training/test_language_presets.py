"""The presets of published language models, on a text that was made up in the size and shape of theirs."""

from itertools import pairwise

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.nn import functional as F

from gatewise.cells import CappedLSTM
from gatewise.config.compose import compose
from gatewise.nn import Stacked
from gatewise.nn.masks import Dropout
from gatewise.training.parts import make_data, make_task

# The Penn Treebank as Mikolov et al. cut it: words, lines and so tokens with one <eos> a line.
PARTS = {"train": (887_521, 42_068), "valid": (70_390, 3_370), "test": (78_669, 3_761)}
WORDS = 9_999
"""With <eos> 10,000; <unk> is one of the words of these files."""
ZAREMBA = {
    # size, dropout, start, window, epochs at the full rate, divisor, epochs, largest norm: arXiv 1409.2329
    "small": (200, 0.0, 0.1, 20, 4, 2.0, 13, 5.0),
    "medium": (650, 0.5, 0.05, 35, 6, 1.2, 39, 5.0),
    "large": (1500, 0.65, 0.04, 35, 14, 1.15, 55, 10.0),
}
PRESETS = [*(f"lm_zaremba_{size}" for size in ZAREMBA), "lm_tied_512", "lm_awd", "lm_melis_24m"]


def write_text(path, words, lines, vocabulary, random):
    """So many words in so many lines, each word of the vocabulary at least once."""
    names = np.array(["<unk>", *(f"w{i}" for i in range(1, vocabulary))])
    # Frequent words are more frequent, by Zipf's law.
    shares = 1 / np.arange(1, vocabulary + 1)
    ids = random.choice(vocabulary, words, p=shares / shares.sum())
    ids[: min(vocabulary, words)] = np.arange(vocabulary)[:words]
    ends = np.linspace(0, words, lines + 1).astype(int)
    drawn = names[ids].tolist()
    path.write_text("".join(" ".join(drawn[a:b]) + "\n" for a, b in pairwise(ends)))


@pytest.fixture(scope="module")
def treebank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("treebank")
    random = np.random.default_rng(0)
    for part, (words, lines) in PARTS.items():
        write_text(folder / f"ptb.{part}.txt", words, lines, WORDS, random)
    return folder


@pytest.fixture(scope="module")
def small_treebank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    random = np.random.default_rng(1)
    for part in PARTS:
        write_text(folder / f"ptb.{part}.txt", 4000, 200, 30, random)
    return folder


def composed(preset, folder, *settings):
    argv = [f"experiment=text/{preset}", f"data.folders=[{folder}]", *settings]
    return compose("train", argv)


@pytest.fixture(scope="module")
def data(treebank):
    return make_data(composed("lm_zaremba_small", treebank))


def test_counts_are_those_of_the_penn_treebank(data):
    sizes = [len(ids) for ids in (data.train_ids, data.validation_ids, data.test_ids)]
    assert sizes == [929_589, 73_760, 82_430]
    assert len(data.facts.vocabulary) == 10_000
    loader = data.train_dataloader()
    assert len(loader) == 2323  # as main.lua counts: floor(floor(929,589 / 20) / 20)
    first, second = (loader.dataset[index] for index in (0, 1))
    rows = data.train_ids[: 46_479 * 20].view(20, 46_479)
    assert torch.equal(first.tokens, rows[:, :20])
    assert torch.equal(second.targets, rows[:, 21:41])
    # The whole of the other parts, each word once, in one lane.
    assert sum(int((batch.targets >= 0).sum()) for batch in data.test_dataloader()) == 82_429


@pytest.mark.parametrize("size", ZAREMBA)
def test_zarembas_settings(size, treebank):
    hidden, dropout, start, window, epochs, divisor, most, norm = ZAREMBA[size]
    config = composed(f"lm_zaremba_{size}", treebank)
    assert (config.model.hidden_size, config.model.num_layers, config.task.embedding_size) == (
        hidden,
        2,
        hidden,
    )
    assert (config.model.dropout, config.task.dropout, config.task.init_range) == (dropout, dropout, start)
    assert (config.data.batch_size, config.data.window, config.data.whole_windows) == (20, window, True)
    assert config.optimizer._target_ == "torch.optim.SGD"
    assert (config.optimizer.momentum, config.optimizer.weight_decay) == (0, 0)
    assert (config.scheduler.epochs, config.trainer.max_epochs) == (epochs, most)
    assert config.scheduler.gamma == pytest.approx(1 / divisor)
    # A rate of 1 and the largest norm are of the sum over the steps.
    assert config.optimizer.lr == window
    assert config.trainer.gradient_clip_val == pytest.approx(norm / window)
    assert config.callbacks.early_stopping is None


def test_zarembas_small_model_starts_as_published(data, treebank):
    torch.manual_seed(0)
    task = make_task(composed("lm_zaremba_small", treebank), data.facts, {})
    layers = 2 * (4 * 200 * (200 + 200) + 4 * 200)
    assert sum(p.numel() for p in task.parameters()) == 2 * 10_000 * 200 + 10_000 + layers
    for name, parameter in task.named_parameters():
        values = parameter.detach()
        assert 0.099 < float(values.abs().max()) <= 0.1, name
        assert float(values.mean()) == pytest.approx(0, abs=0.01), name
    with torch.no_grad():
        loss = float(task.eval().score(next(iter(data.train_dataloader()))).loss)
    assert np.exp(loss) == pytest.approx(10_000, rel=0.02)  # it knows nothing


class Rates(pl.Callback):
    def __init__(self):
        self.found = []

    def on_train_epoch_start(self, trainer, _module):
        self.found.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_zarembas_steps_are_those_of_his_sums(small_treebank):
    """Three epochs by hand: gradients of the sum over steps, cut to norm 5, a rate of 1 that is halved."""
    settings = ["model.hidden_size=12", "task.embedding_size=12", "scheduler.epochs=1"]
    config = composed("lm_zaremba_small", small_treebank, *settings, "data.batch_size=40")
    data = make_data(config)
    tasks = []
    for _ in range(2):
        torch.manual_seed(4)
        tasks.append(make_task(config, data.facts, {}))
    ours, by_hand = tasks
    rates = Rates()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        gradient_clip_val=config.trainer.gradient_clip_val,
        callbacks=[rates],
        enable_checkpointing=False,
        limit_val_batches=0,
        **quiet,
    )
    trainer.fit(ours, data)
    assert rates.found == [20, 10, 5]

    clipped = 0
    parameters = list(by_hand.parameters())
    for rate in (1.0, 0.5, 0.25):
        state = None
        for batch in data.train_dataloader():
            outputs, state = by_hand.encoder(by_hand.embedding(batch.tokens), state)
            state = tuple(tensor.detach() for tensor in state)
            scores = by_hand.head(outputs)
            loss = sum(F.cross_entropy(scores[:, t], batch.targets[:, t]) for t in range(20))
            gradients = torch.autograd.grad(loss, parameters)
            norm = torch.sqrt(sum(g.square().sum() for g in gradients))
            clipped += bool(norm > 5)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter -= rate * gradient * min(1.0, 5 / float(norm))
    assert clipped > 0
    for (name, found), expected in zip(ours.named_parameters(), parameters, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4, msg=name)


def test_the_awd_lstm(data, treebank):
    config = composed("lm_awd", treebank)
    task = make_task(config, data.facts, {})
    assert isinstance(task.encoder, Stacked)
    sizes = [(layer.input_size, layer.hidden_size) for layer in task.encoder.layers]
    assert sizes == [(400, 1150), (1150, 1150), (1150, 400)]
    assert [layer.weight_dropout for layer in task.encoder.layers] == [0.5] * 3
    assert (task.input_dropout.p, task.output_dropout.p, task.embedding_dropout.p) == (0.4, 0.4, 0.1)
    assert task.encoder.between.p == 0.25
    assert task.head.weight is task.embedding.weight
    # 24 million, as published; a bias fewer for each gate than torch has.
    layers = sum(4 * h * (i + h + 1) for i, h in sizes)
    assert sum(p.numel() for p in task.parameters()) == 10_000 * 401 + layers
    assert 23.5e6 < sum(p.numel() for p in task.parameters()) < 24.5e6


def test_the_lstm_of_melis(data, treebank):
    task = make_task(composed("lm_melis_24m", treebank), data.facts, {})
    assert isinstance(task.encoder.cell, CappedLSTM)
    assert task.encoder.skip_connections
    assert sum(p.numel() for p in task.parameters()) == pytest.approx(24e6, rel=0.01)
    # As their published code has it for this cell: only the state's mask is one for all steps.
    assert [type(task.input_dropout), type(task.output_dropout)] == [Dropout, Dropout]
    assert (task.encoder.dropout, task.encoder.between.p, task.drop_state) == (0.307, 0, 0.01)
    optimizer = task.configure_optimizers()
    assert optimizer.param_groups[0]["betas"] == (0.0, 0.999)


def test_adam_without_a_mean_of_gradients_divides_by_their_size_alone(small_treebank):
    """β1 = 0: a step is the gradient by the root of its mean square, as RMSProp's with a corrected mean."""
    config = composed("lm_melis_24m", small_treebank)
    weight = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=config.optimizer.lr, betas=tuple(config.optimizer.betas))
    square, expected = np.zeros(3), np.zeros(3)
    for step, gradient in enumerate(np.random.default_rng(0).standard_normal((5, 3)), start=1):
        weight.grad = torch.tensor(gradient, dtype=torch.float32)
        optimizer.step()
        square = 0.999 * square + 0.001 * gradient**2
        expected -= 0.00304 * gradient / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    np.testing.assert_allclose(weight.detach(), expected, rtol=1e-4)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_learns(preset, small_treebank):
    size = "[24,24,16]" if preset == "lm_awd" else "16"
    settings = [f"model.hidden_size={size}", "task.embedding_size=16"]
    if compose("train", [f"experiment=text/{preset}"]).optimizer._target_ == "torch.optim.SGD":
        settings.append("optimizer.lr=1")  # theirs are for models a hundred times as large
    config = composed(preset, small_treebank, *settings)
    data = make_data(config)
    torch.manual_seed(0)
    task = make_task(config, data.facts, {})
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(
        max_epochs=8,
        accelerator="cpu",
        gradient_clip_val=config.trainer.gradient_clip_val,
        enable_checkpointing=False,
        check_val_every_n_epoch=8,
        **quiet,
    )
    trainer.fit(task, data)
    found = trainer.callback_metrics
    assert float(found["val/perplexity"]) < len(data.facts.vocabulary)
    assert np.isfinite(float(found["train/loss"]))
