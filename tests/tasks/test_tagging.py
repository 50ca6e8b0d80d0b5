"""Tagging: what is read, decoded, scored and answered, against a few lines each."""

from functools import partial

import numpy as np
import pytest
import torch

from gatewise.inspection.one import one_of
from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.tag_schemes import all_tags
from gatewise.kinds.tagged_text import TaggedTextBatch, TaggedTextFacts
from gatewise.nn import Recurrent
from gatewise.tasks.tagging import Tagging
from gatewise.views.written_answers import written

WORDS = ("<unk>", "ann", "left", "new", "york")
TAGS = all_tags(["loc", "per"], "iobes")
TEXTS = [["Ann", "left", "New", "York"], ["Ann"], ["left", "Rome"]]
LENGTHS = torch.tensor([4, 1, 2])
NUMBER = {tag: i for i, tag in enumerate(TAGS)}


def make_facts(**changes):
    plain = TaggedTextFacts(
        vocabulary=WORDS, counts=(0, 5, 9, 1, 1), lowercase=True, zero_digits=True,
        characters=("<unk>", *"AYNefnklortw"), longest_word=10, tags=TAGS,
        tag_counts=(9, *[1] * (len(TAGS) - 1)), scheme="iob2", tagged_as="iobes", word_column=0,
        tag_column=-1, separator="whitespace", comment=None,
    )  # fmt: skip
    values = {**plain.to_dict(), **changes}
    values.pop("kind")
    return TaggedTextFacts(**values)


PLAIN = make_facts(tags=("NN", "VB"), tag_counts=(9, 2), scheme="plain", tagged_as="plain")


def make_task(seed=0, training=False, facts=None, **settings):
    torch.manual_seed(seed)
    made = Tagging(
        model=partial(Recurrent, hidden_size=3, bidirectional=True, engine="loop"),
        facts=facts or make_facts(), optimizer=partial(torch.optim.SGD, lr=0.0),
        **{"embedding_size": 5, "character_size": 4, "spelling_size": 3, **settings},
    )  # fmt: skip
    if made.spellings is not None and made.spellings.how == "bilstm":
        made.spellings.recurrent.engine = "loop"
    return made.train(training)


def make_batch(tags=("S-per O B-loc E-loc", "O", "O S-loc"), usual=None, facts=None):
    facts = facts or make_facts()
    words = [word for text in TEXTS for word in text]
    spellings, lengths = map(torch.from_numpy, facts.spelled(words))
    number = {tag: i for i, tag in enumerate(facts.tags)}

    def padded(rows, fill):
        return torch.nn.utils.rnn.pad_sequence([torch.as_tensor(row) for row in rows], True, fill)

    return TaggedTextBatch(
        padded([facts.encoded(text) for text in TEXTS], 0), LENGTHS,
        padded(torch.arange(len(words)).split(LENGTHS.tolist()), 0), spellings, lengths,
        padded([[number[tag] for tag in row.split()] for row in tags], IGNORED), TEXTS,
        None if usual is None else padded([[number[tag] for tag in row.split()] for row in usual], IGNORED),
    )  # fmt: skip


@pytest.mark.parametrize("characters", ["none", "cnn", "bilstm"])
def test_a_sentence_is_read_as_by_itself(characters):
    task, batch = make_task(characters=characters), make_batch()
    emissions = task.emissions(batch)
    for row, length in enumerate(LENGTHS.tolist()):
        vectors = [task.embedding(batch.words[row, :length])]
        if characters != "none":
            own = batch.spelled[row, :length]
            vectors.append(task.spellings(batch.spellings[own], batch.spelling_lengths[own]))
        outputs, _ = task.encoder(torch.cat(vectors, -1).unsqueeze(0))
        torch.testing.assert_close(emissions[row, :length], task.head(outputs)[0], rtol=0, atol=1e-5)


def test_the_loss_is_per_word():
    batch = make_batch()
    task = make_task(crf=False)
    log_p = torch.log_softmax(task.emissions(batch), -1)
    known = batch.targets != IGNORED
    chosen = log_p[known].gather(1, batch.targets[known][:, None])
    score = task.score(batch)
    assert score.count == 7
    assert score.loss.item() == pytest.approx(-chosen.mean().item(), rel=1e-5)
    # With a CRF whose transitions are all 0 and allowed, it is the same: no tag depends on its neighbours.
    free = make_task(facts=PLAIN)
    torch.nn.init.zeros_(free.crf.transition)
    tags = ("NN VB NN NN", "NN", "VB NN")
    plain = make_task(facts=PLAIN, crf=False)
    batch = make_batch(tags, facts=PLAIN)
    assert free.score(batch).loss.item() == pytest.approx(plain.score(batch).loss.item(), rel=1e-5)
    free.score(batch).loss.backward()
    assert all(bool(p.grad.isfinite().all()) for p in free.parameters())


def test_in_training_rare_words_are_read_as_unknown():
    words = torch.tensor([1, 2, 3, 4]).repeat(500, 1)
    task = make_task(training=True, singleton_dropout=0.6, word_dropout=0.1)
    dropped = (task._dropped(words) == 0).float().mean(0).tolist()
    assert dropped == pytest.approx([0.1, 0.1, 0.6, 0.6], abs=0.07)
    kept = make_task(training=True, singleton_dropout=0.0)
    assert torch.equal(kept._dropped(words), words)
    assert torch.equal(task.eval()._dropped(words), words)


def test_dropout_has_one_mask_for_a_sentence():
    task = make_task(training=True, embedding_dropout=0.5, dropout=0.3, embedding_size=60, characters="none")
    seen = []
    for part in (task.encoder, task.head):
        part.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0] == 0))
    task.read(torch.ones(60, 6, 60), torch.full((60,), 6))
    for dropped, rate in zip(seen, (0.5, 0.3), strict=True):
        assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
        assert float(dropped.float().mean()) == pytest.approx(rate, abs=0.08)


def test_the_test_shows_spans_surfaces_classes_and_baselines(trainer, loader):
    task = make_task(seed=1)
    usual = ("S-per O O O", "S-per", "O S-loc")
    batches = [make_batch(usual=usual), make_batch(("S-per O O O", "S-per", "O O"), usual)]
    (found,) = trainer().test(task, loader(batches), verbose=False)
    # True: Ann/per, New York/loc, Rome/loc, then Ann/per twice. The usual tags: Ann, Ann, Rome, and again.
    assert found["baseline/most frequent tag of a word/precision"] == pytest.approx(4 / 6)
    assert found["baseline/most frequent tag of a word/recall"] == pytest.approx(4 / 5)
    assert found["baseline/most frequent tag of a word/accuracy"] == pytest.approx(10 / 14)
    # Different ones: Ann/per and Rome/loc of Ann/per, New York/loc, Rome/loc.
    assert found["baseline/most frequent tag of a word/surface_f1"] == pytest.approx(2 * 2 / (2 + 3))
    assert found["baseline/majority/f1"] == 0
    assert found["baseline/majority/accuracy"] == pytest.approx(8 / 14)
    report = task.report()["span_scores"]
    assert [(row["class"], row["true"]) for row in report] == [("loc", 2), ("per", 3)]
    assert list(task.examples().table["f1"]) == [row["f1"] for row in report]
    # What was predicted agrees with the decoding of each sentence by itself.
    right = sum(round(row["precision"] * row["predicted"]) for row in report)
    predicted = sum(row["predicted"] for row in report)
    assert found["test/f1"] == pytest.approx(2 * right / (predicted + 5))
    assert set(task.meanings()) >= {name.split("/")[-1] for name in found}


def test_plain_tags_have_no_spans(trainer, loader):
    task = make_task(facts=PLAIN, monitor="val/accuracy")
    batch = make_batch(("NN VB NN NN", "NN", "VB NN"), facts=PLAIN)
    (found,) = trainer().test(task, loader([batch]), verbose=False)
    assert {name for name in found if name.startswith("test/")} == {"test/accuracy", "test/loss"}
    assert task.report() == {}
    assert task.examples() is None


@pytest.mark.parametrize("crf", [True, False])
def test_answers_are_in_the_scheme_of_the_files(crf):
    task, batch = make_task(crf=crf), make_batch()
    wanted = make_batch().targets
    # Emissions that leave no doubt.
    emissions = 50.0 * torch.nn.functional.one_hot(wanted.clamp(min=0), len(TAGS)).float()
    task.emissions = lambda part: emissions[[LENGTHS.tolist().index(n) for n in part.lengths.tolist()]][
        :, : part.words.shape[1]
    ]
    with torch.inference_mode():
        answer = task.answer(Input(batch, "mine.conll"))
        lines = task.answer_lines(Input(batch, "input", {"unknown": [[], [], ["Rome"]]}))
    tags = ["B-per", "O", "B-loc", "I-loc", "O", "O", "B-loc"]
    table = answer.table
    assert list(table["word"]) == [word for text in TEXTS for word in text]
    assert list(table["tag"]) == tags
    assert list(table["sentence"]) == [1, 1, 1, 1, 2, 3, 3]
    assert table["probability"].between(0.99, 1.0001).all()
    columns = "Ann\tB-per\nleft\tO\nNew\tB-loc\nYork\tI-loc\n\nAnn\tO\n\nleft\tO\nRome\tB-loc\n\n"
    assert written(answer, "conll") == columns
    assert [line.text for line in lines] == [
        "Ann/B-per left/O New/B-loc York/I-loc",
        "Ann/O",
        "left/O Rome/B-loc",
    ]
    assert lines[2].values["tags"] == ["O", "B-loc"]
    assert [line.values["unknown"] for line in lines] == [[], [], ["Rome"]]
    answer.check_finite()


def test_probabilities_are_those_of_the_decoded_tags():
    task, batch = make_task(crf=True), make_batch()
    with torch.inference_mode():
        tags, certainty = task.predict_step(batch)
        emissions = task.emissions(batch)
        assert torch.equal(tags, task.crf.decode(emissions, LENGTHS))
        marginals = task.crf.marginals(emissions, LENGTHS)
        answer = task.answer(Input(batch, "input"))
    expected = [float(marginals[b, t, tags[b, t]]) for b in range(3) for t in range(int(LENGTHS[b]))]
    np.testing.assert_allclose(answer.table["probability"], expected, rtol=1e-5)
    assert bool((certainty[1, 1:] == 0).all())


SETTINGS = {
    "gone": ({"vectors": "gone.txt"}, r"task.vectors=gone.txt was not found in"),
    "random and frozen": ({"freeze_embeddings": True}, "freeze_embeddings=true without vectors"),
    "characters": ({"characters": "bilst"}, r"characters='bilst' is unknown \(did you mean 'bilstm'\?\)"),
}


@pytest.mark.parametrize(("settings", "message"), SETTINGS.values(), ids=SETTINGS)
def test_wrong_settings(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make_task(folders=[tmp_path], **settings)


def test_vectors_are_where_embeddings_start(tmp_path):
    (tmp_path / "vectors.txt").write_text("ann 1 2 3 4 5\nYork 2 2 2 2 2\n")
    task = make_task(vectors="vectors.txt", folders=[tmp_path], freeze_embeddings=True)
    assert task.embedding.weight[1].tolist() == [1, 2, 3, 4, 5]
    assert not task.embedding.weight.requires_grad


def test_an_inspection_sees_every_word():
    task, batch = make_task(), make_batch()
    seen = task.inspected(Input(batch, "input"))
    scores = seen.read_all(seen.outputs(seen.inputs, seen.lengths))
    torch.testing.assert_close(scores[0], task.emissions(batch)[0])
    assert seen.names[0] == TEXTS[0]
    assert len(seen.choices) == len(TAGS)
    assert all(values.shape == (3, 4) for values in seen.features.values())


def test_an_inspection_may_be_of_one_sentence_of_many():
    task, batch = make_task(), make_batch()
    given, of = one_of(Input(batch, "mine.txt"), 3)
    assert of == ", sequence 3 of 3"
    assert given.batch.texts == [TEXTS[2]]
    torch.testing.assert_close(task.emissions(given.batch)[0], task.emissions(batch)[2, :2])
    # Without the texts, as in the validation part, words are named as the vocabulary has them.
    seen = task.inspected(Input(batch._replace(texts=None), "")).names
    assert seen == [["ann", "left", "new", "york"], ["ann"], ["left", "<unk>"]]
