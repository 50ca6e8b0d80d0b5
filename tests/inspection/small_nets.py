"""Small trained-looking nets and inputs, for tests of what an inspection asks of them."""

from __future__ import annotations

from functools import partial

import torch

from gatewise.cells import LSTM
from gatewise.data.text.labelled import LabelledText
from gatewise.data.text.module import LanguageText
from gatewise.kinds.kind import Input
from gatewise.kinds.labelled_text import LabelledTextFacts
from gatewise.kinds.sequences import FeatureFacts, SequenceBatch
from gatewise.kinds.text import TextFacts
from gatewise.nn import Recurrent, Stacked
from gatewise.tasks.classification import SequenceClassification
from gatewise.tasks.language_modelling import LanguageModelling
from gatewise.tasks.text_classification import TextClassification

TEXT = TextFacts(
    ("<unk>", "<eos>", "the", "cat", "sat", ".", "dog", "ran"), (1, 3, 5, 2, 2, 3, 2, 2), "word", True
)
REVIEWS = LabelledTextFacts(
    TEXT.vocabulary, TEXT.counts, "word", True, None, None, "text", "label", ("bad", "good"), (2, 2)
)
FRAMES = FeatureFacts(
    feature_size=3, classes=("a", "b"), class_counts=(2, 2), mean=(0.0,) * 3, std=(1.0,) * 3
)
SENTENCE = "The cat sat. The dog ran."


def made(task, facts, cell=None, bidirectional=False, num_layers=1, sizes=None, **options):
    """A task of 5 units with large weights, in which something happens at every step.

    With ``sizes`` it has layers of these sizes.
    """
    torch.manual_seed(0)
    model = partial(
        Recurrent if sizes is None else Stacked,
        hidden_size=sizes or 5,
        num_layers=len(sizes or [0] * num_layers),
        bidirectional=bidirectional,
        cell=cell or LSTM(),
        engine="function",
    )
    found = task(model=model, facts=facts, **options).eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.mul_(2)
    return found


def language(text=SENTENCE, **options):
    """(task, what is inspected of a text)."""
    task = made(LanguageModelling, TEXT, embedding_size=4, **options)
    return task, task.inspected(LanguageText.read_input(text, TEXT))


def frames(steps=7, target=1, **options):
    """(task, what is inspected of one sequence of frames)."""
    task = made(SequenceClassification, FRAMES, **options)
    inputs = torch.randn(1, steps, 3, generator=torch.Generator().manual_seed(1))
    batch = SequenceBatch(inputs, torch.tensor([steps]), torch.tensor([target]))
    return task, task.inspected(Input(batch, "x"))


def review(text=SENTENCE, **options):
    """(task, what is inspected of a text that has a class)."""
    task = made(TextClassification, REVIEWS, embedding_size=4, **options)
    return task, task.inspected(LabelledText.read_input(text, REVIEWS))
