"""A classifier of texts in plain PyTorch."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatewise.tasks.text_classification import TextClassification
from plain_models.layers import PlainLayers, is_real, locked


class PlainTextClassifier(nn.Module):
    """Embedding, nn.LSTM over packed texts, mean and maximum over the steps, and a linear layer."""

    def __init__(self, task: TextClassification) -> None:
        super().__init__()
        if task.pooling != "mean_max" or task.adversarial or task.class_weights is not None:
            raise SystemExit(
                "the plain classifier pools by mean_max, without adversarial training or weights"
            )
        self.settings = lambda: task
        self.layers = PlainLayers(task.encoder)
        self.embedding = copy.deepcopy(task.embedding)
        self.head = copy.deepcopy(task.head)

    def start(self) -> None:
        """Begin an epoch."""

    def forward(self, batch: Any) -> Tensor:
        """What training minimises on a batch of padded texts."""
        task, tokens, ratios = self.settings(), batch.tokens, batch.ratios
        if self.training and task.word_dropout:
            is_dropped = torch.rand(tokens.shape) < task.word_dropout
            tokens = tokens.masked_fill(is_dropped, 0)
            ratios = None if ratios is None else ratios.masked_fill(is_dropped.unsqueeze(-1), 0)
        x = locked(self.embedding(tokens), task.embedding_dropout.p, self.training)
        if ratios is not None:
            x = torch.cat([x, ratios], -1)
        outputs, _ = self.layers(x, batch.lengths)
        is_padding = ~is_real(batch.lengths, x.shape[1]).unsqueeze(-1)
        mean = outputs.sum(1) / batch.lengths[:, None]
        pooled = torch.cat([mean, outputs.masked_fill(is_padding, -torch.inf).amax(1)], -1)
        scores = self.head(F.dropout(pooled, task.dropout.p, self.training))
        return F.cross_entropy(scores, batch.targets, label_smoothing=task.label_smoothing)
