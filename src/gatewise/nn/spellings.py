"""A vector for a word from its characters."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gatewise.nn.recurrent import Recurrent

SpellingReader = Literal["cnn", "bilstm"]
WIDTH = 3
"""Characters that a filter of the CNN sees."""


class Spellings(nn.Module):
    """Reads the characters of words and gives a vector of ``output_size`` for each.

    ``bilstm`` has the final hidden states of an LSTM in both directions, ``size`` each (Lample et al.,
    "Neural Architectures for Named Entity Recognition", NAACL 2016); ``cnn`` the maximum over the word of
    each of ``size`` filters over three characters (Ma & Hovy, "End-to-end Sequence Labeling via
    Bi-directional LSTM-CNNs-CRF", ACL 2016). Padding never counts.

    Args:
        characters: how many different ones there are.
        embedding_size: numbers for each of them.
    """

    def __init__(self, how: SpellingReader, characters: int, embedding_size: int, size: int) -> None:
        super().__init__()
        self.how = how
        self.embedding = nn.Embedding(characters, embedding_size)
        nn.init.normal_(self.embedding.weight, std=embedding_size**-0.5)
        if how == "cnn":
            self.filters = nn.Conv1d(embedding_size, size, WIDTH, padding=WIDTH // 2)
        else:
            self.recurrent = Recurrent(embedding_size, size, batch_first=True, bidirectional=True)
        self.output_size = size if how == "cnn" else 2 * size

    def extra_repr(self) -> str:
        return self.how

    def forward(self, spellings: Tensor, lengths: Tensor) -> Tensor:
        """Vectors [W, output_size] of words with character ids [W, C], lengths [W]."""
        vectors = self.embedding(spellings)
        if self.how == "bilstm":
            _, state = self.recurrent(vectors, lengths=lengths)
            return torch.cat(list(state[0]), -1)
        real = (torch.arange(spellings.shape[1], device=lengths.device) < lengths[:, None]).unsqueeze(1)
        # Zeros, as beyond the end of the longest word.
        found = self.filters(vectors.transpose(1, 2) * real)
        read: Tensor = found.masked_fill(~real, -torch.inf).amax(2)
        return read
