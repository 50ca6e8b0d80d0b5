"""Several labels for a text: the reading, the loss and the scores, against sklearn and a few lines."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch.nn import functional as F

from gatewise.data.text import LabelledText, SeveralLabels
from gatewise.nn import Recurrent
from gatewise.tasks.several_labels import AnswersF1, SeveralLabelsClassification, SubsetAccuracy

WORDS = {"food": ["bread", "soup"], "sport": ["ball", "goal"], "war": ["sword", "army"]}


def write(path, count=80, seed=0, header="text,topics,tone,stars"):
    draw = np.random.default_rng(seed)
    rows = [header]
    for _ in range(count):
        has = [topic for topic in WORDS if draw.random() < 0.4]
        words = ["the", *(draw.choice(WORDS[topic]) for topic in has), draw.choice(["fine", "awful"])]
        rows.append(f"{' '.join(words)},{' ; '.join(has)},{words[-1]},{min(len(has), 2)}")
    path.write_text("\n".join(rows))


def make(folder, **settings):
    data = SeveralLabels(**{"files": ["mine.csv"], "folders": [folder], "seed": 1, **settings})
    data.setup()
    return data


@pytest.fixture(params=["labels", "columns"])
def data(tmp_path, request):
    write(tmp_path / "mine.csv")
    settings = {"label_columns": ["topics"], "label_separator": ";"}
    return make(tmp_path, **(settings if request.param == "labels" else {"label_columns": ["tone", "stars"]}))


def test_targets_are_the_labels_of_each_text(data):
    facts = data.facts
    for part in (data.train_data, data.validation_data, data.test_data):
        for i in range(len(part)):
            batch = part[[i]]
            words = {facts.vocabulary[token] for token in batch.tokens[0]}
            has = [topic for topic in WORDS if words & set(WORDS[topic])]
            found = [facts.answers_of(q)[answer] for q, answer in enumerate(batch.targets[0].tolist())]
            if facts.label_separator:
                assert [facts.questions[q] for q, answer in enumerate(found) if answer == "yes"] == has
            else:
                assert found == ["fine" if "fine" in words else "awful", str(min(len(has), 2))]
    counts = [
        count for q, size in enumerate(facts.sizes)
        for count in np.bincount(data.train_data.targets[:, q], minlength=size)
    ]  # fmt: skip
    assert list(facts.answer_counts) == counts
    assert data.describe()["training texts"] == 64


def make_task(facts):
    torch.manual_seed(0)
    model = partial(Recurrent, hidden_size=4, bidirectional=True, engine="loop")
    return SeveralLabelsClassification(
        model=model, facts=facts, embedding_size=6, optimizer=partial(torch.optim.SGD, lr=0.0)
    )


def test_loss_and_scores_against_sklearn(data, trainer):
    task, facts = make_task(data.facts), data.facts
    (found,) = trainer().test(task, data.test_dataloader(), verbose=False)
    batch = data.test_data[list(range(len(data.test_data)))]
    logits = task.eval()(batch.tokens, batch.lengths).detach()
    answers, losses, macro = [], [], []
    for q, first in enumerate(facts.starts):
        own = logits[:, first : first + facts.sizes[q]]
        losses.append(F.cross_entropy(own, batch.targets[:, q]).item())
        answers.append(own.argmax(1))
        every = range(facts.sizes[q]) if facts.label_separator is None else [1]
        macro += f1_score(
            batch.targets[:, q], answers[-1], labels=list(every), average=None, zero_division=0
        ).tolist()
    given = torch.stack(answers, 1)
    assert found["test/loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert found["test/accuracy"] == pytest.approx((given == batch.targets).float().mean().item())
    whole = (given == batch.targets).all(1).float().mean().item()
    assert found["test/subset_accuracy"] == pytest.approx(whole)
    assert found["test/f1"] == pytest.approx(np.mean(macro), rel=1e-5)
    if facts.label_separator is not None:
        micro = f1_score(batch.targets, given, average="micro", zero_division=0)
        assert found["test/micro_f1"] == pytest.approx(micro, rel=1e-5)
    counts = [facts.answer_counts[a : a + size] for a, size in zip(facts.starts, facts.sizes, strict=True)]
    guess = torch.tensor([int(np.argmax(own)) for own in counts])
    right = (guess == batch.targets).float().mean().item()
    assert found["baseline/majority answers/accuracy"] == pytest.approx(right)
    assert found["baseline/naive Bayes + logistic regression/accuracy"] > 0.8
    assert list(task.examples().table["label"]) == list(facts.questions)


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_f1_of_batches_is_that_of_all(average):
    draw = torch.Generator().manual_seed(3)
    predicted, targets = torch.randint(0, 2, (2, 50, 4), generator=draw)
    metric = AnswersF1([0, 2, 4, 6], [False, True] * 4, average)
    for rows in (slice(0, 20), slice(20, 50)):
        metric.update(predicted[rows], targets[rows])
    assert float(metric.compute()) == pytest.approx(f1_score(targets, predicted, average=average))
    assert metric.of_answers()[1::2].tolist() == pytest.approx(f1_score(targets, predicted, average=None))
    exact = SubsetAccuracy()
    exact.update(predicted, targets)
    assert float(exact.compute()) == pytest.approx((predicted == targets).all(1).double().mean().item())


def test_answers(data, tmp_path):
    task, facts = make_task(data.facts).eval(), data.facts
    write(tmp_path / "new.csv", 9, seed=4)
    given = SeveralLabels.read_input(tmp_path / "new.csv", facts)
    with torch.inference_mode():
        answer = task.answer(given)
        lines = task.answer_lines(given)
        expected = task.predict_step(given.batch)
    assert not answer.file_only  # few are shown
    probabilities = answer.table[list(answer.formats)].to_numpy()
    shown = expected[:, 1::2] if facts.label_separator else expected
    np.testing.assert_allclose(probabilities, shown, atol=1e-6)
    for row, line in zip(answer.table.to_dict("records"), lines, strict=True):
        if facts.label_separator:
            has = [name for name in facts.questions if row[f"p({name})"] > 0.5]
            assert row["labels"] == line.text == ";".join(has)
            assert line.shown == (line.text or "none of the labels")
            assert row["topics"] is not None
        else:
            assert line.text == f"{row['predicted tone']}\t{row['predicted stars']}"
            assert row["p(tone=fine)"] + row["p(tone=awful)"] == pytest.approx(1)
    assert len(SeveralLabels.read_input("the soup", facts).batch.targets[0]) == len(facts.questions)


TOPICS = {"label_columns": ["topics"], "label_separator": ";"}
WRONG = {
    "no such column": ({"label_columns": ["tone", "star"]}, r"no column 'star' \(did you mean 'stars'\?\)"),
    "both": ({"label_columns": ["a", "b"], "label_separator": ";"}, "label_columns names 2: give one"),
    "the text": ({"label_columns": ["text"]}, "text_column=text is one of label_columns too"),
    "no table": ({"files": ["mine.neg"]}, "mine.neg is no table, and several labels stand in one"),
    "unknown label": ({**TOPICS, "test_files": ["test.csv"]}, r"test.csv:2: label 'wart' is not.*'war'"),
    "unknown answer": (
        {"label_columns": ["tone"], "test_files": ["test.csv"]}, "test.csv:2: label 'odd' is not among"
    ),
    "one answer": ({"label_columns": ["same"]}, "every text has the same 'x': leave this column out"),
    "empty": ({"label_columns": ["empty"]}, "mine.csv:2: the label is empty"),
    "no label": ({"label_columns": ["empty"], "label_separator": ";"}, "no text has a label in the column"),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_line(settings, message, tmp_path):
    write(tmp_path / "mine.csv")
    lines = (tmp_path / "mine.csv").read_text().split("\n")
    rows = [f"{line},x," for line in lines[1:]]
    (tmp_path / "mine.csv").write_text("\n".join([lines[0] + ",same,empty", *rows]))
    (tmp_path / "mine.neg").write_text("a\n")
    (tmp_path / "test.csv").write_text("text,topics,tone\nthe army,wart,odd\n")
    with pytest.raises(ValueError, match=message) as caught:
        make(tmp_path, **settings)
    assert "\n" not in str(caught.value)


def test_one_column_of_several_is_read_alone(tmp_path):
    write(tmp_path / "mine.csv")
    data = LabelledText(files=["mine.csv"], folders=[tmp_path], label_column="stars")
    data.setup()
    assert data.facts.classes == ("0", "1", "2")
