"""What writes a sequence of tokens and attends to a memory, whatever that was read from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatewise.nn.attention import Memory
from gatewise.nn.attention_decoder import AttentionDecoder, ContextName
from gatewise.nn.attention_decoder import State as DecoderState
from gatewise.nn.beam_search import Hypotheses, Step, beam_search
from gatewise.nn.embedding import some_unknown
from gatewise.nn.locked import LockedDropout
from gatewise.nn.masks import Dropout
from gatewise.nn.recurrent import Recurrent
from gatewise.nn.stacked import Stacked
from gatewise.nn.token_loss import token_loss
from gatewise.settings import NotNegative, Positive, Probability, Share, checked

MOST_SCORES = 30_000_000
"""Scores of next tokens that a search computes at once; more sequences are searched part by part."""


class TokenWriter(nn.Module):
    """An encoder that something is read by, and a recurrent decoder that attends to what it gives.

    ``make_encoder(embedding_size)`` makes the encoder, and ``model(input_size=…, batch_first=True)`` the
    recurrent layers of the decoder (see :class:`AttentionDecoder`), of ``decoder_size`` and
    ``decoder_layers`` or else of its own, but 2 for ``context=layers``. The summary of what was
    read is the mean of the encoder's outputs, ``encoder.output_size`` long. ``word_dropout`` reads tokens as
    unknown, ``embedding_dropout`` drops features of embeddings, and ``hidden_dropout`` those of what the
    decoder gets of the encoder and of its own layers; ``attending`` are the other settings of
    :class:`AttentionDecoder`. A subclass calls :meth:`make_head` last.
    """

    passes_on = AttentionDecoder

    @checked
    def __init__(
        self,
        make_encoder: Callable[[int], nn.Module],
        model: Callable[..., Any],
        words: Positive,
        *,
        embedding_size: Positive = 256,
        decoder_size: Positive | None = None,
        decoder_layers: Positive | None = None,
        context: ContextName = "layers",
        word_dropout: Probability = 0.0,
        embedding_dropout: Probability = 0.0,
        hidden_dropout: Probability = 0.0,
        locked_dropout: bool = True,
        **attending: Any,
    ) -> None:
        super().__init__()
        self.word_dropout = word_dropout
        drop = LockedDropout if locked_dropout else Dropout
        self.embedding_dropout, self.memory_dropout = drop(embedding_dropout), drop(hidden_dropout)
        self.encoder = make_encoder(embedding_size)
        if decoder_layers is None:
            is_alike = isinstance(self.encoder, (Recurrent, Stacked))
            made = self.encoder if is_alike else model(input_size=embedding_size, batch_first=True)
            decoder_layers = _layers_for(context, made)
        size: dict[str, Any] = {} if decoder_size is None else {"hidden_size": decoder_size}

        def recurrent(input_size: int, num_layers: int) -> Any:
            own = {"bidirectional": False, "learn_initial_state": False, "num_layers": num_layers, **size}
            if num_layers == 1:
                own["dropout"] = 0.0  # there is nothing between layers
            return model(input_size=input_size, batch_first=True, **own)

        read: int = self.encoder.output_size  # type: ignore[assignment]
        self.decoder = AttentionDecoder(
            recurrent,
            embedding_size,
            read,
            read,
            embedding_size,
            layers=decoder_layers,
            context=context,
            hidden_dropout=hidden_dropout,
            locked=locked_dropout,
            **attending,
        )
        self.target_embedding = nn.Embedding(words, embedding_size)

    def make_head(
        self, frequencies: Sequence[float], is_tied: bool, embeddings: Iterable[nn.Embedding]
    ) -> None:
        """Make the output layer, with biases from the tokens' shares [V], and start all embeddings.

        Where it ``is_tied``, it has the weights of the target's embeddings (Press & Wolf, "Using the Output
        Embedding to Improve Language Models", EACL 2017).
        """
        self.head = nn.Linear(self.target_embedding.embedding_dim, len(frequencies))
        for embedding in embeddings:
            nn.init.normal_(embedding.weight, std=0.1)
        if is_tied:
            self.head.weight = self.target_embedding.weight
        shares = torch.tensor(frequencies, dtype=torch.float64).clamp(min=1e-12)
        with torch.no_grad():
            self.head.bias.copy_(shares.log())

    def remember(self, outputs: Tensor, lengths: Tensor) -> tuple[Memory, DecoderState]:
        """What the decoder attends to, and its first state, for outputs [B, S, M], 0 on padding."""
        outputs = self.memory_dropout(outputs)
        memory = self.decoder.attention.prepare(outputs, lengths)
        summary = outputs.sum(1) / lengths.clamp(min=1).unsqueeze(-1)
        return memory, self.decoder.start(summary, memory)

    def written(
        self, memory: Memory, state: DecoderState, tokens: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(Outputs of the decoder [B, T, D], weights of attention [B, T, S]) for known tokens [B, T].

        With ``lengths`` [B], those on padding mean nothing.
        """
        vectors = self.embedding_dropout(self.target_embedding(self.some_unknown(tokens)))
        outputs, weights, _ = self.decoder(vectors, memory, state, lengths)
        return outputs, weights

    def some_unknown(self, tokens: Tensor) -> Tensor:
        """Tokens as training reads them, some as unknown."""
        return some_unknown(tokens, self.word_dropout)[0] if self.training else tokens

    def loss(
        self, outputs: Tensor, targets: Tensor, lengths: Tensor, smoothing: Share = 0.0
    ) -> tuple[Tensor, Tensor]:
        """(What training minimises, negative log-likelihood in nats), both sums over the targets.

        Outputs are [B, T, D], targets [B, T] with lengths [B]; padding costs nothing.
        """
        real = torch.arange(targets.shape[1], device=targets.device) < lengths.unsqueeze(1)
        return token_loss(outputs[real], self.head.weight, self.head.bias, targets[real], smoothing)

    def searched(
        self,
        remember: Callable[[Tensor], tuple[Memory, DecoderState]],
        limits: Tensor,
        start: int,
        end: int,
        width: Positive = 5,
        best: Positive = 1,
        length_penalty: NotNegative = 0.0,
        coverage_penalty: NotNegative = 0.0,
        keep_weights: bool = False,
    ) -> Hypotheses:
        """The ``best`` sequences for each of B memories by beam search, at most ``limits`` [B] tokens.

        ``remember`` gives the memory and the first state of some rows [R]; see :func:`beam_search`.
        """
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
        for part in torch.arange(len(limits), device=limits.device).split(rows):
            memory, state = remember(part)
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


def _layers_for(context: ContextName, made: Any) -> int:
    """How many recurrent layers a decoder has where nothing else says so: as many as what ``model`` has made.

    With ``context=layers`` a layer above the first reads the contexts.
    """
    own = len(made.layers) if isinstance(made, Stacked) else int(made.num_layers)
    return max(own, 2 if context == "layers" else 1)
