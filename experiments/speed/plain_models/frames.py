"""A classifier and a recogniser of sequences of feature vectors in plain PyTorch."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatewise.nn.ctc import stacked
from gatewise.tasks.classification import SequenceClassification
from gatewise.tasks.recognition import Recognition
from plain_models.layers import PlainLayers, is_real, locked


class PlainSequenceClassifier(nn.Module):
    """nn.LSTM over packed sequences, its last states or their mean and maximum, and a linear layer."""

    def __init__(self, task: SequenceClassification) -> None:
        super().__init__()
        if task.pooling not in ("last", "mean_max") or task.class_weights is not None:
            raise SystemExit("the plain classifier pools by last or mean_max, without weights of classes")
        self.settings = lambda: task
        self.layers = PlainLayers(task.encoder)
        self.head = copy.deepcopy(task.head)

    def start(self) -> None:
        """Begin an epoch."""

    def forward(self, batch: Any) -> Tensor:
        """What training minimises on a batch of padded sequences."""
        task, lengths = self.settings(), batch.lengths
        outputs, final = self.layers(batch.inputs, lengths)
        if task.pooling == "last":
            pooled = torch.cat(list(final[-1][0][-task.encoder.num_directions :]), -1)
        else:
            is_padding = ~is_real(lengths, outputs.shape[1]).unsqueeze(-1)
            largest = outputs.masked_fill(is_padding, -torch.inf).amax(1)
            pooled = torch.cat([outputs.sum(1) / lengths[:, None], largest], -1)
        scores = self.head(F.dropout(pooled, task.dropout.p, self.training))
        return F.cross_entropy(scores, batch.targets, label_smoothing=task.label_smoothing)


class PlainRecognizer(nn.Module):
    """nn.LSTM over packed sequences, a linear layer, and torch's own CTC loss."""

    def __init__(self, task: Recognition) -> None:
        super().__init__()
        self.settings = lambda: task
        self.layers = PlainLayers(task.encoder)
        self.head = copy.deepcopy(task.head)

    def start(self) -> None:
        """Begin an epoch."""

    def forward(self, batch: Any) -> Tensor:
        """What training minimises on a batch of padded sequences."""
        task = self.settings()
        steps, lengths = stacked(batch.inputs, batch.lengths, task.stack)
        x = locked(steps, task.input_dropout.p, self.training)
        outputs, _ = self.layers(x, lengths)
        scores = self.head(locked(outputs, task.dropout.p, self.training))
        of_units = F.log_softmax(scores, -1).transpose(0, 1)
        targets, sizes = batch.targets.clamp(min=0), batch.target_lengths
        total = F.ctc_loss(of_units, targets, lengths, sizes, blank=scores.shape[-1] - 1, reduction="sum")
        return total / sizes.sum()
