"""From a sequence of tokens to another: an encoder, a decoder that attends to it, and embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from gatewise.nn.attention import Memory
from gatewise.nn.attention_decoder import State as DecoderState
from gatewise.nn.beam_search import Hypotheses
from gatewise.nn.token_writer import TokenWriter
from gatewise.settings import Positive, checked

TieName = Literal["none", "target", "all"]


class EncoderDecoder(TokenWriter):
    """Reads B sequences of S tokens, and gives scores of the tokens of others, T long.

    ``model(input_size=…, batch_first=True)`` makes the encoder; with ``bidirectional=False``, and the layers
    and size that are given or else the encoder's, the decoder's recurrent layers. ``tie`` is ``target`` where
    the output layer has the weights of the target's embeddings, ``all`` where both have those of the source's
    too, which needs one vocabulary. ``target_frequencies`` [V] are the shares from whose logarithm the
    output's biases start. The other settings are those of :class:`TokenWriter`.
    """

    @checked
    def __init__(
        self,
        model: Callable[..., Any],
        source_words: Positive,
        target_frequencies: Sequence[float],
        tie: TieName,
        **writing: Any,
    ) -> None:
        words = len(target_frequencies)
        if tie == "all" and source_words != words:
            raise ValueError(f"tie=all needs one vocabulary for both sides, got {source_words} and {words}")
        super().__init__(lambda size: model(input_size=size, batch_first=True), model, words, **writing)
        size = self.target_embedding.embedding_dim
        self.source_embedding = self.target_embedding if tie == "all" else nn.Embedding(source_words, size)
        self.make_head(target_frequencies, tie != "none", (self.source_embedding, self.target_embedding))

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Memory, DecoderState]:
        """What the decoder attends to, and its first state, for token ids [B, S] with lengths [B]."""
        vectors = self.embedding_dropout(self.source_embedding(self.some_unknown(source)))
        return self.read(vectors, lengths)

    def read(self, vectors: Tensor, lengths: Tensor) -> tuple[Memory, DecoderState]:
        """The same for embeddings [B, S, E]."""
        outputs, _ = self.encoder(vectors, lengths=lengths)
        return self.remember(outputs, lengths)

    def forward(
        self, source: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(Outputs of the decoder [B, T, D], weights of attention [B, T, S]) for known tokens [B, T].

        With ``token_lengths`` [B], those on padding mean nothing.
        """
        memory, state = self.encode(source, lengths)
        return self.written(memory, state, tokens, token_lengths)

    def search(
        self, source: Tensor, lengths: Tensor, limits: Tensor, *of: Any, **settings: Any
    ) -> Hypotheses:
        """The best targets of each source, at most ``limits`` [B] tokens; see ``searched``."""

        def remember(part: Tensor) -> tuple[Memory, DecoderState]:
            longest = int(lengths[part].max())
            return self.encode(source[part, :longest], lengths[part])

        return self.searched(remember, limits, *of, **settings)
