"""What an inspection reads of each task, against what the task itself computes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.cells import GRU, LSTM
from gatewise.data.series.module import SeriesWindows
from gatewise.data.text.labelled import LabelledText
from gatewise.data.text.module import LanguageText
from gatewise.inspection.one import one_of
from gatewise.kinds.kind import IGNORED, Facts, Input
from gatewise.kinds.labelled_text import LabelledTextFacts
from gatewise.kinds.sequences import FeatureFacts, SequenceBatch
from gatewise.kinds.series import SeriesFacts, WindowBatch
from gatewise.kinds.text import TextFacts
from gatewise.nn import Recurrent
from gatewise.tasks import Task
from gatewise.tasks.classification import SequenceClassification
from gatewise.tasks.followed import of_frames, of_text
from gatewise.tasks.forecasting import Forecasting
from gatewise.tasks.inspected import Word, characters_begin, joined, last_outputs, remarks_of
from gatewise.tasks.language_modelling import LanguageModelling
from gatewise.tasks.text_classification import TextClassification

TEXT = TextFacts(("<unk>", "<eos>", "the", "cat", "sat", "."), (1, 3, 5, 2, 2, 3), "word", True)
FRAMES = FeatureFacts(
    feature_size=3, classes=("a", "b"), class_counts=(2, 2), mean=(0.0,) * 3, std=(1.0,) * 3
)
SERIES = SeriesFacts(
    time_column="t",
    columns=("x", "y"),
    targets=("y",),
    frequency=None,
    lookback=7,
    horizon=3,
    season=1,
    mean=(1.0, 2.0),
    std=(0.5, 4.0),
)


def make(task, facts, bidirectional=False, num_layers=1, **options):
    torch.manual_seed(0)
    model = partial(Recurrent, hidden_size=4, num_layers=num_layers, bidirectional=bidirectional, cell=LSTM())
    return task(model=model, facts=facts, **options).eval()


def language():
    return make(LanguageModelling, TEXT, embedding_size=5)


def sequences():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(3, 6, 3, generator=generator)
    lengths = torch.tensor([6, 4, 5])
    for row, length in zip(inputs, lengths, strict=True):
        row[length:] = 0
    return SequenceBatch(inputs, lengths, torch.tensor([1, 0, IGNORED]))


def first_of(batch):
    return SequenceBatch(batch.inputs[:1], batch.lengths[:1], batch.targets[:1])


def windows(rows=1):
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(rows, 7, 2, generator=generator)
    return WindowBatch(inputs, torch.full((rows, 3, 1), torch.nan))


def after_every_step(inspected):
    """Scores after each prefix, each run by itself; [T, V]."""
    time = int(inspected.lengths[0])
    rows = []
    for length in range(1, time + 1):
        lengths = torch.tensor([length])
        rows.append(inspected.scores(inspected.prefixes(lengths), lengths)[0])
    return torch.stack(rows)


def at_once(inspected):
    rows, lengths = inspected.inputs[:1], inspected.lengths[:1]
    return inspected.read_all(inspected.outputs(rows, lengths))[0]


def test_a_text_answers_with_the_next_token():
    task = language()
    given = LanguageText.read_input("The cat\nsat. Dog", TEXT)
    inspected = task.inspected(given)
    assert inspected.names == [["the", "cat", "<eos>", "sat", ".", "dog"]]
    scores = inspected.scores(inspected.inputs, inspected.lengths)
    torch.testing.assert_close(torch.softmax(scores, -1), task.predict_step(given.batch))
    table = task.answer(given).table
    named = inspected.most_probable(scores)[0]
    assert [name for name, _ in named] == table["token"][:5].tolist()
    assert [inspected.actual(step) for step in range(6)] == ["cat", "<eos>", "sat", ".", "<unk>", None]
    assert inspected.words is None
    assert inspected.remarks == ["Not in the vocabulary, and so read as <unk>: dog."]
    loss = inspected.whole_loss(
        inspected.outputs(inspected.inputs, inspected.lengths), inspected.inputs, inspected.lengths, 0
    )
    task._state = None
    torch.testing.assert_close(loss[0], task.score(given.batch).loss)
    torch.testing.assert_close(at_once(inspected), after_every_step(inspected))


def test_a_single_token_has_no_truth_and_its_answer_is_scored():
    inspected = language().inspected(LanguageText.read_input("cat", TEXT))
    outputs = inspected.outputs(inspected.inputs, inspected.lengths)
    scores = inspected.read(outputs, inspected.inputs, inspected.lengths)
    answer = inspected.answer(scores[0])
    assert not inspected.has_truth(1)
    loss = inspected.whole_loss(outputs, inspected.inputs, inspected.lengths, answer)
    torch.testing.assert_close(loss, -inspected.score(scores, answer))
    assert torch.exp(-loss) == inspected.probability(scores, answer)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_class_is_that_of_the_sequence_up_to_a_step(pooling, bidirectional):
    task = make(SequenceClassification, FRAMES, bidirectional, num_layers=2, pooling=pooling)
    batch = sequences()
    inspected = task.inspected(Input(batch, "x"))
    scores = inspected.scores(inspected.inputs, inspected.lengths)
    torch.testing.assert_close(scores, task(batch.inputs, batch.lengths))
    prefixes = after_every_step(inspected)
    for length in range(1, 7):
        alone = task(batch.inputs[:1, :length], torch.tensor([length]))
        torch.testing.assert_close(prefixes[length - 1], alone[0])
    if bidirectional:
        assert inspected.read_all is None
    else:
        torch.testing.assert_close(at_once(task.inspected(Input(first_of(batch), "x"))), prefixes)
    assert inspected.actual(3) == "b"
    loss = inspected.loss(scores[:1], inspected.lengths[:1], 0)
    torch.testing.assert_close(loss[0], task.score(first_of(batch)).loss)


def test_without_a_label_the_answer_itself_is_scored():
    task = make(SequenceClassification, FRAMES)
    batch = sequences()
    inspected = task.inspected(Input(batch._replace(targets=torch.tensor([IGNORED, 0, 1])), "x"))
    scores = inspected.scores(inspected.inputs, inspected.lengths)[:1]
    assert inspected.actual(0) is None
    torch.testing.assert_close(
        inspected.loss(scores, inspected.lengths[:1], 1), -torch.log_softmax(scores, -1)[:, 1]
    )


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_forecast_is_that_of_the_window_up_to_a_step(center, bidirectional):
    task = make(Forecasting, SERIES, bidirectional, center=center)
    batch = windows()
    inspected = task.inspected(Input(batch, "x"))
    scores = inspected.scores(inspected.inputs, inspected.lengths)
    torch.testing.assert_close(scores, task(batch.inputs).flatten(1))
    prefixes = after_every_step(inspected)
    for length in range(1, 8):
        torch.testing.assert_close(prefixes[length - 1], task(batch.inputs[:, :length]).flatten())
    if center or bidirectional:
        assert inspected.read_all is None
    else:
        torch.testing.assert_close(at_once(inspected), prefixes)
    answer = inspected.answer(scores[0])
    nearest = SERIES.unscaled(task(batch.inputs)[0].detach().double())[0, 0]
    assert float(inspected.in_words(answer)) == pytest.approx(nearest, abs=0.01)
    (named,) = inspected.most_probable(scores.detach())
    assert [name for name, _ in named] == ["y +1", "y +2", "y +3"]
    assert named[0][1] == pytest.approx(nearest, abs=1e-5)


def test_the_rows_that_follow_are_a_forecasts_truth():
    task = make(Forecasting, SERIES)
    batch = windows()
    inspected = task.inspected(Input(batch, "x"))
    y = batch.inputs[0, :, 1]
    torch.testing.assert_close(inspected.truth[2], y[3:6])
    assert inspected.truth[5].isnan().tolist() == [False, True, True]
    assert [inspected.has_truth(length) for length in (1, 6, 7)] == [True, True, False]
    scores = torch.zeros(2, 3)
    loss = inspected.loss(scores, torch.tensor([3, 6]), torch.zeros(3))
    torch.testing.assert_close(loss, torch.stack([y[3:6].square().mean(), y[6].square()]))
    # After the last step nothing is known: the loss is how far the forecast moves.
    answer = torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(inspected.loss(scores[:1], torch.tensor([7]), answer)[0], torch.tensor(14 / 3))
    assert inspected.actual(6) is None
    assert float(inspected.actual(0)) == pytest.approx(float(y[1] * 4 + 2), abs=0.01)


def test_a_known_future_is_truth_too():
    task = make(Forecasting, SERIES)
    batch = WindowBatch(windows().inputs, torch.ones(1, 3, 1))
    inspected = task.inspected(Input(batch, "x"))
    assert inspected.truth.shape == (7, 3)
    assert inspected.truth[6].tolist() == [1, 1, 1]


def test_the_times_of_a_file_name_its_steps(tmp_path):
    rows = "\n".join(f"2020-01-{day:02d},{day},{2 * day}" for day in range(1, 11))
    (tmp_path / "x.csv").write_text(f"t,x,y\n{rows}\n")
    given = SeriesWindows.read_input(tmp_path / "x.csv", SERIES)
    inspected = make(Forecasting, SERIES).inspected(given)
    assert list(inspected.names[0]) == [f"2020-01-{day:02d}" for day in range(4, 11)]


def test_a_task_without_the_method_says_so():
    class Mine(Task):
        facts_type = Facts

    task = Mine(TEXT)
    with pytest.raises(ValueError, match="Mine cannot be inspected: it has no method `inspected`"):
        task.inspected(Input(None, "x"))


@pytest.mark.parametrize("directions", [1, 2])
def test_the_outputs_that_have_read_all(directions):
    torch.manual_seed(0)
    encoder = Recurrent(3, 4, bidirectional=directions == 2, cell=GRU(), batch_first=True)
    lengths = torch.tensor([2, 5])
    outputs, state = encoder(torch.randn(2, 5, 3), lengths=lengths)
    expected = torch.cat(list(state[0]), -1)
    torch.testing.assert_close(last_outputs(outputs, lengths, directions), expected)


def test_characters_make_words():
    words = joined(list("It’s a cat, no?\n"), characters_begin)
    assert [word.text for word in words] == ["It’s", " ", "a", " ", "cat", ",", " ", "no", "?", "\n"]
    assert words[4] == Word(7, 9, "cat")


@settings(max_examples=30)
@given(st.text(st.sampled_from("ab '.\né"), max_size=20))
def test_words_are_all_of_the_text_in_order(text):
    words = joined(list(text), characters_begin)
    assert "".join(word.text for word in words) == text
    assert [step for word in words for step in range(word.first, word.last + 1)] == list(range(len(text)))


def test_what_tokens_are():
    features = of_text([["the", "“", "cat", "”", ".", "<eos>", "7", '"', "sat", '"']], {"the": 9, "cat": 1})
    row = {name: values[0].tolist() for name, values in features.items()}
    assert row["punctuation"] == [0, 1, 0, 1, 1, 0, 0, 1, 0, 1]
    assert row["end of a sentence"] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert row["end of a line"] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert row["inside quotes or brackets"] == [0, 0, 1, 0, 0, 0, 0, 0, 1, 1]
    assert row["position in the line"] == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    assert row["position in the sentence"] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    assert row["rarity"][0] < row["rarity"][2] < row["rarity"][8]


def test_padding_follows_nothing():
    batch = sequences()
    features = of_frames(batch.inputs.numpy(), batch.lengths.numpy(), batch.targets.numpy(), FRAMES.classes)
    for name, values in features.items():
        assert np.isnan(values[1, 4:]).all(), name
        assert not np.isnan(values[0]).any(), name
    assert features["class b"][:2, 0].tolist() == [1, 0]
    assert features["share of the sequence"][1, 3] == 1


REVIEWS = LabelledTextFacts(
    TEXT.vocabulary, TEXT.counts, "word", True, None, 6, "text", "label", ("bad", "good"), (2, 2)
)


@pytest.mark.parametrize("pooling", ["last", "mean_max", "attention"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_text_with_a_class_answers_if_it_ended_at_each_token(pooling, bidirectional, tmp_path):
    task = make(TextClassification, REVIEWS, bidirectional, embedding_size=5, pooling=pooling)
    (tmp_path / "x.csv").write_text("text,label\nThe cat sat. Dog sat again,good\ncat,none\n")
    given = LabelledText.read_input(tmp_path / "x.csv", REVIEWS)
    inspected = task.inspected(given)
    scores = inspected.scores(inspected.inputs, inspected.lengths)
    torch.testing.assert_close(torch.softmax(scores, -1), task.predict_step(given.batch))
    assert inspected.names == [["the", "cat", "sat", ".", "<unk>", "sat"], ["cat"]]  # six tokens are read
    for place, length in enumerate([1, 3, 6]):
        alone = task(given.batch.tokens[:1, :length], torch.tensor([length]))
        rows = inspected.prefixes(torch.tensor([1, 3, 6]))
        torch.testing.assert_close(inspected.scores(rows, torch.tensor([1, 3, 6]))[place], alone[0])
    assert (inspected.read_all is None) == (bidirectional or pooling == "attention")
    if inspected.read_all is not None:
        torch.testing.assert_close(at_once(inspected), after_every_step(inspected))
    assert (inspected.actual(0), inspected.has_truth(6)) == ("good", True)
    padding = inspected.features["class good"][1]
    assert (padding[0], np.isnan(padding[1:]).all()) == (0.0, True)
    assert inspected.features["letters"][0].tolist() == [3, 3, 3, 1, 5, 3]
    (sequence, _) = one_of(given, 2)
    assert task.inspected(sequence).names == [["cat"]]
    assert sequence.batch.texts == ["cat"]


def test_a_text_with_a_class_is_named_as_it_was_typed():
    given = LabelledText.read_input("The zebra sat", REVIEWS)
    inspected = make(TextClassification, REVIEWS, embedding_size=5).inspected(given)
    assert inspected.names == [["the", "zebra", "sat"]]
    assert inspected.remarks == ["Not in the vocabulary, and so read as <unk>: zebra."]
    many = remarks_of(map(str, range(25)))
    assert many[0].endswith("18, 19 and 5 more.")
