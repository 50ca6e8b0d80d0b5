"""The plain models that presets are timed beside compute the same, of the same weights."""

import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from gatewise.cells import CappedLSTM
from gatewise.kinds.labelled_text import LabelledTextBatch, LabelledTextFacts
from gatewise.kinds.text import TextBatch, TextFacts
from gatewise.nn import Recurrent, Stacked
from gatewise.tasks.language_modelling import LanguageModelling
from gatewise.tasks.text_classification import TextClassification

sys.path.append(str(Path(__file__).resolve().parents[2] / "experiments" / "text_language"))
import plain_models

WORDS = ("<unk>", "<eos>", "a", "b", "c")
COUNTS = (0, 3, 6, 1, 2)


def language_model(model, **settings):
    facts = TextFacts(WORDS, COUNTS, "word", False)
    return LanguageModelling(model=model, facts=facts, embedding_size=6, **settings)


MODELS = {
    "two layers": (partial(Recurrent, hidden_size=6, num_layers=2, dropout=0.2), {"tie_weights": True}),
    "stacked": (partial(Stacked, hidden_size=[7, 5], num_layers=2), {"activation_penalty": 1.0}),
    "skips": (partial(Stacked, hidden_size=5, num_layers=3, skip_connections=True), {}),
    "projected": (partial(Recurrent, hidden_size=9), {"tie_weights": True, "project_outputs": True}),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_language_model_has_the_same_losses_and_gradients(name):
    model, settings = MODELS[name]
    torch.manual_seed(0)
    task = language_model(model, **settings)
    plain = plain_models.PlainLanguageModel(task)
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
    model = partial(Stacked, hidden_size=5, num_layers=2, between_dropout=0.3, weight_dropout=0.4)
    task = language_model(model, input_dropout=0.2, embedding_dropout=0.2, drop_state=0.5)
    plain = plain_models.PlainLanguageModel(task).train()
    batch = TextBatch(*torch.randint(5, (2, 4, 8)))
    assert len({float(plain(batch).detach()) for _ in range(5)}) == 5


def test_what_an_lstm_of_torch_lacks_is_named():
    task = language_model(partial(Stacked, hidden_size=5, cell=CappedLSTM(), state_dropout=0.1))
    assert plain_models.left_out(task) == ["CappedLSTM", "state_dropout"]
    assert plain_models.left_out(language_model(partial(Recurrent, hidden_size=5))) == []


def test_a_classifier_of_texts_has_the_same_loss():
    torch.manual_seed(0)
    facts = LabelledTextFacts(
        WORDS, COUNTS, "word", False, None, None, "text", "label", ("no", "yes"), (3, 4)
    )
    model = partial(Recurrent, hidden_size=5, bidirectional=True)
    task = TextClassification(model=model, facts=facts, embedding_size=6).eval()
    lengths = torch.tensor([3, 8, 1, 5])
    tokens = torch.randint(2, 5, (4, 8)).masked_fill(torch.arange(8) >= lengths[:, None], 0)
    batch = LabelledTextBatch(tokens, lengths, torch.tensor([0, 1, 1, 0]))
    plain = plain_models.PlainTextClassifier(task).eval()
    torch.testing.assert_close(task.score(batch).loss, plain(batch))
