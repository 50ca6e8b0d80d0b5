"""A trained language model as what tells a recognition which unit is probable after those before it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gatewise.kinds.text import TextFacts
from gatewise.kinds.tokens import END_OF_LINE
from gatewise.settings import listed
from gatewise.tasks.language_modelling import LanguageModelling
from gatewise.tasks.task import Task

State = tuple[Tensor, ...]
_ENDS = (END_OF_LINE, "\n")
"""What ends a line of the text that a language model was trained on, whichever of them is a token."""
_NAMED = 10


class TrainedUnitModel:
    """A language model of lines, each of which is a transcript; see :class:`~gatewise.nn.ngrams.NGramModel`.

    Raises ValueError for a task that is no language model, and for units that are no tokens of it.
    """

    def __init__(self, task: Task, units: Sequence[str], run: str) -> None:
        if not isinstance(task, LanguageModelling):
            raise ValueError(
                f"task.language_model={run}: is {type(task).__name__}, and no language model: name the run "
                f"of one of the same units"
            )
        facts: TextFacts = task.facts
        index = {token: number for number, token in enumerate(facts.vocabulary)}
        tokens = [unit.lower() if facts.lowercase else unit for unit in units]
        missing = [unit for unit, token in zip(units, tokens, strict=True) if token not in index]
        if missing:
            raise ValueError(
                f"task.language_model={run}: its tokens lack {listed(list(map(repr, missing)), _NAMED)}, "
                f"which transcripts have: train it on the same units"
            )
        ends = [index[end] for end in _ENDS if end in index]
        if not ends:
            raise ValueError(
                f"task.language_model={run}: has no token for the end of a line: train it on a transcript a "
                f"line"
            )
        self.task, self.edge = task, ends[0]
        self.tokens = torch.tensor([index[token] for token in tokens])

    def start(self, device: torch.device) -> tuple[State, Tensor]:
        """(State after the end of a line, log-probabilities [1, K] of the first unit)."""
        self.task.to(device)
        self.tokens = self.tokens.to(device)
        return self._read(torch.full((1, 1), self.edge, device=device), None)

    def after(self, state: State, units: Tensor) -> tuple[State, Tensor]:
        """(State, log-probabilities [N, K] of the next unit) after ``units`` [N] in the state of N rows."""
        carried = tuple(part.transpose(0, 1).contiguous() for part in state[1:])
        return self._read(self.tokens[units].unsqueeze(1), carried)

    def end(self, state: State) -> Tensor:
        """Log-probability [N] that the line ends."""
        return state[0]

    def _read(self, tokens: Tensor, carried: State | None) -> tuple[State, Tensor]:
        scores, carried = self.task(tokens, carried)
        log_probabilities = torch.log_softmax(scores[:, -1], -1)
        state = (log_probabilities[:, self.edge], *(part.transpose(0, 1) for part in carried))
        return state, log_probabilities[:, self.tokens]
