"""Captioning: what it learns, what it writes, and how captions are scored."""

from __future__ import annotations

import base64
from functools import partial

import numpy as np
import pytest
import torch
from sacrebleu.metrics import BLEU

from gatewise.cells import GRU
from gatewise.inspection.look import look
from gatewise.inspection.passes import gates_and_states
from gatewise.kinds.captions import CaptionBatch, CaptionFacts, References
from gatewise.kinds.kind import Input
from gatewise.kinds.parallel_text import END_ID, SPECIALS, START_ID
from gatewise.kinds.scenes import NONE
from gatewise.nn import Recurrent
from gatewise.tasks.captioning import Captioning
from gatewise.tasks.cider import Cider

WORDS = ("a", "red", "blue", "circle", "left", "of", "square")


def facts(**changes):
    values = {
        "form": "pixels", "channels": 3, "height": 8, "width": 8,
        "mean": (40.0, 40.0, 40.0), "std": (60.0, 60.0, 60.0),
        "other_size": "resize", "other_mode": "convert",
        "vocabulary": SPECIALS + WORDS, "counts": (1,) * 10, "units": "word", "lowercase": True,
        "normalize": None, "longest": 9, "most_frequent": "a red circle", "scenes": True,
    }  # fmt: skip
    return CaptionFacts(**{**values, **changes})


def made(facts=facts(), **settings):  # noqa: B008
    torch.manual_seed(0)
    model = partial(Recurrent, hidden_size=16, cell=GRU(), engine="function")
    small = {"embedding_size": 12, "encoder_sizes": [8], "beam": 3}
    return Captioning(model, facts, **{**small, "optimizer": partial(torch.optim.Adam, lr=0.02), **settings})


def batch_of(colours, known=True):
    """Pictures of a red or blue half, and what is said of them."""
    texts = [("a red circle", "a blue square")[colour] for colour in colours]
    pictures = torch.zeros(len(colours), 3, 8, 8, dtype=torch.uint8)
    for row, colour in enumerate(colours):
        pictures[row, 2 * colour, :, :4] = 200
    ids = [[START_ID, *(WORDS.index(word) + 3 for word in text.split()), END_ID] for text in texts]
    scenes = torch.full((len(colours), 3, 5), NONE)
    for row, colour in enumerate(colours):
        scenes[row, 0] = torch.tensor([colour, 2 * colour, 0, 0, 0])
    references = [(text, f"one {text}") for text in texts]
    return CaptionBatch(
        pictures,
        torch.tensor(ids),
        torch.full((len(colours),), 5),
        torch.arange(len(colours)),
        *(
            ([f"{n}.png" for n in range(len(colours))], references, References(references), texts[::-1],
             scenes, torch.arange(len(colours)) % 2 == 1)
            if known
            else ()
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained():
    task = made()
    optimizer = task.configure_optimizers()
    draw = np.random.default_rng(0)
    for _ in range(60):
        score = task.score(batch_of(draw.integers(2, size=16).tolist(), known=False))
        optimizer.zero_grad()
        score.loss.backward()
        optimizer.step()
    return task.eval()


def test_it_says_what_is_on_a_picture(trained):
    batch = batch_of([0, 1, 1])
    assert trained.written(batch, 3, 1).best == ["a red circle", "a blue square", "a blue square"]


@pytest.mark.parametrize("known", [True, False])
def test_an_inspection_reads_the_caption_from_the_state_that_the_picture_gave(known, trained):
    batch = batch_of([1])
    if not known:
        batch = batch._replace(target=torch.tensor([[START_ID, END_ID]]), references=None)
    inspected = trained.inspected(Input(batch, "1.png"))
    assert inspected.names == [["<s>", "a", "blue", "square"]]
    whole = batch_of([1]).target
    with torch.no_grad():
        expected = trained.net.head(trained.net(trained.scaled(batch.pictures), whole[:, :-1])[0])
        prefixes = torch.tensor([1, 2, 3, 4])
        rows = inspected.prefixes(prefixes)
        torch.testing.assert_close(inspected.scores(rows, prefixes), expected[0])
        torch.testing.assert_close(inspected.read_all(inspected.outputs(rows[-1:], prefixes[-1:])), expected)
    assert [inspected.actual(step) for step in range(4)] == (
        ["a", "blue", "square", "</s>"] if known else [None] * 4
    )
    found = look(inspected, None, [])
    assert found.values["decided"]["answer"] == "</s>"
    assert found.values["steps"] == 4


def test_states_of_several_pictures_are_each_its_own(trained):
    both = trained.inspected(Input(batch_of([0, 1]), ""))
    states = gates_and_states(both, both.inputs, both.lengths)["h"][0]
    for row, colour in enumerate([0, 1]):
        one = trained.inspected(Input(batch_of([colour]), ""))
        torch.testing.assert_close(states[:, [row]], gates_and_states(one, one.inputs, one.lengths)["h"][0])
    assert not torch.allclose(states[:, 0, 0], states[:, 1, 0])


def test_a_decoder_that_reads_its_outputs_is_not_inspected():
    with pytest.raises(ValueError, match=r"task\.context=input: .* reads its own outputs"):
        made(context="input", decoder_layers=1).inspected(Input(batch_of([0]), "0.png"))


def test_the_loss_is_that_of_the_tokens(trained):
    batch = batch_of([0, 1], known=False)
    outputs = trained.net(trained.scaled(batch.pictures), batch.target[:, :-1])[0]
    logs = trained.net.head(outputs).log_softmax(-1)
    expected = -logs.gather(2, batch.target[:, 1:, None]).mean()
    score = trained.score(batch)
    torch.testing.assert_close(score.loss, expected)
    assert score.count == 8


def test_scores_of_captions_are_those_of_other_hands(trained):
    batch = batch_of([0, 1, 0, 1])
    texts = ["a red circle", "a red square", "a red circle left of a blue square", "a blue square"]
    counts = trained.counts(texts, batch)
    found = {}
    for name, measure in trained.metrics().items():
        if measure.metric is not None:
            measure.metric.update(counts[:2])  # in two batches
            measure.metric.update(counts[2:])
            found[name] = float(measure.metric.compute())
    bleu = BLEU().corpus_score(texts, list(zip(*batch.references, strict=True)))
    assert found["bleu"] == pytest.approx(bleu.score)
    cider = Cider(batch.references).scores(texts, batch.references)
    assert found["cider"] == pytest.approx(sum(cider) / 4)
    # Of the scenes one red circle, or one blue square; every second is of the unseen ones.
    assert (found["true"], found["true_seen"], found["true_unseen"]) == (50, 50, 50)


def test_trivial_answers_stand_beside(trained):
    batch = batch_of([0, 1, 1])
    scores = trained.baselines(batch)
    assert set(scores) == {"unigram", "most_frequent", "nearest_picture"}
    assert torch.equal(scores["most_frequent"].predicted, trained.counts(["a red circle"] * 3, batch))
    assert torch.equal(scores["nearest_picture"].predicted, trained.counts(batch.nearest, batch))


def test_an_answer_has_the_best_captions_and_what_they_attended_to(trained):
    batch = batch_of([0, 1])
    given = Input(batch._replace(references=None, nearest=None), "two.png")
    trained.best = 2
    answer = trained.answer(given)
    trained.best = 1
    assert answer.table["picture"].tolist() == ["0.png", "0.png", "1.png", "1.png"]
    assert answer.table["caption"][[0, 2]].tolist() == ["a red circle", "a blue square"]
    assert answer.table["rank"].tolist() == [1, 2, 1, 2]
    name, (first, _) = answer.picture
    assert (name, first["grid"], first["written"]) == (
        "caption_attention", [4, 4], ["a", "red", "circle", "</s>"],
    )  # fmt: skip
    weights = torch.tensor(first["weights"])
    assert weights.shape == (4, 16)
    torch.testing.assert_close(weights.sum(1), torch.ones(4), atol=2e-3, rtol=0)
    assert base64.b64decode(first["image"])[:8] == b"\x89PNG\r\n\x1a\n"
    assert "picture" not in trained.answer(Input(batch_of([1])._replace(references=None), "x")).table


def test_maps_have_no_picture_and_no_truth():
    task = made(facts(form="maps", channels=2, mean=(0.0, 0.0), std=(1.0, 1.0), height=3, width=2,
                      scenes=False)).eval()  # fmt: skip
    batch = batch_of([0, 1])._replace(pictures=torch.randn(2, 2, 3, 2), scenes=None, unseen=None)
    assert "true" not in task.metrics()
    assert task.written(batch, 1, 1).example(0)["image"] is None
    assert task.net.encoder.grid == (3, 2)
    assert task.counts(["a", "b"], batch)[:, -4:].sum() == 0
