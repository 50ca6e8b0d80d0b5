"""From a sequence of tokens to another: an encoder, a decoder that attends to it, and embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatewise.nn.attention import Memory
from gatewise.nn.attention_decoder import AttentionDecoder, ContextName
from gatewise.nn.attention_decoder import State as DecoderState
from gatewise.nn.beam_search import Hypotheses, Step, beam_search
from gatewise.nn.embedding import some_unknown
from gatewise.nn.locked import LockedDropout
from gatewise.nn.stacked import Stacked
from gatewise.nn.token_loss import token_loss
from gatewise.settings import NotNegative, Positive, Probability, Share, checked

TieName = Literal["none", "target", "all"]
MOST_SCORES = 30_000_000
"""Scores of next tokens that a search computes at once; more sequences are searched part by part."""


class EncoderDecoder(nn.Module):
    """Reads B sequences of S tokens, and gives scores of the tokens of others, T long.

    ``model(input_size=…, batch_first=True)`` makes the encoder; with ``bidirectional=False``, and the layers
    and size that are given or else the encoder's, the decoder's recurrent layers, of which ``context=layers``
    needs two (see :class:`AttentionDecoder`). The summary of a
    source is the mean of the encoder's outputs.

    ``tie`` is ``target`` where the output layer has the weights of the target's embeddings (Press & Wolf,
    "Using the Output Embedding to Improve Language Models", EACL 2017), ``all`` where both have those of the
    source's too, which needs one vocabulary. ``target_frequencies`` [V] are the shares from whose logarithm
    the output's biases start. ``word_dropout`` reads tokens as unknown, ``embedding_dropout`` drops features
    of embeddings, and ``hidden_dropout`` those of what the decoder gets of the encoder and of its own layers;
    ``attending`` are the other settings of :class:`AttentionDecoder`.
    """

    @checked
    def __init__(
        self,
        model: Callable[..., Any],
        source_words: Positive,
        target_frequencies: Sequence[float],
        embedding_size: Positive = 256,
        decoder_size: Positive | None = None,
        decoder_layers: Positive | None = None,
        context: ContextName = "layers",
        tie: TieName = "target",
        word_dropout: Probability = 0.0,
        embedding_dropout: Probability = 0.0,
        hidden_dropout: Probability = 0.0,
        locked: bool = True,
        **attending: Any,
    ) -> None:
        super().__init__()
        words = len(target_frequencies)
        if tie == "all" and source_words != words:
            raise ValueError(f"tie=all needs one vocabulary for both sides, got {source_words} and {words}")
        self.word_dropout = word_dropout
        drop = LockedDropout if locked else nn.Dropout
        self.embedding_dropout, self.memory_dropout = drop(embedding_dropout), drop(hidden_dropout)
        self.encoder = model(input_size=embedding_size, batch_first=True)
        # There, a layer above the first reads the contexts.
        layers = decoder_layers or max(_layers_of(self.encoder), 2 if context == "layers" else 1)
        size: dict[str, Any] = {} if decoder_size is None else {"hidden_size": decoder_size}

        def recurrent(input_size: int, num_layers: int) -> Any:
            own = {"bidirectional": False, "learn_initial_state": False, "num_layers": num_layers, **size}
            if num_layers == 1:
                own["dropout"] = 0.0  # there is nothing between layers
            return model(input_size=input_size, batch_first=True, **own)

        self.decoder = AttentionDecoder(
            recurrent,
            embedding_size,
            self.encoder.output_size,
            self.encoder.output_size,
            embedding_size,
            layers=layers,
            context=context,
            hidden_dropout=hidden_dropout,
            locked=locked,
            **attending,
        )
        self.target_embedding = nn.Embedding(words, embedding_size)
        self.source_embedding = (
            self.target_embedding if tie == "all" else nn.Embedding(source_words, embedding_size)
        )
        self.head = nn.Linear(embedding_size, words)
        for embedding in (self.source_embedding, self.target_embedding):
            nn.init.normal_(embedding.weight, std=0.1)
        if tie != "none":
            self.head.weight = self.target_embedding.weight
        shares = torch.tensor(target_frequencies, dtype=torch.float64).clamp(min=1e-12)
        with torch.no_grad():
            self.head.bias.copy_(shares.log())

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Memory, DecoderState]:
        """What the decoder attends to, and its first state, for token ids [B, S] with lengths [B]."""
        vectors = self.embedding_dropout(self.source_embedding(self._some_unknown(source)))
        return self.read(vectors, lengths)

    def read(self, vectors: Tensor, lengths: Tensor) -> tuple[Memory, DecoderState]:
        """The same for embeddings [B, S, E]."""
        outputs, _ = self.encoder(vectors, lengths=lengths)
        return self.remember(outputs, lengths)

    def remember(self, outputs: Tensor, lengths: Tensor) -> tuple[Memory, DecoderState]:
        """The same for the encoder's outputs [B, S, M], 0 on padding."""
        outputs = self.memory_dropout(outputs)
        memory = self.decoder.attention.prepare(outputs, lengths)
        summary = outputs.sum(1) / lengths.clamp(min=1).unsqueeze(-1)
        return memory, self.decoder.start(summary, memory)

    def forward(
        self, source: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(Outputs of the decoder [B, T, D], weights of attention [B, T, S]) for known tokens [B, T].

        With ``token_lengths`` [B], those on padding mean nothing.
        """
        memory, state = self.encode(source, lengths)
        vectors = self.embedding_dropout(self.target_embedding(self._some_unknown(tokens)))
        outputs, weights, _ = self.decoder(vectors, memory, state, token_lengths)
        return outputs, weights

    def _some_unknown(self, tokens: Tensor) -> Tensor:
        return some_unknown(tokens, self.word_dropout)[0] if self.training else tokens

    def loss(
        self, outputs: Tensor, targets: Tensor, lengths: Tensor, smoothing: Share = 0.0
    ) -> tuple[Tensor, Tensor]:
        """(What training minimises, negative log-likelihood in nats), both sums over the targets.

        Outputs are [B, T, D], targets [B, T] with lengths [B]; padding costs nothing.
        """
        real = torch.arange(targets.shape[1], device=targets.device) < lengths.unsqueeze(1)
        return token_loss(outputs[real], self.head.weight, self.head.bias, targets[real], smoothing)

    def search(
        self,
        source: Tensor,
        lengths: Tensor,
        limits: Tensor,
        start: int,
        end: int,
        width: Positive = 5,
        best: Positive = 1,
        length_penalty: NotNegative = 0.0,
        coverage_penalty: NotNegative = 0.0,
        keep_weights: bool = False,
    ) -> Hypotheses:
        """The ``best`` targets of each source by beam search, at most ``limits`` [B] tokens; see there."""
        rows = max(MOST_SCORES // (width * self.head.out_features), 1)
        with_weights = keep_weights or coverage_penalty > 0

        def step(tokens: Tensor, state: DecoderState, shared: DecoderState) -> Step:
            memory = Memory(*shared)
            vectors = self.target_embedding(tokens)
            outputs, weights, state = self.decoder.step(vectors, memory, state)
            logs = F.log_softmax(self.head(outputs), -1, dtype=torch.float32)
            logs[..., start] = -torch.inf
            return Step(logs, state, weights if with_weights else None)

        parts = []
        for part in torch.arange(len(source), device=source.device).split(rows):
            longest = int(lengths[part].max())
            memory, state = self.encode(source[part, :longest], lengths[part])
            found = beam_search(
                step,
                state,
                tuple(memory),
                start,
                end,
                limits[part],
                width,
                best,
                length_penalty,
                coverage_penalty,
                memory.real,
            )
            parts.append(found)
        return Hypotheses.joined(parts, end)


def _layers_of(encoder: Any) -> int:
    return len(encoder.layers) if isinstance(encoder, Stacked) else int(encoder.num_layers)
