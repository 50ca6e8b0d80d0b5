"""From pictures to tokens: a convolutional encoder, and a decoder that attends to places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from gatewise.nn.attention import Memory
from gatewise.nn.attention_decoder import State as DecoderState
from gatewise.nn.beam_search import Hypotheses
from gatewise.nn.token_writer import TokenWriter
from gatewise.settings import checked

GROUPS = 8
"""Groups of channels that a layer normalises together."""


class PictureEncoder(nn.Module):
    """Turns pictures [B, C, H, W] into a vector for every place of a grid, [B, P, output_size].

    Every one of ``sizes`` is a 3 × 3 convolution to so many channels that halves height and width, with group
    normalisation (Wu & He, "Group Normalization", ECCV 2018) and ReLU. With ``projected`` the pictures are
    maps that a network has made already: only the last size counts, to which a linear map brings each place.
    To each vector is added what is learnt of its row and of its column, as attention itself knows no places.
    """

    def __init__(
        self, channels: int, height: int, width: int, sizes: Sequence[int], projected: bool = False
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.grid = (height, width)
        """Rows and columns of the places, P in all, row by row."""
        if projected:
            layers.append(nn.Conv2d(channels, sizes[-1], 1))
        else:
            for before, size in pairwise([channels, *sizes]):
                groups = GROUPS if size % GROUPS == 0 else 1
                layers += [
                    nn.Conv2d(before, size, 3, stride=2, padding=1),
                    nn.GroupNorm(groups, size),
                    nn.ReLU(),
                ]
                self.grid = (-(-self.grid[0] // 2), -(-self.grid[1] // 2))
        self.layers = nn.Sequential(*layers)
        self.output_size = sizes[-1]
        # About as large as the features: else it takes long until attention tells places apart.
        self.row = nn.Parameter(torch.empty(self.output_size, self.grid[0], 1).normal_(std=0.5))
        self.column = nn.Parameter(torch.empty(self.output_size, 1, self.grid[1]).normal_(std=0.5))

    def forward(self, pictures: Tensor) -> Tensor:
        vectors: Tensor = self.layers(pictures) + self.row + self.column
        return vectors.flatten(2).transpose(1, 2)


class PictureWriter(TokenWriter):
    """Reads pictures, and gives scores of tokens about them.

    The output layer has the weights of the embeddings where it is ``tied``. The other settings are those of
    :class:`TokenWriter`.
    """

    encoder: PictureEncoder

    @checked
    def __init__(
        self,
        model: Callable[..., Any],
        encoder: PictureEncoder,
        frequencies: Sequence[float],
        tied: bool,
        **writing: Any,
    ) -> None:
        super().__init__(lambda size: encoder, model, len(frequencies), **writing)  # noqa: ARG005
        self.make_head(frequencies, tied, (self.target_embedding,))

    def encode(self, pictures: Tensor) -> tuple[Memory, DecoderState]:
        """What the decoder attends to, and its first state, for pictures [B, C, H, W]."""
        outputs: Tensor = self.encoder(pictures)
        return self.remember(outputs, torch.full(outputs.shape[:1], outputs.shape[1], device=outputs.device))

    def forward(
        self, pictures: Tensor, tokens: Tensor, token_lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(Outputs of the decoder [B, T, D], weights of attention [B, T, P]) for known tokens [B, T].

        With ``token_lengths`` [B], those on padding mean nothing.
        """
        return self.written(*self.encode(pictures), tokens, token_lengths)

    def search(self, pictures: Tensor, limits: Tensor, *of: Any, **settings: Any) -> Hypotheses:
        """The best tokens for each picture, at most ``limits`` [B]; see :meth:`TokenWriter.searched`."""
        return self.searched(lambda part: self.encode(pictures[part]), limits, *of, **settings)
