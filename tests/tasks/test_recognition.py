"""Recognition: what is read, scored, shown and answered, against a few lines each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from torchmetrics.text import CharErrorRate, WordErrorRate

from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.transcripts import TranscribedBatch, TranscriptFacts
from gatewise.nn import Recurrent
from gatewise.tasks import transcript_errors
from gatewise.tasks.recognition import Recognition
from gatewise.views.pictures import alignment


@dataclass(frozen=True)
class Made(TranscriptFacts):
    kind: ClassVar[str] = "made transcripts"


WORDS = Made(3, ("one", "two", "oh"), " ", (0.0,) * 3, (1.0,) * 3, usual=(0, 1))
LETTERS = Made(3, ("a", "b", " "), "", (0.0,) * 3, (1.0,) * 3)


def make_task(facts=WORDS, seed=0, training=False, **settings):
    torch.manual_seed(seed)
    model = partial(Recurrent, hidden_size=8, bidirectional=True, engine="loop")
    optimizer = partial(torch.optim.Adam, lr=0.03)
    return Recognition(model, facts, optimizer, **settings).train(training)


def make_batch(transcripts=((0, 1, 1), (2,), ()), lengths=(9, 4, 5)):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(len(lengths), max(lengths), 3, generator=generator)
    lengths = torch.tensor(lengths)
    inputs[torch.arange(inputs.shape[1]) >= lengths[:, None]] = 0
    rows = [torch.tensor(row, dtype=torch.long) for row in transcripts]
    targets = torch.nn.utils.rnn.pad_sequence(rows, True, IGNORED)
    return TranscribedBatch(inputs, lengths, targets, torch.tensor([len(row) for row in transcripts]))


@pytest.mark.parametrize("stack", [1, 2])
def test_padding_changes_nothing(stack):
    task, batch = make_task(stack=stack), make_batch()
    log_probabilities, steps = task(batch.inputs, batch.lengths)
    for row, length in enumerate(batch.lengths.tolist()):
        alone, (own,) = task(batch.inputs[row : row + 1, :length], batch.lengths[row : row + 1])
        assert own == steps[row] == -(-length // stack)
        torch.testing.assert_close(log_probabilities[row, :own], alone[0], rtol=0, atol=1e-5)


def test_loss_is_per_unit_over_all_sequences():
    task, batch = make_task(training=True), make_batch()
    score = task.score(batch)
    total = 0.0
    for row in range(3):
        one = TranscribedBatch(*(field[row : row + 1] for field in batch[:4]))
        one = one._replace(inputs=one.inputs[:, : int(one.lengths)])
        total += task.score(one).loss.item() * max(int(one.target_lengths), 1)
    assert score.count == 4
    assert score.loss.item() == pytest.approx(total / 4, rel=1e-5)


def test_a_transcript_longer_than_its_steps_is_told():
    """Three units, of which two are equal, need four steps; two frames each make three of five."""
    with pytest.raises(ValueError, match=r"needs 4 steps, and its 5 frames are 3: .* task.stack less than 2"):
        make_task(stack=2).score(make_batch(((0, 1, 1),), (5,)))


@pytest.mark.parametrize("facts", [WORDS, LETTERS])
def test_error_rates_are_those_of_torchmetrics(facts):
    """Summed over batches of any size; characters are compared where units are characters."""
    generator = np.random.default_rng(0)
    made = [[generator.integers(0, 3, generator.integers(1, 9)).tolist() for _ in range(40)] for _ in "ab"]
    answers, references = made
    measures = transcript_errors.measures()
    for start, end in ((0, 7), (7, 40)):
        counts = transcript_errors.statistics(answers[start:end], references[start:end], facts)
        for measure in measures.values():
            measure.metric.update(counts)
    texts = [[facts.text(units) for units in part] for part in made]
    found = {name: float(measure.metric.compute()) for name, measure in measures.items()}
    assert found["word_error_rate"] == pytest.approx(100 * float(WordErrorRate()(*texts)), abs=1e-4)
    of_units = WordErrorRate() if facts.joiner else CharErrorRate()
    assert found["unit_error_rate"] == pytest.approx(100 * float(of_units(*texts)), abs=1e-4)
    wrong = sum(a != b for a, b in zip(*made, strict=True))
    assert found["transcript_error_rate"] == pytest.approx(100 * wrong / 40, abs=1e-4)


def test_it_learns_and_shows_its_worst(trainer, loader):
    """Frames that say their unit are read without an error; trivial answers stand beside it."""
    batch = make_batch(((0, 1, 1), (2,), (1, 2)), (8, 3, 5))
    frames = [[0, 3, 1, 1, 3, 1, 3, 3], [3, 2, 3, 0, 0, 0, 0, 0], [1, 3, 3, 2, 2, 0, 0, 0]]
    inputs = torch.nn.functional.one_hot(torch.tensor(frames), 4)[..., :3].float()
    batch = batch._replace(inputs=inputs, names=["x.wav", "y.wav", "z.wav"])
    task = make_task(training=True, beam=4)
    fit = trainer(max_epochs=60)
    fit.fit(task, loader([batch]), loader([batch]))
    (results,) = fit.test(task, loader([batch]), verbose=False)
    assert results["test/word_error_rate"] == results["test/transcript_error_rate"] == 0
    assert results["baseline/nothing/word_error_rate"] == 100
    # "one two" for "one two two", "oh" and "two oh": 1 + 2 + 2 of 6 words.
    assert results["baseline/most frequent transcript/word_error_rate"] == pytest.approx(100 * 5 / 6)
    assert task.examples() is None
    assert task.predict_step(batch) == ["one two two", "oh", "two oh"]
    wrong = batch._replace(targets=torch.tensor([[0, 1, 1], [1, 0, 1], [1, 2, IGNORED]]),
                           target_lengths=torch.tensor([3, 3, 2]))  # fmt: skip
    fit.test(task, loader([wrong._replace(lengths=torch.tensor([8, 5, 5]))]), verbose=False)
    assert task.examples().table.to_dict("records")[0] == {
        "name": "y.wav", "transcript": "oh", "reference": "two one two", "wrong units": 3,
    }  # fmt: skip
    (first, *_) = task.report()["alignment"]
    assert first["labels"] == ["two", "one", "oh", "(blank)"]
    assert len(first["frames"]) == len(first["probabilities"]) == 5
    ((unit, step),) = first["read"]
    assert unit == "oh" == first["labels"][int(np.argmax(first["probabilities"][step]))]


def test_an_answer_has_every_sequence_in_order(tmp_path, figures):
    task = make_task(beam=3, best=2)
    batch = make_batch(lengths=(4, 9, 6))._replace(target_lengths=torch.full((3,), -1))
    answer = task.answer(Input(batch, "mine", {"text": ["x", "y", "z"]}))
    assert answer.table["sequence"].tolist() == [1, 1, 2, 2, 3, 3]
    assert answer.table["text"].tolist() == ["x", "x", "y", "y", "z", "z"]
    alone = task.answer(Input(TranscribedBatch(*(field[1:2] for field in batch[:4])), "mine"))
    assert alone.table["transcript"].tolist() == answer.table["transcript"].tolist()[2:4]
    name, drawn = answer.picture
    assert name == "alignment"
    alignment.draw(drawn, tmp_path / "a.png", "mine")
    (figure,) = figures
    assert [axes.get_xlim() for axes in figure.axes][:4] == [(0, 4), (0, 4), (0, 9), (0, 9)]


@pytest.mark.parametrize("beam", [1, 3])
def test_streams_do_not_see_each_other(beam):
    """Each begins with no state and no prefix, whatever its task has read before or reads beside it."""
    model = partial(Recurrent, hidden_size=8, engine="loop")
    torch.manual_seed(1)
    task = Recognition(model, LETTERS, stack=2, beam=beam, settled_after=4).eval()
    torch.nn.init.normal_(task.head.weight, std=4.0)
    frames = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(2))

    def read(*streams):
        readers = [task.streamed() for _ in streams]
        found = [[] for _ in streams]
        for part in range(0, 40, 5):
            for reader, texts, stream in zip(readers, found, streams, strict=True):
                texts += [unit.unit for unit in reader.accept(stream[part : part + 5])]
        for reader, texts in zip(readers, found, strict=True):
            texts += [unit.unit for unit in reader.end()]
        return found

    with torch.inference_mode():
        alone = [read(stream)[0] for stream in frames]
        assert read(*frames) == alone
        whole = task.recognised(TranscribedBatch(frames, torch.tensor([40, 40]), None, None, None))
        assert [[LETTERS.units[unit] for unit in whole.units(row)] for row in range(2)] == alone
    assert all(alone)
    assert alone[0] != alone[1]


def test_an_inspection_sees_what_it_reads():
    task, batch = make_task(), make_batch()
    inspected = task.inspected(Input(batch, "mine"))
    log_probabilities, _ = task(batch.inputs, batch.lengths)
    scores = inspected.read_all(inspected.outputs(inspected.inputs, inspected.lengths))
    torch.testing.assert_close(torch.log_softmax(scores[0], -1), log_probabilities[0])
