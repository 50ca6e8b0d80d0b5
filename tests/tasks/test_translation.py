"""Translation: its loss, what it learns, what it writes, and how it is scored."""

from __future__ import annotations

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from sacrebleu.metrics import BLEU
from torch.nn import functional as F

from gatewise.cells import GRU
from gatewise.kinds.kind import Input
from gatewise.kinds.parallel_text import (
    END_ID,
    SPECIALS,
    START_ID,
    UNKNOWN_ID,
    ParallelTextBatch,
    ParallelTextFacts,
)
from gatewise.nn import Recurrent
from gatewise.tasks.translated import Translated
from gatewise.tasks.translation import Translation
from gatewise.tasks.writing import check_layers, check_masks
from gatewise.training.averaging import ExponentialAverage

WORDS = ("eins", "zwei", "drei", "vier", "fünf")
OTHERS = ("one", "two", "three", "four", "five")


def facts(joint=False):
    own = SPECIALS + (OTHERS if joint else WORDS)
    others = SPECIALS + OTHERS
    return ParallelTextFacts(
        "de", "en", own, others, (1,) * 8, (2, 0, 4, 1, 1, 1, 1, 1), "word", "word", joint, False, None, 8
    )


def made(joint=False, **settings):
    torch.manual_seed(0)
    model = partial(
        Recurrent, hidden_size=16, num_layers=2, cell=GRU(), bidirectional=True, engine="function"
    )
    small = {"embedding_size": 12, "beam": 3, "optimizer": partial(torch.optim.Adam, lr=0.02)}
    return Translation(model, facts(joint), **{**small, **settings})


def batch_of(pairs, known=True):
    """A batch of (source words, target words), as a DataModule would make it."""
    source = [[WORDS.index(w) + 3 if w in WORDS else UNKNOWN_ID for w in s] + [END_ID] for s, _ in pairs]
    target = [[START_ID, *(OTHERS.index(w) + 3 for w in t), END_ID] for _, t in pairs]
    pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    return ParallelTextBatch(
        pad([torch.tensor(ids) for ids in source]),
        torch.tensor([len(ids) for ids in source]),
        pad([torch.tensor(ids) for ids in target]),
        torch.tensor([len(ids) for ids in target]),
        torch.arange(len(pairs)),
        [s for s, _ in pairs] if known else None,
        [" ".join(s) for s, _ in pairs] if known else None,
        [(" ".join(t),) for _, t in pairs] if known else None,
    )


def pairs(count, seed=0, longest=6):
    """Numbers in German, and in English the other way round."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        length = int(torch.randint(1, longest + 1, (), generator=generator))
        numbers = torch.randint(5, (length,), generator=generator).tolist()
        found.append(([WORDS[i] for i in numbers], [OTHERS[i] for i in reversed(numbers)]))
    return found


@pytest.fixture(scope="module")
def trained():
    """A task that has learnt to translate backwards."""
    task = made(label_smoothing=0.1)
    optimizer = task.configure_optimizers()
    for step in range(140):
        score = task.score(batch_of(pairs(24, seed=step), known=False))
        optimizer.zero_grad()
        (score.loss + score.penalty).backward()
        optimizer.step()
    return task.eval()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_that_of_tokens_without_padding_and_smoothing(smoothing):
    task = made(label_smoothing=smoothing)
    batch = batch_of(pairs(5), known=False)
    score = task.score(batch)
    losses, smoothed = [], []
    for row in range(5):
        length, count = int(batch.source_lengths[row]), int(batch.target_lengths[row])
        target = batch.target[row : row + 1, :count]
        outputs, _ = task.net(batch.source[row : row + 1, :length], torch.tensor([length]), target[:, :-1])
        scores = task.net.head(outputs)[0]
        losses.append(F.cross_entropy(scores, target[0, 1:], reduction="none"))
        smoothed.append(F.cross_entropy(scores, target[0, 1:], reduction="none", label_smoothing=smoothing))
    assert score.count == sum(map(len, losses))
    torch.testing.assert_close(score.loss, torch.cat(losses).mean())
    minimised = score.loss if score.penalty is None else score.loss + score.penalty
    expected = torch.cat(smoothed).mean()
    torch.testing.assert_close(minimised, expected)
    own = torch.autograd.grad(minimised, list(task.parameters()), allow_unused=True)
    theirs = torch.autograd.grad(expected, list(task.parameters()), allow_unused=True)
    for gradient, other in zip(own, theirs, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-6)


def test_no_parameter_is_without_gradient():
    """Else data-parallel processes would wait for it."""
    for context in ("layers", "input", "output"):
        task = made(context=context)
        task.score(batch_of(pairs(3), known=False)).loss.backward()
        assert not [name for name, p in task.named_parameters() if p.requires_grad and p.grad is None]


def test_it_learns_and_its_bleu_is_sacrebleus(trained):
    test = pairs(30, seed=999)
    trained._width = trained.beam  # as in a test
    with torch.inference_mode():
        score = trained.score(batch_of(test))
    texts = [ranked[0] for ranked in trained.predict_step(batch_of(test))]
    references = [" ".join(right) for _, right in test]
    expected = BLEU().corpus_score(texts, [references]).score
    metric = trained.metrics()["bleu"].metric
    metric.update(score.predicted, score.targets)
    assert float(score.loss) < 0.3
    assert expected > 80
    assert float(metric.compute()) == pytest.approx(expected, rel=1e-5)


def test_lines_out_match_lines_in(trained):
    given = [*pairs(3, longest=3), ([], []), *pairs(2, seed=5), ([], [])]
    answer = trained.answer(Input(batch_of(given), "file.txt"))
    assert list(answer.table["line"]) == [1, 2, 3, 4, 5, 6, 7]
    assert list(answer.table["text"]) == [" ".join(s) for s, _ in given]
    assert [not text for text in answer.table["translation"]] == [not s for s, _ in given]


def test_several_translations_of_a_text_are_ranked(trained, monkeypatch):
    monkeypatch.setattr(trained, "best", 3)
    answer = trained.answer(Input(batch_of(pairs(1, seed=3)), "text"))
    assert list(answer.table["rank"]) == [1, 2, 3]
    assert answer.table["score"].is_monotonic_decreasing
    assert answer.table["translation"].nunique() == 3


def test_unknown_words_are_copied_from_where_the_attention_is(trained):
    batch = batch_of([(["eins", "Xylofon"], ["one"])])
    found = trained.written(batch, 1, 1).found
    found.tokens[0, 0, :2] = torch.tensor([UNKNOWN_ID, 4])
    found.lengths[0, 0] = 2
    found.weights[0, 0, 0] = torch.tensor([0.1, 0.3, 0.6])  # the end has most, and is no word
    assert Translated(trained.facts, batch, found, copy_unknown=True).best == ["Xylofon two"]
    assert Translated(trained.facts, batch, found, copy_unknown=False).best == ["<unk> two"]


def test_a_broken_model_is_scored_as_such_and_answers_nothing(trained):
    task = made()
    task.load_state_dict(trained.state_dict())
    with torch.no_grad():
        task.net.head.bias[3] = torch.nan
    batch = batch_of(pairs(2))
    assert task.eval().score(batch).predicted[:, :2].tolist()[0][0] == 0  # no word was written
    with pytest.raises(ValueError, match="not numbers"):
        task.answer(Input(batch, "text"))


def test_trivial_answers_are_the_source_itself_and_the_frequent_tokens():
    task = made()
    batch = batch_of([(["eins"], ["one"]), ([], ["two", "one"])])
    scores = task.baselines(batch)
    shares = torch.tensor([3, 1, 5, 2, 2, 2, 2, 2]) / 19  # add-one smoothing of the counts
    expected = -shares.log()[torch.tensor([3, END_ID, 4, 3, END_ID])].mean()
    torch.testing.assert_close(scores["unigram"].loss, expected)
    assert scores["copy"].loss is None


def test_embeddings_are_shared_where_asked():
    tasks = {tie: made(joint=True, tie_embeddings=tie).net for tie in ("none", "target", "all")}
    shared = {
        tie: (net.head.weight is net.target_embedding.weight, net.source_embedding is net.target_embedding)
        for tie, net in tasks.items()
    }
    assert shared == {"none": (False, False), "target": (True, False), "all": (True, True)}
    with pytest.raises(ValueError, match="one vocabulary for both languages"):
        made(tie_embeddings="all")


def test_a_validation_and_a_test_report_texts_and_baselines(trainer, loader, trained):
    task = made(label_smoothing=0.1)
    task.load_state_dict(trained.state_dict())
    runner = trainer(limit_train_batches=2)
    runner.fit(task, loader([batch_of(pairs(4), known=False)] * 2), loader([batch_of(pairs(6, seed=2))]))
    metrics = runner.callback_metrics
    assert {"val/bleu", "val/chrf", "val/perplexity", "train/perplexity"} <= set(metrics)
    assert "train/bleu" not in metrics
    runner.test(task, loader([batch_of(pairs(6, seed=2))]), verbose=False)
    metrics = runner.callback_metrics
    assert "baseline/copy/bleu" in metrics
    assert "baseline/unigram/perplexity" in metrics
    assert "baseline/unigram/bleu" not in metrics
    (first, *_) = task.report()["attention"]
    assert len(first["weights"]) == len(first["written"])
    assert all(len(row) == len(first["read"]) for row in first["weights"])
    assert len(task.examples().table) == 6


def test_a_line_in_is_a_line_out(trained, monkeypatch):
    given = Input(batch_of(pairs(3, seed=8)), "input")
    lines = trained.answer_lines(given)
    assert [line.text for line in lines] == list(trained.answer(given).table["translation"])
    monkeypatch.setattr(trained, "best", 2)
    several = trained.answer_lines(given)
    assert [line.text for line in several] == [line.text for line in lines]
    assert all(len(line.values["translation"]) == 2 for line in several)


def test_validation_translates_with_the_averaged_weights(trainer, loader, trained):
    task = made(optimizer=partial(torch.optim.SGD, lr=6.0))
    task.load_state_dict(trained.state_dict())
    weights = {}

    class Keep(pl.Callback):
        def on_train_batch_end(self, _trainer, pl_module, *_):
            weights.update({name: value.clone() for name, value in pl_module.state_dict().items()})

    runner = trainer(callbacks=[Keep(), ExponentialAverage(0.9)])
    validation = loader([batch_of(pairs(12, seed=2))])
    runner.fit(task, loader([batch_of(pairs(4, seed=s), known=False) for s in range(2)]), validation)
    of_average = {name: runner.callback_metrics[f"val/{name}"].item() for name in ("bleu", "loss")}
    # Now the average is in the weights' place; after that, the weights of the last step.
    assert runner.validate(task, validation, verbose=False)[0]["val/loss"] == pytest.approx(
        of_average["loss"]
    )
    task.load_state_dict(weights)
    of_weights = runner.validate(task, validation, verbose=False)[0]
    for name, value in of_average.items():
        assert of_weights[f"val/{name}"] != pytest.approx(value, rel=1e-3)


def test_what_cannot_be_is_said_with_what_to_do():
    with pytest.raises(ValueError, match="decoder_layers to 2"):
        check_layers(context="layers", decoder_layers=1)
    with pytest.raises(ValueError, match=r"model\.state_dropout has one mask for all steps"):
        check_masks(context="input", input_dropout=0.0, state_dropout=0.3, weight_dropout=0.0)
    with pytest.raises(ValueError, match="make the beam at least as wide"):
        made(best=4)


def test_an_inspection_answers_with_the_first_token_of_the_translation(trained):
    batch = batch_of([(["eins", "zwei", "drei"], ["three", "two", "one"])])
    inspected = trained.inspected(Input(batch, "text"))
    scores = inspected.scores(inspected.inputs, inspected.lengths)
    outputs, _ = trained.net(batch.source, batch.source_lengths, batch.target[:, :1])
    torch.testing.assert_close(scores, trained.net.head(outputs[:, 0]))
    assert inspected.in_words(inspected.answer(scores[0])) == "three"
    assert inspected.actual(3) == "three"
    assert inspected.actual(2) is None
    assert inspected.names == [["eins", "zwei", "drei", "</s>"]]
    lengths = torch.tensor([1, 2, 3, 4])
    by_prefix = inspected.scores(inspected.prefixes(lengths), lengths)
    torch.testing.assert_close(by_prefix[-1], scores[0])
