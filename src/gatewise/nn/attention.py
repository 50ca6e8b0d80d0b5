"""Attention: a mean over the states of an encoder, weighted by how well each fits a query."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from gatewise.engine import additive_scores
from gatewise.nn.pooling import is_real
from gatewise.settings import Positive, checked

AttentionName = Literal["additive", "dot", "general"]


class Memory(NamedTuple):
    """What is attended to, for B sequences of S states, prepared once for all queries."""

    values: Tensor
    """[B, S, M]: the states."""
    keys: Tensor
    """[B, S, A]: what queries are compared with."""
    real: Tensor
    """[B, S] bool: which states are no padding."""


class Attention(nn.Module):
    """Scores every state of a memory by a query, and returns the mean of the states by the scores' softmax.

    For a query q and a state h the score is v·tanh(W q + U h) with ``additive`` (Bahdanau, Cho & Bengio,
    "Neural Machine Translation by Jointly Learning to Align and Translate", ICLR 2015), q·h with ``dot`` and
    q·U h with ``general`` (Luong, Pham & Manning, "Effective Approaches to Attention-based Neural Machine
    Translation", EMNLP 2015). ``size`` is that of W q in ``additive``.

    With ``coverage`` the score also sees how much the earlier queries of a sequence attended to the state: w
    times the sum of their weights is added, in ``additive`` inside the tanh (See, Liu & Manning, "Get To The
    Point", ACL 2017). Padding never gets weight. Raises ValueError for ``dot`` of unequal sizes.
    """

    @checked
    def __init__(
        self,
        how: AttentionName,
        query_size: Positive,
        memory_size: Positive,
        size: Positive = 128,
        coverage: bool = False,
    ) -> None:
        super().__init__()
        if how == "dot" and query_size != memory_size:
            raise ValueError(
                f"attention=dot needs states of the query's size, got {query_size} for the query and "
                f"{memory_size} for the states: choose general or additive"
            )
        self.how, self.coverage = how, coverage
        if how == "additive":
            self.query = nn.Linear(query_size, size)
            self.scorer = nn.Linear(size, 1, bias=False)
        if how != "dot":
            self.key = nn.Linear(memory_size, size if how == "additive" else query_size, bias=False)
        if coverage:
            self.covered = nn.Linear(1, size if how == "additive" else 1, bias=False)

    def extra_repr(self) -> str:
        return f"{self.how}, coverage={self.coverage}"

    def prepare(self, values: Tensor, lengths: Tensor) -> Memory:
        """The memory of states [B, S, M] of sequences with lengths [B]."""
        keys = values if self.how == "dot" else self.key(values)
        return Memory(values, keys, is_real(values, lengths))

    def forward(
        self, queries: Tensor, memory: Memory, covered: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """(Contexts [B, T, M], weights [B, T, S], coverage after the last query [B, S]) of queries [B, T, Q].

        The coverage before the first query is ``covered`` [B, S], or 0; None without ``coverage``. Without
        it all queries of a sequence run at once.
        """
        queries = self.query(queries) if self.how == "additive" else queries
        if not self.coverage:
            weights = self._weights(queries, memory)
            return weights @ memory.values, weights, None
        total = memory.values.new_zeros(memory.real.shape) if covered is None else covered
        rows = []
        for query in queries.split(1, dim=1):
            rows.append(self._weights(query, memory, total.unsqueeze(1)))
            total = total + rows[-1].squeeze(1)
        weights = torch.cat(rows, 1)
        return weights @ memory.values, weights, total

    def beside(
        self, queries: Tensor, memory: Memory, covered: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """As ``forward`` for T queries that do not follow each other, each with a coverage [B, T, S]."""
        queries = self.query(queries) if self.how == "additive" else queries
        weights = self._weights(queries, memory, covered)
        after = None if not self.coverage else weights if covered is None else covered + weights
        return weights @ memory.values, weights, after

    def _weights(self, queries: Tensor, memory: Memory, covered: Tensor | None = None) -> Tensor:
        """[B, T, S] for projected queries [B, T, A] and how much each state is covered [B, T or 1, S]."""
        if self.how == "additive":
            if covered is None:
                scores = additive_scores(queries, memory.keys, self.scorer.weight[0])
            else:
                hidden = queries.unsqueeze(2) + memory.keys.unsqueeze(1)
                hidden = hidden + self.covered(covered.unsqueeze(-1))
                scores = self.scorer(torch.tanh(hidden)).squeeze(-1)
        else:
            scores = queries @ memory.keys.transpose(1, 2)
            if covered is not None:
                scores = scores + self.covered(covered.unsqueeze(-1)).squeeze(-1)
        padding = ~memory.real.unsqueeze(1)
        # Not minus infinity: a sequence without states would have no number for a weight.
        scores = scores.masked_fill(padding, torch.finfo(scores.dtype).min)
        return torch.softmax(scores, -1).masked_fill(padding, 0)
