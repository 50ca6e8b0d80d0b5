"""Text classification: what is dropped, pooled, perturbed and weighed, against a few lines each."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.labelled_text import LabelledTextBatch, LabelledTextFacts
from gatewise.nn import Recurrent
from gatewise.tasks.text_classification import MISTAKES, TextClassification
from gatewise.tasks.word_vectors import read_vectors

WORDS = ("<unk>", "good", "bad", "film", "plot", "not")
FACTS = LabelledTextFacts(
    vocabulary=WORDS, counts=(0, 5, 4, 9, 3, 2), tokenizer="word", lowercase=True, normalize="NFC",
    max_length=None, text_column="text", label_column="label", classes=("neg", "pos", "so-so"),
    class_counts=(6, 3, 1),
)  # fmt: skip
LENGTHS = torch.tensor([4, 1, 6, 3])


def make_task(seed=0, training=False, **settings):
    torch.manual_seed(seed)
    model = partial(Recurrent, hidden_size=3, bidirectional=True)
    made = TextClassification(
        model=model, facts=FACTS, optimizer=partial(torch.optim.SGD, lr=0.0),
        **{"embedding_size": 5, **settings},
    )  # fmt: skip
    return made.train(training)


def make_batch(targets=(0, 1, 2, 0), texts=True, linear=None):
    tokens = torch.randint(1, 6, (4, 6), generator=torch.Generator().manual_seed(2))
    tokens = tokens.masked_fill(torch.arange(6) >= LENGTHS[:, None], 0)
    named = [f"text {i}" for i in range(4)] if texts else None
    return LabelledTextBatch(tokens, LENGTHS, torch.tensor(targets), named, linear)


def outputs_alone(task, batch, row):
    """The encoder's outputs [T, K] for a text by itself."""
    length = int(batch.lengths[row])
    return task.encoder(task.embedding(batch.tokens[row : row + 1, :length]))[0][0]


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "mean_max", "attention"])
def test_pooling_is_that_of_each_text_alone(pooling):
    task, batch = make_task(pooling=pooling), make_batch()
    logits = task.logits(batch)
    for row in range(4):
        h = outputs_alone(task, batch, row)
        if pooling == "attention":
            scores = (
                torch.tanh(h @ task.pool.hidden.weight.T + task.pool.hidden.bias) @ task.pool.scorer.weight[0]
            )
            weights = scores.exp() / scores.exp().sum()
            pooled = weights @ h
        else:
            parts = {
                "last": [torch.cat([h[-1, :3], h[0, 3:]])],
                "mean": [h.mean(0)],
                "max": [h.max(0).values],
            }
            parts["mean_max"] = parts["mean"] + parts["max"]
            pooled = torch.cat(parts[pooling])
        torch.testing.assert_close(logits[row], task.head(pooled), rtol=0, atol=1e-5)
    # More padding changes nothing.
    longer = batch._replace(tokens=F.pad(batch.tokens, (0, 3)))
    torch.testing.assert_close(task.logits(longer), logits, rtol=0, atol=1e-6)


def test_word_dropout_reads_tokens_as_unknown():
    task = make_task(training=True, word_dropout=0.3)
    tokens, ratios = torch.full((200, 50), 3), torch.full((200, 50, 2), 0.7)
    found, kept = task.dropped(tokens, ratios)
    assert sorted(found.unique().tolist()) == [0, 3]
    assert float((found == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    # A word that is not read tells nothing about its class either.
    assert torch.equal(kept, 0.7 * (found == 3).float().unsqueeze(-1).expand(-1, -1, 2))
    assert task.dropped(tokens, None)[1] is None
    assert all(map(torch.equal, task.eval().dropped(tokens, ratios), (tokens, ratios)))


def test_log_count_ratios_follow_the_embeddings():
    facts = replace(FACTS, feature_counts=(1,) * 18)
    torch.manual_seed(0)
    model = partial(Recurrent, hidden_size=3, bidirectional=True)
    task = TextClassification(model=model, facts=facts, embedding_size=5, embedding_dropout=0.9)
    assert task.encoder.input_size == 5 + 9
    batch = make_batch()._replace(ratios=torch.randn(4, 6, 9))
    seen = []
    task.classified = lambda inputs, _: seen.append(inputs)
    task.train().logits(batch)
    task.eval().logits(batch)
    for inputs in seen:  # they are not dropped with the embeddings
        assert torch.equal(inputs[..., 5:], batch.ratios)
    assert torch.equal(seen[1][..., :5], task.embedding.weight[batch.tokens])
    # Answers are for texts in an order of their own, with the ratios of each.
    task = TextClassification(model=model, facts=facts, embedding_size=5, pooling="attention").eval()
    with torch.inference_mode():
        table = task.answer(Input(batch, "mine.csv")).table
        expected = task.predict_step(batch)
    np.testing.assert_allclose(table[[f"p({c})" for c in facts.classes]], expected, atol=1e-6)


def test_embedding_dropout_drops_a_feature_for_a_whole_text():
    task = make_task(training=True, embedding_dropout=0.4, embedding_size=50)
    seen = []
    task.classified = lambda vectors, _: seen.append(vectors)
    task.read(torch.ones(60, 7, 50), LENGTHS, None)
    (kept,) = seen
    assert torch.equal(kept, kept[:, :1].expand_as(kept))
    # On a CPU the share is a multiple of 1 / 65536.
    assert sorted(set(kept.unique().tolist())) == pytest.approx([0, 1 / 0.6], rel=1e-4)
    assert float((kept == 0).float().mean()) == pytest.approx(0.4, abs=0.04)


@torch.no_grad()
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_give_every_class_the_same_share(smoothing):
    batch = make_batch((0, 1, IGNORED, 0))
    plain, balanced = (
        make_task(class_weights=how, label_smoothing=smoothing) for how in ("equal", "balanced")
    )
    log_p = torch.log_softmax(plain.logits(batch), -1)
    weights = torch.tensor([10 / (3 * 6), 10 / (3 * 3), 10 / 3])
    losses = []
    for row, target in ((0, 0), (1, 1), (3, 0)):
        goal = torch.full((3,), smoothing / 3)
        goal[target] += 1 - smoothing
        losses.append(-(goal * log_p[row] * weights).sum())
    assert float(balanced.score(batch).loss) == pytest.approx(float(torch.stack(losses).mean()), rel=1e-5)
    assert float(plain.score(batch).loss) != pytest.approx(float(balanced.score(batch).loss), rel=1e-3)
    # Over the training examples the weights add up to their number.
    assert float((weights * torch.tensor(FACTS.class_counts)).sum()) == pytest.approx(10)


@pytest.mark.parametrize("norm", ["l2", "max"])
def test_adversarial_training_adds_the_loss_on_moved_embeddings(norm):
    batch = make_batch()
    task = make_task(training=True, adversarial=0.7, adversarial_norm=norm)
    score = task.score(batch)
    # Miyato et al., equations 5 and 6: normalised embeddings, and r = ε g / |g| of each text.
    w, share = task.embedding.weight.detach(), torch.tensor(FACTS.counts) / sum(FACTS.counts)
    mean = share @ w
    normal = (w - mean) / (share @ (w - mean) ** 2).add(1e-6).sqrt()
    vectors = normal[batch.tokens].requires_grad_()
    loss = F.cross_entropy(task.classified(vectors, batch.lengths), batch.targets)
    (g,) = torch.autograd.grad(loss, vectors)
    assert bool((g[1, 1:] == 0).all()), "padding is not moved"
    r = torch.stack([0.7 * (own / own.norm() if norm == "l2" else own.sign()) for own in g])
    moved = F.cross_entropy(task.classified(vectors + r, batch.lengths), batch.targets)
    assert moved.item() > loss.item()
    assert score.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    assert score.penalty.item() == pytest.approx(moved.item(), rel=1e-5)
    # No gradient goes through the direction itself.
    (score.loss + score.penalty).backward()
    found = task.embedding.weight.grad.clone()
    task.zero_grad()
    w = task.embedding.weight
    mean = share @ w
    normal = (w - mean) / (share @ (w - mean) ** 2).add(1e-6).sqrt()
    both = [task.classified(normal[batch.tokens] + move, batch.lengths) for move in (0, r)]
    sum(F.cross_entropy(logits, batch.targets) for logits in both).backward()
    torch.testing.assert_close(found, w.grad, rtol=1e-4, atol=1e-6)
    # In validation it is the loss alone.
    with torch.no_grad():
        alone = task.eval().score(batch)
    assert float(alone.loss) == pytest.approx(loss.item(), rel=1e-5)
    assert alone.penalty is None


def test_the_test_shows_baselines_confusion_and_the_most_certain_mistakes(trainer, loader):
    task = make_task(seed=4)
    batches = [make_batch((0, 1, 2, 0), linear=torch.tensor([0, 0, 2, 1])), make_batch((1, 1, IGNORED, 2))]
    batches[1] = batches[1]._replace(linear=torch.tensor([1, 1, 0, 0]), texts=[f"more {i}" for i in range(4)])
    found = {}
    for _ in range(2):  # a second test starts from nothing
        (found,) = trainer().test(task, loader(batches), verbose=False)
    truth = np.array([0, 1, 2, 0, 1, 1, IGNORED, 2])
    known = truth != IGNORED
    probabilities = np.concatenate([task.predict_step(batch).detach().numpy() for batch in batches])
    guess = probabilities.argmax(1)
    assert found["test/accuracy"] == pytest.approx((guess == truth)[known].mean())
    assert found["baseline/majority class/accuracy"] == pytest.approx((truth[known] == 0).mean())
    linear = np.array([0, 0, 2, 1, 1, 1, 0, 0])
    name = "baseline/naive Bayes + logistic regression/accuracy"
    assert found[name] == pytest.approx((linear == truth)[known].mean())
    texts = [text for batch in batches for text in batch.texts]
    wrong = [i for i in np.argsort(-probabilities.max(1), kind="stable") if known[i] and guess[i] != truth[i]]
    assert wrong
    report = task.report()
    assert [m["text"] for m in report["mistakes"]] == [texts[i] for i in wrong]
    for mistake, i in zip(report["mistakes"], wrong, strict=True):
        assert mistake["probability"] == pytest.approx(probabilities[i].max())
        assert (mistake["true"], mistake["predicted"]) == (FACTS.classes[truth[i]], FACTS.classes[guess[i]])
    assert list(task.examples().table["text"]) == [texts[i] for i in wrong][:8]
    assert np.sum(report["confusion_matrix"]["counts"]) == known.sum()


def test_mistakes_show_what_the_attention_was_on(trainer, loader):
    task = make_task(pooling="attention")
    batch = make_batch()
    batch = batch._replace(targets=(task.predict_step(batch).argmax(-1) + 1) % 3)
    trainer().test(task, loader([batch]), verbose=False)
    answered = task.answer(Input(batch, "mine.csv")).table
    weights = dict(zip(answered["text"], answered["attention"], strict=True))
    mistakes = task.report()["mistakes"]
    assert len(mistakes) == 4
    for mistake in mistakes:
        whole, shown = (of.split()[1::2] for of in (weights[mistake["text"]], mistake["attention"]))
        assert sorted(shown) == sorted(whole)[-5:]


def test_no_more_mistakes_are_kept_than_are_shown(trainer, loader):
    task = make_task()
    batches = [make_batch((2, 2, 2, 2))] * 30
    trainer().test(task, loader(batches), verbose=False)
    found = [m["probability"] for m in task.report()["mistakes"]]
    assert len(found) == MISTAKES
    assert found == sorted(found, reverse=True)


def test_answers_are_in_the_order_of_the_texts():
    task, batch = make_task(pooling="attention"), make_batch()
    with torch.inference_mode():
        answer = task.answer(Input(batch, "mine.csv", {"label": ["neg", "", "pos", "neg"]}))
        expected = task.predict_step(batch)
    table = answer.table
    assert list(table.columns[:5]) == ["text", "class", "probability", "label", "attention"]
    assert list(table["text"]) == batch.texts
    np.testing.assert_allclose(table[[f"p({c})" for c in FACTS.classes]], expected, atol=1e-6)
    for row, shown in enumerate(table["attention"]):
        words = shown.split()
        assert words[::2] == [WORDS[t] for t in batch.tokens[row, : LENGTHS[row]].tolist()]
        assert sum(map(float, words[1::2])) == pytest.approx(1, abs=0.004)
    answer.check_finite()


GLOVE = "good 1 2 3 4 5\nFILM 9 9 9 9 9\nfilm 2 2 2 2 2\n. . . 7 7 7 7 7\nother 0 0 0 0 0\n"


@pytest.mark.parametrize("header", ["", "5 5\n"])
def test_vectors_of_glove_and_word2vec(header, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text(header + GLOVE)
    task = make_task(vectors="vectors.txt", folders=[tmp_path], freeze_embeddings=True)
    assert task.embedding.weight[[1, 3]].tolist() == [[1, 2, 3, 4, 5], [2] * 5]
    assert not task.embedding.weight.requires_grad
    # Those of other words are as far apart.
    assert float(task.embedding.weight[[0, 2, 4, 5]].std()) == pytest.approx(1.6, abs=1.2)
    vectors, found = read_vectors(path, WORDS, 5)
    assert found.tolist() == [False, True, False, True, False, False]
    assert vectors[0].tolist() == [0] * 5


def test_a_prediction_needs_no_file_of_vectors(tmp_path):
    model = partial(Recurrent, hidden_size=3)
    TextClassification(model=model, facts=FACTS, vectors="gone.txt", folders=[tmp_path])


BAD_VECTORS = {
    "size of a header": ("9 50\n", r"vectors.txt:1: vectors of 50 numbers, but task.embedding_size=5"),
    "size of a line": ("good 1 2 3 4 5 6\n", r"vectors.txt:1: 6 numbers, but task.embedding_size=5"),
    "few": ("good 1 2 3 4 5\nbad 1 2\n", r"vectors.txt:2: 2 numbers, but task.embedding_size=5"),
    "text": ("good 1 2 three 4 5\n", r"vectors.txt:1: what follows 'good' are not 5 numbers"),
    "not finite": ("good 1 2 nan 4 5\n", r"vectors.txt:1: a number of 'good' is not finite"),
    "other words": ("buono 1 2 3 4 5\n", r"has none of the 6 words of the vocabulary"),
}


@pytest.mark.parametrize(("content", "message"), BAD_VECTORS.values(), ids=BAD_VECTORS)
def test_wrong_vectors_are_named_in_one_line(content, message, tmp_path):
    (tmp_path / "vectors.txt").write_text(content)
    with pytest.raises(ValueError, match=message):
        make_task(vectors="vectors.txt", folders=[tmp_path])


SETTINGS = {
    "gone": ({"vectors": "gone.txt"}, r"task.vectors=gone.txt was not found in"),
    "random and frozen": ({"freeze_embeddings": True}, "freeze_embeddings=true without vectors"),
    "normalised and frozen": (
        {"freeze_embeddings": True, "vectors": "x", "adversarial": 1.0}, "needs embeddings that learn"
    ),
    "pooling": ({"pooling": "mean_mx"}, r"pooling='mean_mx' is unknown \(did you mean 'mean_max'\?\)"),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "message"), SETTINGS.values(), ids=SETTINGS)
def test_wrong_settings(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make_task(folders=[tmp_path], **settings)
