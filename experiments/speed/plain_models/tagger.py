"""A tagger of words in plain PyTorch, and its conditional random field."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from gatewise.kinds.kind import IGNORED
from gatewise.nn.crf import CRF
from gatewise.nn.spellings import Spellings
from gatewise.tasks.tagging import Tagging
from plain_models.layers import PlainLayers, is_real, locked

FORBIDDEN = -50.0
"""What is added to the score of a tag that is not allowed.

Usual is -10,000, but exp of numbers below -87 takes a CPU many times as long.
"""


class PlainTagger(nn.Module):
    """Embeddings of words beside what their characters say, nn.LSTM over packed sentences, and a CRF."""

    def __init__(self, task: Tagging) -> None:
        super().__init__()
        self.settings = lambda: task
        self.layers = PlainLayers(task.encoder)
        self.embedding = copy.deepcopy(task.embedding)
        self.head = copy.deepcopy(task.head)
        self.spellings = None if task.spellings is None else PlainSpellings(task.spellings)
        self.crf = None if task.crf is None else PlainCRF(task.crf)

    def start(self) -> None:
        """Begin an epoch."""

    def forward(self, batch: Any) -> Tensor:
        """What training minimises on a batch of padded sentences: the mean over its words."""
        task, words, lengths = self.settings(), batch.words, batch.lengths
        if self.training:
            shares = torch.where(task.is_singleton[words], task.singleton_dropout, task.word_dropout)
            words = words.masked_fill(torch.rand(words.shape) < shares, 0)
        x = self.embedding(words)
        if self.spellings is not None:
            x = torch.cat([x, self.spellings(batch.spellings, batch.spelling_lengths)[batch.spelled]], -1)
        outputs, _ = self.layers(locked(x, task.embedding_dropout.p, self.training), lengths)
        scores = self.head(locked(outputs, task.dropout.p, self.training))
        if self.crf is None:
            return F.cross_entropy(scores.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)
        return -self.crf(scores, batch.targets, lengths).sum() / lengths.sum()


class PlainSpellings(nn.Module):
    """Filters over the characters of words and the maximum of each, or nn.LSTM both ways."""

    def __init__(self, spellings: Spellings) -> None:
        super().__init__()
        self.embedding = copy.deepcopy(spellings.embedding)
        self.filters = copy.deepcopy(spellings.filters) if spellings.how == "cnn" else None
        self.lstm = PlainLayers(spellings.recurrent).layers[0] if spellings.how == "bilstm" else None

    def forward(self, spellings: Tensor, lengths: Tensor) -> Tensor:
        """A vector of each of W words with character ids [W, C], lengths [W]."""
        vectors = self.embedding(spellings)
        if self.lstm is not None:
            packed = pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
            _, (hidden, _) = self.lstm(packed)
            return torch.cat([hidden[0], hidden[1]], -1)
        assert self.filters is not None
        real = is_real(lengths, spellings.shape[1]).unsqueeze(1)
        found = self.filters(vectors.transpose(1, 2) * real)
        return found.masked_fill(~real, -torch.inf).amax(2)


class PlainCRF(nn.Module):
    """A linear-chain CRF with a loop over the steps, all tags and sentences of a step at once."""

    def __init__(self, crf: CRF) -> None:
        super().__init__()
        self.start, self.transition, self.end = (
            nn.Parameter(weight.detach().clone()) for weight in (crf.start, crf.transition, crf.end)
        )
        self.forbidden = [FORBIDDEN * ~allowed for allowed in (crf.first, crf.after, crf.last)]

    def forward(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Log-probability [B] of tags [B, T] for emissions [B, T, K]."""
        weights = zip((self.start, self.transition, self.end), self.forbidden, strict=True)
        start, transition, end = (weight + forbidden for weight, forbidden in weights)
        real = is_real(lengths, tags.shape[1])
        tags = tags.masked_fill(~real, 0)
        own = emissions.gather(2, tags.unsqueeze(2)).squeeze(2) * real
        moves = transition[tags[:, :-1], tags[:, 1:]] * real[:, 1:]
        last = tags.gather(1, lengths[:, None] - 1).squeeze(1)
        score = start[tags[:, 0]] + own.sum(1) + moves.sum(1) + end[last]
        total = start + emissions[:, 0]
        for step in range(1, tags.shape[1]):
            following = torch.logsumexp(total.unsqueeze(2) + transition, 1) + emissions[:, step]
            total = torch.where(real[:, step, None], following, total)
        return score - torch.logsumexp(total + end, 1)
