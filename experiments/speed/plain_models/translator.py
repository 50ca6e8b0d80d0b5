"""What writes with attention in plain PyTorch: a translator, and what tells of pictures."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatewise.nn import Stacked
from gatewise.nn.attention import Attention
from gatewise.tasks.captioning import Captioning
from gatewise.tasks.translation import Translation
from gatewise.tasks.writing import Writing
from plain_models.layers import PlainLayers, dropped, is_real, locked

UNKNOWN = 0


class PlainWriter(nn.Module):
    """nn.LSTM over targets, which attends to what was read, for whole targets at once.

    With input feeding, where every step reads the output of the one before, nn.LSTMCell in a loop.
    """

    def __init__(self, task: Writing) -> None:
        super().__init__()
        if task.net.decoder.attention.coverage or isinstance(task.net.decoder.lower, Stacked):
            raise SystemExit("the plain model has no coverage, and its layers are of one size")
        self.settings = lambda: task
        net, decoder = task.net, task.net.decoder
        self.lower = PlainLayers(decoder.lower)
        self.upper = None if decoder.upper is None else PlainLayers(decoder.upper)
        self.target_embedding = copy.deepcopy(net.target_embedding)
        self.head = copy.deepcopy(net.head)
        if net.head.weight is net.target_embedding.weight:
            self.head.weight = self.target_embedding.weight
        self.bridge, self.combine = copy.deepcopy(decoder.bridge), copy.deepcopy(decoder.combine)
        self.attention = PlainAttention(decoder.attention)
        if decoder.context == "input":
            self.cells = nn.ModuleList(cells_of(self.lower))
            del self.lower

    def start(self) -> None:
        """Begin an epoch."""

    def forward(self, batch: Any) -> Tensor:
        """What training minimises on a batch: the mean over the targets' tokens."""
        task, training = self.settings(), self.training
        net = task.net
        memory, lengths = self.read(batch)
        memory = dropped(memory, net.memory_dropout, training)
        summary = memory.sum(1) / lengths[:, None]
        start = torch.tanh(self.bridge(summary))
        keys, padding = self.attention.keys(memory), ~is_real(lengths, memory.shape[1])
        tokens = self.some_unknown(batch.target[:, :-1])
        y = dropped(self.target_embedding(tokens), net.embedding_dropout, training)
        outputs = self.decoded(y, memory, keys, padding, start)
        real = is_real(batch.target_lengths - 1, y.shape[1])
        scores = self.head(outputs[real])
        smoothing = task.label_smoothing if training else 0.0
        return F.cross_entropy(scores, batch.target[:, 1:][real], label_smoothing=smoothing)

    def read(self, batch: Any) -> tuple[Tensor, Tensor]:
        """What is attended to [B, S, M], and how much of it is no padding [B]."""
        raise NotImplementedError

    def some_unknown(self, tokens: Tensor) -> Tensor:
        """Token ids, in training some of them as unknown."""
        p = self.settings().net.word_dropout
        if not self.training or p == 0:
            return tokens
        return tokens.masked_fill(torch.rand(tokens.shape) < p, UNKNOWN)

    def decoded(self, y: Tensor, memory: Tensor, keys: Tensor, padding: Tensor, start: Tensor) -> Tensor:
        """The decoder's outputs [B, T, D] of embeddings [B, T, E], from a first state [B, ...]."""
        decoder, training = self.settings().net.decoder, self.training
        if decoder.context == "input":
            return self.fed(y, memory, keys, padding, start)
        below, above = start.split(parts_of(self.lower, self.upper), -1)
        queries, _ = self.lower(y, None, states_of(self.lower, below))
        drop = locked if decoder.locked else F.dropout
        queries = drop(queries, decoder.hidden_dropout, training)
        contexts = self.attention(queries, memory, keys, padding)
        top = queries
        if self.upper is not None:
            read = torch.cat([queries, contexts], -1)
            top, _ = self.upper(read, None, states_of(self.upper, above))
        outputs = torch.tanh(self.combine(torch.cat([top, contexts], -1)))
        return drop(outputs, decoder.dropout, training)

    def fed(self, y: Tensor, memory: Tensor, keys: Tensor, padding: Tensor, start: Tensor) -> Tensor:
        """The same, step by step, where a step reads the output of the one before."""
        decoder, training = self.settings().net.decoder, self.training
        count, size = len(self.cells), self.cells[0].hidden_size
        hidden, kept = (
            list(part.unflatten(-1, (count, size)).unbind(1)) for part in start.split(count * size, -1)
        )
        steps = 1 if decoder.locked else y.shape[1]
        masks = [
            F.dropout(y.new_ones(len(y), steps, width), p, training)
            for width, p in ((decoder.output_size, decoder.dropout), (size, decoder.hidden_dropout))
        ]
        output, outputs = y.new_zeros(len(y), decoder.output_size), []
        for step in range(y.shape[1]):
            of_output, of_query = (mask[:, min(step, steps - 1)] for mask in masks)
            x = torch.cat([y[:, step], output], -1)
            for layer, cell in enumerate(self.cells):
                hidden[layer], kept[layer] = cell(x, (hidden[layer], kept[layer]))
                x = hidden[layer]
            query = x * of_query
            context = self.attention(query.unsqueeze(1), memory, keys, padding).squeeze(1)
            output = torch.tanh(self.combine(torch.cat([query, context], -1))) * of_output
            outputs.append(output)
        return torch.stack(outputs, 1)


class PlainTranslator(PlainWriter):
    """nn.LSTM over packed sources."""

    def __init__(self, task: Translation) -> None:
        super().__init__(task)
        net = task.net
        self.encoder = PlainLayers(net.encoder)
        tied = net.source_embedding is net.target_embedding
        self.source_embedding = self.target_embedding if tied else copy.deepcopy(net.source_embedding)

    def read(self, batch: Any) -> tuple[Tensor, Tensor]:
        embedded = self.source_embedding(self.some_unknown(batch.source))
        x = dropped(embedded, self.settings().net.embedding_dropout, self.training)
        return self.encoder(x, batch.source_lengths)[0], batch.source_lengths


class PlainCaptioner(PlainWriter):
    """The same convolutions over pictures."""

    def __init__(self, task: Captioning) -> None:
        super().__init__(task)
        self.encoder = copy.deepcopy(task.net.encoder)
        self.register_buffer("mean", task.mean)
        self.register_buffer("std", task.std)

    def read(self, batch: Any) -> tuple[Tensor, Tensor]:
        memory = self.encoder((batch.pictures.float() - self.mean) / self.std)
        return memory, torch.full((len(memory),), memory.shape[1])


class PlainAttention(nn.Module):
    """The mean of states, weighted by the softmax of their scores for a query."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.how = attention.how
        for name in ("query", "key", "scorer"):
            if hasattr(attention, name):
                setattr(self, name, copy.deepcopy(getattr(attention, name)))

    def keys(self, memory: Tensor) -> Tensor:
        """What queries are compared with, of states [B, S, M]."""
        return memory if self.how == "dot" else self.key(memory)

    def forward(self, queries: Tensor, memory: Tensor, keys: Tensor, padding: Tensor) -> Tensor:
        """Contexts [B, T, M] of queries [B, T, Q] to states [B, S, M], some of them padding [B, S]."""
        if self.how == "additive":
            hidden = torch.tanh(self.query(queries).unsqueeze(2) + keys.unsqueeze(1))
            scores = self.scorer(hidden).squeeze(-1)
        else:
            scores = queries @ keys.transpose(1, 2)
        weights = torch.softmax(scores.masked_fill(padding.unsqueeze(1), -torch.inf), -1)
        return weights @ memory


def parts_of(lower: PlainLayers, upper: PlainLayers | None) -> list[int]:
    """How many numbers of a first state are of the layers below the context, and above it."""
    return [0 if one is None else 2 * sum(sizes_of(one)) for one in (lower, upper)]


def sizes_of(layers: PlainLayers) -> list[int]:
    """Numbers of h, as many as of c, in each nn.LSTM of some layers."""
    return [module.num_layers * module.hidden_size for module in layers.layers]


def states_of(layers: PlainLayers, start: Tensor) -> list[tuple[Tensor, ...]]:
    """The (h, c) of each nn.LSTM, for the numbers [B, ...] of all, h before c."""
    hidden, kept = (part.split(sizes_of(layers), -1) for part in start.chunk(2, -1))
    return [
        tuple(
            part.unflatten(-1, (module.num_layers, module.hidden_size)).transpose(0, 1).contiguous()
            for part in parts
        )
        for module, *parts in zip(layers.layers, hidden, kept, strict=True)
    ]


def cells_of(layers: PlainLayers) -> list[nn.LSTMCell]:
    """An nn.LSTMCell for each layer, with its weights."""
    cells = []
    for module in layers.layers:
        for index in range(module.num_layers):
            ending = f"_l{index}"
            weights = {
                name.removesuffix(ending): weight
                for name, weight in module.state_dict().items()
                if name.endswith(ending)
            }
            cell = nn.LSTMCell(weights["weight_ih"].shape[1], module.hidden_size)
            cell.load_state_dict(weights)
            cells.append(cell)
    return cells
