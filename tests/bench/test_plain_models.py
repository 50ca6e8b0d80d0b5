"""The plain models that presets are timed beside compute the same, of the same weights."""

import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from gatewise.cells import LSTM, RNN, CappedLSTM
from gatewise.kinds.captions import CaptionBatch, CaptionFacts
from gatewise.kinds.kind import IGNORED
from gatewise.kinds.labelled_text import LabelledTextBatch, LabelledTextFacts
from gatewise.kinds.parallel_text import SPECIALS, ParallelTextBatch, ParallelTextFacts
from gatewise.kinds.tagged_text import TaggedTextBatch, TaggedTextFacts
from gatewise.kinds.text import TextBatch, TextFacts
from gatewise.nn import Recurrent, Stacked
from gatewise.tasks.captioning import Captioning
from gatewise.tasks.language_modelling import LanguageModelling
from gatewise.tasks.tagging import Tagging
from gatewise.tasks.text_classification import TextClassification
from gatewise.tasks.translation import Translation

sys.path.append(str(Path(__file__).resolve().parents[2] / "experiments" / "speed"))
import plain_models
from plain_models.layers import PlainLayers

WORDS = ("<unk>", "<eos>", "a", "b", "c")
COUNTS = (0, 3, 6, 1, 2)


def language_model(model, **settings):
    facts = TextFacts(WORDS, COUNTS, "word", False)
    return LanguageModelling(model=model, facts=facts, embedding_size=6, **settings)


MODELS = {
    "two layers": (
        partial(Recurrent, engine="function", hidden_size=6, num_layers=2, dropout=0.2),
        {"tie_weights": True},
    ),
    "stacked": (
        partial(Stacked, engine="function", hidden_size=[7, 5], num_layers=2),
        {"activation_penalty": 1.0},
    ),
    "skips": (partial(Stacked, engine="function", hidden_size=5, num_layers=3, skip_connections=True), {}),
    "projected": (
        partial(Recurrent, engine="function", hidden_size=9),
        {"tie_weights": True, "project_outputs": True},
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_language_model_has_the_same_losses_and_gradients(name):
    model, settings = MODELS[name]
    torch.manual_seed(0)
    task = language_model(model, **settings)
    plain = plain_models.plain_model(task)
    weights = {id(parameter) for parameter in task.parameters()}
    assert not weights & {id(parameter) for parameter in plain.parameters()}
    task.train()
    plain.train()
    for module in (*task.modules(), *plain.modules()):
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    for _ in range(3):  # the state is carried
        batch = TextBatch(*torch.randint(5, (2, 4, 8)))
        score = task.score(batch)
        expected = plain(batch)
        loss = score.loss if score.penalty is None else score.loss + score.penalty
        torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(task.embedding.weight.grad, plain.embedding.weight.grad)


def test_dropouts_of_a_language_model_are_drawn():
    torch.manual_seed(0)
    model = partial(
        Stacked, engine="function", hidden_size=5, num_layers=2, between_dropout=0.3, weight_dropout=0.4
    )
    task = language_model(model, input_dropout=0.2, embedding_dropout=0.2, drop_state=0.5)
    plain = plain_models.plain_model(task).train()
    batch = TextBatch(*torch.randint(5, (2, 4, 8)))
    assert len({float(plain(batch).detach()) for _ in range(5)}) == 5


def test_what_torch_lacks_is_named():
    encoder = language_model(
        partial(Stacked, engine="function", hidden_size=5, cell=CappedLSTM(), state_dropout=0.1)
    ).encoder
    assert plain_models.left_out(encoder) == ["CappedLSTM", "state_dropout"]
    assert not plain_models.has_cell(encoder)
    assert plain_models.left_out(Recurrent(3, 4, zoneout=0.1)) == ["zoneout"]
    assert plain_models.left_out(Recurrent(3, 4, cell=RNN("relu"))) == []


@pytest.mark.parametrize("cell", [LSTM(), RNN("relu")])
def test_layers_with_masks_between_them_are_those_of_one_module(cell):
    torch.manual_seed(0)
    encoder = Recurrent(
        3, 4, 2, batch_first=True, bidirectional=True, cell=cell, input_dropout=0.5, engine="function"
    ).eval()
    plain = PlainLayers(encoder).eval()
    assert len(plain.layers) == 2
    x, lengths = torch.randn(3, 6, 3), torch.tensor([2, 6, 4])
    torch.testing.assert_close(plain(x, lengths)[0], encoder(x, lengths=lengths)[0])
    plain.train()
    drawn = plain(torch.ones(1, 6, 3))[0], plain(torch.ones(1, 6, 3))[0]
    assert not torch.equal(*drawn)


def check_same(task, batch):
    """The loss, and its gradients by the embeddings and all weights of the first nn.LSTM's input."""
    plain = plain_models.plain_model(task.eval()).eval()
    score, expected = task.score(batch), plain(batch)
    torch.testing.assert_close(score.loss, expected)
    score.loss.backward()
    expected.backward()
    return plain


@pytest.mark.parametrize("ratios", [None, torch.linspace(-1, 1, 4 * 8 * 3).reshape(4, 8, 3)])
def test_a_classifier_of_texts_has_the_same_loss(ratios):
    torch.manual_seed(0)
    facts = LabelledTextFacts(
        WORDS, COUNTS, "word", False, None, None, "text", "label", ("no", "yes"), (3, 4),
        feature_counts=() if ratios is None else (1,) * 2 * len(WORDS),
    )  # fmt: skip
    model = partial(Recurrent, engine="function", hidden_size=5, bidirectional=True)
    task = TextClassification(model=model, facts=facts, embedding_size=6, word_dropout=0.4)
    lengths = torch.tensor([3, 8, 1, 5])
    tokens = torch.randint(2, 5, (4, 8)).masked_fill(torch.arange(8) >= lengths[:, None], 0)
    batch = LabelledTextBatch(tokens, lengths, torch.tensor([0, 1, 1, 0]), ratios=ratios)
    plain = check_same(task, batch)
    torch.testing.assert_close(task.embedding.weight.grad, plain.embedding.weight.grad)
    plain.train()
    assert len({float(plain(batch).detach()) for _ in range(5)}) > 1


@pytest.mark.parametrize("crf", [True, False])
@pytest.mark.parametrize("characters", ["none", "cnn", "bilstm"])
def test_a_tagger_has_the_same_loss_and_gradients(characters, crf):
    torch.manual_seed(0)
    tags = ("O", "B-a", "I-a", "E-a", "S-a")
    counts = {"vocabulary": WORDS, "counts": COUNTS, "tags": tags, "tag_counts": (1,) * 5}
    files = {"word_column": 0, "tag_column": 1, "separator": "tab", "comment": None}
    facts = TaggedTextFacts(
        **counts, lowercase=True, zero_digits=True, characters=("<unk>", *"abcd"), longest_word=9,
        scheme="iobes", tagged_as="iobes", **files,
    )  # fmt: skip
    model = partial(Recurrent, engine="function", hidden_size=5, bidirectional=True, state_dropout=0.5)
    task = Tagging(model=model, facts=facts, characters=characters, crf=crf, embedding_dropout=0.3)
    if crf:
        for weight in (task.crf.start, task.crf.transition, task.crf.end):
            nn.init.normal_(weight)
    lengths = torch.tensor([2, 6, 4])
    targets = torch.tensor([[0, 4, 9, 9, 9, 9], [1, 2, 3, 0, 4, 1], [4, 0, 1, 3, 9, 9]])
    targets[1, 5] = 4  # a sentence ends with no open name
    targets = targets.masked_fill(targets == 9, IGNORED)
    spelled, spellings = torch.randint(7, (3, 6)), torch.randint(1, 5, (7, 4))
    batch = TaggedTextBatch(
        torch.randint(5, (3, 6)), lengths, spelled, spellings, torch.tensor([4, 1, 2, 3, 4, 4, 2]), targets
    )
    plain = check_same(task, batch)
    torch.testing.assert_close(task.head.weight.grad, plain.head.weight.grad)
    torch.testing.assert_close(task.embedding.weight.grad, plain.embedding.weight.grad)
    if crf:
        torch.testing.assert_close(task.crf.transition.grad, plain.crf.transition.grad)


TRANSLATORS = {
    "layers": {"decoder_layers": 3, "tie_embeddings": "all"},
    "additive": {"attention": "additive", "tie_embeddings": "none", "hidden_dropout": 0.2, "dropout": 0.2},
    "output": {"context": "output", "decoder_size": 7},
    "fed": {"context": "input", "attention": "dot", "decoder_size": 10, "decoder_layers": 2},
}


@pytest.mark.parametrize("name", TRANSLATORS)
def test_a_translator_has_the_same_loss_and_gradients(name):
    torch.manual_seed(0)
    words, counts = (*SPECIALS, "a", "b", "c"), (0, 2, 3, 6, 1, 2)
    facts = ParallelTextFacts("de", "en", words, words, counts, counts, "word", "word", True, False, None, 9)
    dropouts = {} if name == "fed" else {"input_dropout": 0.2}
    model = partial(Recurrent, engine="function", hidden_size=5, num_layers=2, bidirectional=True, **dropouts)
    task = Translation(model=model, facts=facts, embedding_size=6, label_smoothing=0.1, **TRANSLATORS[name])
    source_lengths, target_lengths = torch.tensor([4, 2, 5]), torch.tensor([7, 3, 2])
    source, target = torch.randint(3, 6, (3, 5)), torch.randint(3, 6, (3, 7))
    batch = ParallelTextBatch(source, source_lengths, target, target_lengths, torch.arange(3))
    plain = check_same(task, batch)
    torch.testing.assert_close(task.net.decoder.bridge.weight.grad, plain.bridge.weight.grad)
    torch.testing.assert_close(task.net.target_embedding.weight.grad, plain.target_embedding.weight.grad)
    plain.train()
    assert torch.isfinite(plain(batch))


@pytest.mark.parametrize("context", ["layers", "input"])
def test_what_tells_of_pictures_has_the_same_loss_and_gradients(context):
    torch.manual_seed(0)
    facts = CaptionFacts(
        "pixels", 3, 8, 8, (90.0,) * 3, (50.0,) * 3, "resize", "convert", (*SPECIALS, "a", "b", "c"),
        (0, 2, 3, 6, 1, 2), "word", False, None, 9, "a b",
    )  # fmt: skip
    model = partial(Recurrent, engine="function", hidden_size=5)
    task = Captioning(
        model=model, facts=facts, embedding_size=6, encoder_sizes=[8, 4], context=context, label_smoothing=0.1
    )
    pictures = torch.randint(256, (3, 3, 8, 8), dtype=torch.uint8)
    lengths = torch.tensor([7, 3, 2])
    batch = CaptionBatch(pictures, torch.randint(3, 6, (3, 7)), lengths, torch.arange(3))
    plain = check_same(task, batch)
    torch.testing.assert_close(task.net.encoder.row.grad, plain.encoder.row.grad)
    torch.testing.assert_close(task.net.target_embedding.weight.grad, plain.target_embedding.weight.grad)
