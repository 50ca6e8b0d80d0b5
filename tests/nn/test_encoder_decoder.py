"""An encoder with a decoder: its search against its own teacher-forced scores, and in parts."""

from __future__ import annotations

from functools import partial

import pytest
import torch

import gatewise.nn.token_writer as module
from gatewise.cells import GRU
from gatewise.nn import Recurrent, Stacked
from gatewise.nn.encoder_decoder import EncoderDecoder

START, END = 1, 2


def made(model=Recurrent, words=9, **settings):
    torch.manual_seed(4)
    make = partial(model, hidden_size=6, num_layers=2, cell=GRU(), bidirectional=True, engine="function")
    tie = settings.pop("tie", "target")
    net = EncoderDecoder(make, 8, [1 / words] * words, tie, embedding_size=5, **settings).eval()
    with torch.no_grad():  # scores far apart, so that one sequence is as good as another nowhere
        net.target_embedding.weight.mul_(40)
        net.source_embedding.weight.mul_(10)
    return net


SOURCE = torch.tensor([[3, 4, 5, 2], [6, 2, 0, 0], [2, 0, 0, 0], [7, 7, 2, 0]])
LENGTHS = torch.tensor([4, 2, 1, 3])
LIMITS = torch.tensor([6, 5, 1, 4])


@pytest.mark.parametrize("context", ["layers", "input", "output"])
@pytest.mark.parametrize("model", [Recurrent, Stacked])
def test_a_search_ranks_by_the_scores_of_known_targets(context, model):
    net = made(model, context=context)
    found = net.search(SOURCE, LENGTHS, LIMITS, START, END, width=4, best=3)
    for row in range(4):
        for rank in range(3):
            count = int(found.lengths[row, rank])
            if count == 0:
                continue
            tokens = found.tokens[row, rank, :count]
            assert tokens[-1] == END
            assert START not in tokens
            known = torch.cat([torch.tensor([START]), tokens])[None]
            length = LENGTHS[row : row + 1]
            outputs, _ = net(SOURCE[row : row + 1, : int(length)], length, known[:, :-1])
            _, likelihood = net.loss(outputs, known[:, 1:], torch.tensor([count]))
            torch.testing.assert_close(-likelihood, found.log_probabilities[row, rank], rtol=1e-4, atol=1e-4)
    assert found.lengths[2].tolist() == [1, 0, 0]


def test_a_width_of_one_takes_the_best_token_of_known_beginnings():
    net = made()
    found = net.search(SOURCE, LENGTHS, LIMITS, START, END, width=1)
    tokens = found.tokens[0, 0, : int(found.lengths[0, 0])]
    known = torch.cat([torch.tensor([START]), tokens])[None]
    outputs, _ = net(SOURCE[:1], LENGTHS[:1], known[:, :-1])
    scores = net.head(outputs)[0]
    scores[:, START] = -torch.inf
    best = scores.argmax(-1)
    forced = len(tokens) == int(LIMITS[0])  # the last token had to be the end
    assert torch.equal(best[: len(tokens) - forced], tokens[: len(tokens) - forced])


def test_a_search_in_parts_finds_the_same(monkeypatch):
    net = made()
    settings = {"width": 3, "best": 2, "length_penalty": 0.7, "coverage_penalty": 0.2, "keep_weights": True}
    whole = net.search(SOURCE, LENGTHS, LIMITS, START, END, **settings)
    monkeypatch.setattr(module, "MOST_SCORES", 1)  # one source at a time
    parts = net.search(SOURCE, LENGTHS, LIMITS, START, END, **settings)
    time = parts.tokens.shape[-1]
    assert torch.equal(parts.tokens, whole.tokens[..., :time])
    torch.testing.assert_close(parts.scores, whole.scores)
    torch.testing.assert_close(parts.weights, whole.weights[:, :, :time, : parts.weights.shape[-1]])


@pytest.mark.parametrize("context", ["layers", "input", "output"])
@pytest.mark.parametrize("model", [Recurrent, Stacked])
def test_padding_of_the_targets_changes_nothing_before_it(context, model):
    net = made(model, context=context)
    tokens, lengths = torch.randint(3, 8, (4, 6)), torch.tensor([3, 6, 1, 4])
    whole, weights = net(SOURCE, LENGTHS, tokens)
    outputs, own_weights = net(SOURCE, LENGTHS, tokens, lengths)
    real = torch.arange(6) < lengths[:, None]
    torch.testing.assert_close(outputs[real], whole[real])
    torch.testing.assert_close(own_weights[real], weights[real])


def test_dropouts_act_in_training_alone():
    dropouts = {"word_dropout": 0.5, "embedding_dropout": 0.5, "hidden_dropout": 0.5, "dropout": 0.5}
    net, plain = made(**dropouts), made()
    target = torch.tensor([[START, 3, 4]])
    given = (SOURCE[:1], LENGTHS[:1], target)
    assert torch.equal(net(*given)[0], plain(*given)[0])
    net.train()
    torch.manual_seed(1)
    assert not torch.allclose(net(*given)[0], net(*given)[0])
