"""The fastest of several ways to compute the same, measured in the first real calls.

Calls take turns among the candidates; events around each, and around its backward pass, are read when they
are done, so that nothing waits. All candidates have the same results within the digits of their dtype, so a
training run may change between them. What was found is kept on disk.
"""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from gatewise.engine import cache
from gatewise.engine.request import Unsupported

WARM_UPS, MEASURED = 2, 3
"""Calls of each candidate that are not measured (the first compiles, the second records), and that are."""
PATIENCE = 20
"""Calls after the last measured one that wait for its events; without a backward pass, one never comes."""

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Clock(Protocol):
    """Events on a device's current stream."""

    def now(self, device: torch.device) -> Any:
        """An event that is recorded now; None while a graph is captured."""

    def done(self, event: Any) -> bool:
        """Whether the device has reached it. Waits for nothing."""

    def milliseconds(self, first: Any, last: Any) -> float:
        """Between two that are done."""


class GpuClock:
    """CUDA's events."""

    def now(self, device: torch.device) -> Any:
        """An event that is recorded now; None while a graph is captured."""
        if torch.cuda.is_current_stream_capturing():
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(device))
        return event

    def done(self, event: Any) -> bool:
        """Whether the device has reached it."""
        return bool(event.query())

    def milliseconds(self, first: Any, last: Any) -> float:
        """Between two that are done."""
        return float(first.elapsed_time(last))


@dataclass
class _Sample:
    """The events of one call. Where it is differentiated, those of its backward pass come later."""

    name: str
    start: Any
    end: Any = None
    nodes: int = 0
    """How many nodes of its backward pass have still to run."""
    back_start: Any = None
    back_end: Any = None

    def spans(self, with_backward: bool) -> list[tuple[Any, Any]]:
        return [(self.start, self.end), *([(self.back_start, self.back_end)] if with_backward else [])]


@dataclass
class Choice:
    """Which candidate is fastest for one kind of call."""

    clock: Clock
    device: torch.device
    what: str
    """As the log names it."""
    file: str | None
    """Where it is kept in the cache; None where it cannot be."""
    differentiated: bool
    winner: str | None = None
    refused: dict[str, Unsupported] = field(default_factory=dict)
    calls: int = 0
    samples: list[_Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        content = None if self.file is None else cache.cached(self.file)
        if content is not None:
            try:
                self.winner = str(json.loads(content)["fastest"])
            except (ValueError, KeyError, TypeError):
                return
            _log.info("%s on %s, as measured before", self.what, self.winner)

    def run(
        self, candidates: Mapping[str, Callable[[], tuple[T, Sequence[Tensor]]]], measure: bool
    ) -> tuple[str, T]:
        """The name of a candidate and its result; candidates also return the outputs of every layer.

        ``candidates`` are in the order to take them in while nothing is known; where ``measure`` is false
        (inside a captured graph, for one) nothing is learned. Raises Unsupported, with the last one's reason,
        where none can run it.
        """
        able = [name for name in candidates if name not in self.refused]
        if self.winner not in candidates:
            self.winner = None  # of another version
        if self.winner is None and measure:
            self._decide(able)
        first = self.winner or (able[self.calls % len(able)] if measure and able else None)
        order = sorted(able, key=lambda name: name != first)
        reason = next(reversed(self.refused.values()), Unsupported("no engine"))
        for name in order:
            try:
                if self.winner is None and measure and name == first:
                    return name, self._measured(name, candidates[name])
                return name, candidates[name]()[0]
            except Unsupported as error:
                reason = error
                if measure:
                    self.refused[name] = error
                    # Those that are left take turns from the start: none may miss its warm-up.
                    self.calls, self.samples = 0, []
                    self.winner = None if self.winner == name else self.winner
        raise reason

    def _measured(self, name: str, candidate: Callable[[], tuple[T, Sequence[Tensor]]]) -> T:
        sample = _Sample(name, self.clock.now(self.device))
        result, outputs = candidate()
        sample.end = self.clock.now(self.device)
        nodes = [output.grad_fn for output in outputs if output.grad_fn is not None]
        sample.nodes = len(nodes)
        for node in nodes:
            node.register_prehook(partial(self._backward_starts, sample))
            node.register_hook(partial(self._backward_ends, sample))
        self.calls += 1
        self.samples.append(sample)
        return result

    def _backward_starts(self, sample: _Sample, _: Any) -> None:
        if sample.back_start is None:
            sample.back_start = self.clock.now(self.device)

    def _backward_ends(self, sample: _Sample, *_: Any) -> None:
        sample.nodes -= 1
        if sample.nodes == 0:  # a second backward pass counts on below it
            sample.back_end = self.clock.now(self.device)

    def _decide(self, able: Sequence[str]) -> None:
        """Take the fastest once every candidate has been measured."""
        if len(able) < 2:
            self.winner = able[0] if able else None
            if able:
                _log.info("%s on %s", self.what, self.winner)
            return
        turns = len(able) * (WARM_UPS + MEASURED)
        if self.calls < turns:
            return
        measured = self.samples[len(able) * WARM_UPS : turns]
        times = self._times(measured, able, self.differentiated)
        if len(times) < len(able):
            if self.calls < turns + PATIENCE:
                return
            # Some never had a backward pass.
            times = self._times(measured, able, False)
        if len(times) < len(able):
            self.calls, self.samples = 0, []
            return
        self.winner = min(times, key=times.__getitem__)
        self.samples = []
        found = ", ".join(f"{name} {time:.3g} ms" for name, time in times.items())
        _log.info("%s on %s (measured: %s)", self.what, self.winner, found)
        if self.file is not None:
            cache.store(self.file, json.dumps({"fastest": self.winner, "milliseconds": times}).encode())

    def _times(self, samples: Sequence[_Sample], able: Sequence[str], backward: bool) -> dict[str, float]:
        """The median of each candidate, of those whose events are done."""
        times: dict[str, list[float]] = {name: [] for name in able}
        for sample in samples:
            spans = sample.spans(backward)
            if all(event is not None and self.clock.done(event) for span in spans for event in span):
                times[sample.name].append(sum(self.clock.milliseconds(*span) for span in spans))
        return {name: statistics.median(values) for name, values in times.items() if len(values) == MEASURED}
