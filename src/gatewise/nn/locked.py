"""Dropouts of language models: one mask for all steps, and whole words of an embedding."""

from __future__ import annotations

from torch import Tensor, nn

from gatewise.nn.masks import kept


class LockedDropout(nn.Dropout):
    """Dropout with one mask for all steps of a sequence, drawn anew in every call.

    Gal & Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks", NeurIPS
    2016, who call it variational.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``x`` [B, T, F] with features dropped, each in all T steps of a sequence, and the others scaled."""
        if not self.training or self.p == 0:
            return x
        return x * kept(self.p, (x.shape[0], 1, x.shape[2]), x)


class WordDropout(nn.Dropout):
    """Dropout of whole words of an embedding: a dropped one is zero wherever it stands in the batch.

    Merity, Keskar & Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018, call it embedding
    dropout.
    """

    def forward(self, vectors: Tensor, tokens: Tensor, words: int) -> Tensor:  # type: ignore[override]
        """``vectors`` [B, T, F] of ``tokens`` [B, T], from a vocabulary of so many words."""
        if not self.training or self.p == 0:
            return vectors
        return vectors * kept(self.p, (words,), vectors)[tokens].unsqueeze(-1)
