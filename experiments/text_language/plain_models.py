"""The models of the text presets as one writes them in plain PyTorch, with nn.LSTM, to compare their speed.

What nn.LSTM cannot do is left out and named by :func:`left_out`: another cell, dropout of the state. All else
is there in the usual way: locked dropouts are masks, weight dropout replaces the weights of a call.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gatewise.cells import LSTM
from gatewise.kinds.kind import IGNORED
from gatewise.nn import Recurrent, Stacked
from gatewise.tasks.language_modelling import LanguageModelling
from gatewise.tasks.text_classification import TextClassification


def locked(x: Tensor, p: float, training: bool) -> Tensor:
    """``x`` [B, T, F] with the same features dropped in all steps of a sequence."""
    if not training or p == 0:
        return x
    return x * x.new_empty(x.shape[0], 1, x.shape[2]).bernoulli_(1 - p) / (1 - p)


def lstm_of(layers: Recurrent) -> nn.LSTM:
    """An nn.LSTM of the same sizes, whose weights both then have."""
    module = nn.LSTM(
        layers.input_size,
        layers.hidden_size,
        layers.num_layers,
        batch_first=True,
        dropout=layers.dropout if layers.num_layers > 1 else 0.0,
        bidirectional=layers.bidirectional,
    )
    if type(layers.cell) is LSTM:
        layers.load_torch(module)
    return module


def left_out(task: Any) -> list[str]:
    """What of a task's encoder nn.LSTM has not."""
    layers = task.encoder.layers if isinstance(task.encoder, Stacked) else [task.encoder]
    names = {"cell": type(layers[0].cell).__name__} if type(layers[0].cell) is not LSTM else {}
    return [*names.values(), *(["state_dropout"] if layers[0].state_dropout else [])]


class PlainLanguageModel(nn.Module):
    """Embedding, one nn.LSTM or one for each layer, and a linear layer."""

    def __init__(self, task: LanguageModelling) -> None:
        super().__init__()
        # In a function, so that the task's weights are none of this module's.
        self.settings = lambda: task
        encoder = task.encoder
        self.is_stacked = isinstance(encoder, Stacked)
        recurrents = encoder.layers if self.is_stacked else [encoder]
        self.lstms = nn.ModuleList(lstm_of(layers) for layers in recurrents)
        self.weight_dropout = recurrents[0].weight_dropout
        self.embedding = copy.deepcopy(task.embedding)
        self.head = copy.deepcopy(task.head)
        own, of_task = list(self.head.modules())[-1], list(task.head.modules())[-1]
        if of_task.weight is task.embedding.weight:
            own.weight = self.embedding.weight
        self.state: list[Any] | None = None

    def start(self) -> None:
        """Begin an epoch."""
        self.state = None

    def run(self, lstm: nn.LSTM, x: Tensor, state: Any) -> Any:
        """One nn.LSTM, with some of its recurrent weights dropped in training."""
        if not self.training or self.weight_dropout == 0:
            return lstm(x, state)
        weights = {
            name: F.dropout(weight, self.weight_dropout) if name.startswith("weight_hh") else weight
            for name, weight in lstm.named_parameters()
        }
        return functional_call(lstm, weights, (x, state))

    def forward(self, batch: Any) -> Tensor:
        """What training minimises on a window; the state is carried."""
        task, training = self.settings(), self.training
        words = self.embedding.weight
        if training and task.embedding_dropout.p:
            kept = words.new_empty(len(words), 1).bernoulli_(1 - task.embedding_dropout.p)
            words = words * kept / (1 - task.embedding_dropout.p)
        x = F.dropout(F.embedding(batch.tokens, words), task.dropout.p, training)
        x = locked(x, task.input_dropout.p, training)
        before = [None] * len(self.lstms) if self.state is None else self.state
        if training and task.drop_state and self.state is not None:
            kept = x.new_empty(1, x.shape[0], 1).bernoulli_(1 - task.drop_state)
            before = [tuple(tensor * kept for tensor in state) for state in before]
        after, total = [], None
        for index, (lstm, state) in enumerate(zip(self.lstms, before, strict=True)):
            if index > 0:
                x = locked(x, task.encoder.between.p, training)
            x, state = self.run(lstm, x, state)
            after.append(tuple(tensor.detach() for tensor in state))
            total = x if total is None or not getattr(task.encoder, "skip_connections", False) else total + x
        self.state = after
        dropped = locked(F.dropout(total, task.dropout.p, training), task.output_dropout.p, training)
        scores = self.head(dropped)
        loss = F.cross_entropy(scores.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)
        if training and task.activation_penalty:
            loss = loss + task.activation_penalty * dropped.square().mean()
        if training and task.temporal_penalty:
            loss = loss + task.temporal_penalty * (total[:, 1:] - total[:, :-1]).square().mean()
        return loss


class PlainTextClassifier(nn.Module):
    """Embedding, nn.LSTM over packed texts, mean and maximum over the steps, and a linear layer."""

    def __init__(self, task: TextClassification) -> None:
        super().__init__()
        if task.pooling != "mean_max" or task.adversarial:
            raise SystemExit("the plain classifier pools by mean_max and has no adversarial training")
        self.settings = lambda: task
        self.lstm = lstm_of(task.encoder)
        self.embedding = copy.deepcopy(task.embedding)
        self.head = copy.deepcopy(task.head)

    def start(self) -> None:
        """Begin an epoch."""

    def forward(self, batch: Any) -> Tensor:
        """What training minimises on a batch of padded texts."""
        task, tokens = self.settings(), batch.tokens
        if self.training and task.word_dropout:
            tokens = tokens.masked_fill(torch.rand(tokens.shape) < task.word_dropout, 0)
        x = locked(self.embedding(tokens), task.embedding_dropout.p, self.training)
        packed = pack_padded_sequence(x, batch.lengths, batch_first=True, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])
        is_padding = (torch.arange(x.shape[1]) >= batch.lengths[:, None]).unsqueeze(-1)
        mean = outputs.sum(1) / batch.lengths[:, None]
        pooled = torch.cat([mean, outputs.masked_fill(is_padding, -torch.inf).amax(1)], -1)
        scores = self.head(F.dropout(pooled, task.dropout.p, self.training))
        return F.cross_entropy(scores, batch.targets, label_smoothing=task.label_smoothing)


PLAIN = {LanguageModelling: PlainLanguageModel, TextClassification: PlainTextClassifier}
"""The plain model of each task, made of the task, whose sizes and weights it takes."""
