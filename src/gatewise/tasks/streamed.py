"""Recognition of frames that come one after the other: units as soon as they are certain."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gatewise.kinds.transcripts import TranscriptFacts
from gatewise.nn.ctc import NOTHING, stacked
from gatewise.nn.prefix_search import PrefixSearch

log = logging.getLogger(__name__)


class Recognizer(Protocol):
    """What is asked of the task."""

    encoder: Any
    facts: Any
    stack: int
    beam: int
    settled_after: int | None

    def read_on(self, steps: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(Log-probabilities [B, S, K + 1], state) of steps [B, S, F] that follow those before."""
        ...

    def new_search(self, searches: int) -> PrefixSearch:
        """A search for the transcripts of so many sequences, before their first step."""
        ...


class ReadUnit(NamedTuple):
    """A unit that was read."""

    text: str
    """With what stands between it and the unit before."""
    unit: str
    frame: int
    """The first frame of the step in which it was first read."""


class StreamedRecognition:
    """What a recognition reads (:mod:`gatewise.tasks.recognition`), with its state carried along.

    With a beam of 1 a unit is given with its first step, else when all that the search goes on with have it.
    The units are those of all frames at once. Raises ValueError for an encoder that reads from both ends.
    """

    def __init__(self, task: Recognizer) -> None:
        if task.encoder.bidirectional:
            raise ValueError(
                "this model reads from both ends (model.bidirectional=true): its first unit depends on the "
                "last frame, so it has to wait for the end. Leave stream=true out, or train one that reads "
                "forward, as experiment=speech/digits_ctc_streaming does"
            )
        if task.beam > 1 and task.settled_after is None:
            log.warning(
                "task.settled_after=null: with a beam of %d a label may wait for the end; give it "
                "task.settled_after=20 (steps)",
                task.beam,
            )
        self.task = task
        self.facts: TranscriptFacts = task.facts
        self._state: tuple[Tensor, ...] | None = None
        self._waiting = torch.zeros(0, self.facts.feature_size)
        """Frames of a step that is not complete."""
        self._steps = 0
        self._decoder = _Path() if task.beam == 1 else _Beam(task.new_search(1))
        self._is_first = True

    def accept(self, frames: Tensor) -> list[ReadUnit]:
        """The units that frames [T, F] make certain."""
        frames = torch.cat([self._waiting, frames])
        count = len(frames) - len(frames) % self.task.stack
        self._waiting = frames[count:]
        return self._read(frames[:count])

    def end(self) -> list[ReadUnit]:
        """The units that were waiting for more frames; nothing may come after."""
        rest, self._waiting = self._waiting, self._waiting[:0]
        return [*self._read(rest), *map(self._told, self._decoder.end())]

    def _read(self, frames: Tensor) -> list[ReadUnit]:
        if not len(frames):
            return []
        lengths = torch.tensor([len(frames)])
        steps, _ = stacked(frames.unsqueeze(0), lengths, self.task.stack)
        log_probabilities, self._state = self.task.read_on(steps, self._state)
        found = self._decoder.accept(log_probabilities, self._steps)
        self._steps += steps.shape[1]
        return list(map(self._told, found))

    def _told(self, read: tuple[int, int]) -> ReadUnit:
        unit, step = read
        name = self.facts.units[unit]
        text = name if self._is_first else self.facts.joiner + name
        self._is_first = False
        return ReadUnit(text, name, step * self.task.stack)


class _Path:
    """The most probable path, which each step decides by itself."""

    def __init__(self) -> None:
        self._last = NOTHING

    def accept(self, log_probabilities: Tensor, first: int) -> Iterator[tuple[int, int]]:
        """(Unit, step) of those that begin in the steps [1, S, K + 1] from ``first`` on."""
        blank = log_probabilities.shape[2] - 1
        for step, unit in enumerate(log_probabilities[0].argmax(-1).tolist(), start=first):
            if unit not in (blank, self._last):
                yield unit, step
            self._last = unit

    def end(self) -> Iterator[tuple[int, int]]:
        return iter(())


class _Beam:
    """The prefixes of a search, of which all have the same beginning."""

    def __init__(self, search: PrefixSearch) -> None:
        self._search = search

    def accept(self, log_probabilities: Tensor, first: int) -> Iterator[tuple[int, int]]:  # noqa: ARG002
        for step in log_probabilities.unbind(1):
            self._search.advance(step)
        return iter(self._search.agreed())

    def end(self) -> Iterator[tuple[int, int]]:
        return iter(self._search.rest())
