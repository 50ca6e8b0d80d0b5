"""A recognition by CTC in plain PyTorch."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatewise.tasks.recognition import Recognition
from plain_models.layers import PlainLayers, locked


class PlainRecognizer(nn.Module):
    """Frames stacked to steps, nn.LSTM over packed sequences, a linear layer, and torch's CTC loss."""

    def __init__(self, task: Recognition) -> None:
        super().__init__()
        self.settings = lambda: task
        self.layers = PlainLayers(task.encoder)
        self.head = copy.deepcopy(task.head)

    def start(self) -> None:
        """Begin an epoch."""

    def forward(self, batch: Any) -> Tensor:
        """The loss of a batch of padded sequences, per unit."""
        task = self.settings()
        x, lengths = batch.inputs, batch.lengths
        if task.stack > 1:
            x = F.pad(x, (0, 0, 0, -x.shape[1] % task.stack))
            x, lengths = x.reshape(len(x), -1, task.stack * x.shape[2]), -(-lengths // task.stack)
        outputs, _ = self.layers(locked(x, task.input_dropout.p, self.training), lengths)
        scores = self.head(locked(outputs, task.dropout.p, self.training))
        log_probabilities = torch.log_softmax(scores, -1).transpose(0, 1)
        blank = scores.shape[-1] - 1
        targets, sizes = batch.targets.clamp(min=0), batch.target_lengths
        total = F.ctc_loss(log_probabilities, targets, lengths, sizes, blank, reduction="sum")
        return total / sizes.sum()
