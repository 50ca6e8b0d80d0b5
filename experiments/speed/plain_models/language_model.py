"""A language model in plain PyTorch."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from gatewise.kinds.kind import IGNORED
from gatewise.tasks.language_modelling import LanguageModelling
from plain_models.layers import PlainLayers, dropped, each


class PlainLanguageModel(nn.Module):
    """Embedding, one nn.LSTM or one for each layer, and a linear layer."""

    def __init__(self, task: LanguageModelling) -> None:
        super().__init__()
        # In a function, so that the task's weights are none of this module's.
        self.settings = lambda: task
        self.layers = PlainLayers(task.encoder)
        self.embedding = copy.deepcopy(task.embedding)
        self.head = copy.deepcopy(task.head)
        own, of_task = list(self.head.modules())[-1], list(task.head.modules())[-1]
        if of_task.weight is task.embedding.weight:
            own.weight = self.embedding.weight
        self.state: list[Any] | None = None

    def start(self) -> None:
        """Begin an epoch."""
        self.state = None

    def forward(self, batch: Any) -> Tensor:
        """What training minimises on a window; the state is carried."""
        task, training = self.settings(), self.training
        words = self.embedding.weight
        if training and task.embedding_dropout.p:
            kept = words.new_empty(len(words), 1).bernoulli_(1 - task.embedding_dropout.p)
            words = words * kept / (1 - task.embedding_dropout.p)
        x = F.dropout(F.embedding(batch.tokens, words), task.dropout.p, training)
        x = dropped(x, task.input_dropout, training)
        before = self.state
        if training and task.drop_state and before is not None:
            kept = x.new_empty(1, x.shape[0], 1).bernoulli_(1 - task.drop_state)
            before = [each(lambda tensor: tensor * kept, state) for state in before]
        outputs, after = self.layers(x, None, before)
        self.state = [each(Tensor.detach, state) for state in after]
        read = dropped(F.dropout(outputs, task.dropout.p, training), task.output_dropout, training)
        scores = self.head(read)
        loss = F.cross_entropy(scores.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)
        if training and task.activation_penalty:
            loss = loss + task.activation_penalty * read.square().mean()
        if training and task.temporal_penalty:
            loss = loss + task.temporal_penalty * (outputs[:, 1:] - outputs[:, :-1]).square().mean()
        return loss
