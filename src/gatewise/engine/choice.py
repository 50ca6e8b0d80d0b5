"""The fastest of several ways to compute the same, measured in the first real calls.

Calls take turns among the candidates; events around each, and around its backward pass, are read when they
are done, so that nothing waits. Who is far behind after its warm-up has no further turn. All candidates have
the same results within the digits of their dtype, so a training run may change between them. What was found
is kept on disk.
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
FAR = 10
"""A candidate whose warm-up takes so many times as long as another's is out: a step that records a CUDA graph
takes a few times as long as one that plays it."""
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
    last: str | None = None
    """A candidate that runs only where no other can, and has no turn."""
    winner: str | None = None
    refused: dict[str, Unsupported] = field(default_factory=dict)
    behind: set[str] = field(default_factory=set)
    """Those that were far slower than another in their warm-up."""
    samples: dict[str, list[_Sample]] = field(default_factory=dict)
    """The calls of each candidate so far."""

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
        measured = [name for name in able if name != self.last] or able
        if self.winner not in candidates:
            self.winner = None  # of another version
        if self.winner is None and measure:
            self._decide(measured)
        first = self.winner
        if first is None and measure:
            first = min(self._racing(measured), key=self._calls, default=None)
        order = sorted(able, key=lambda name: (name != first, name == self.last))
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
                    self.behind.clear()  # if all others were far behind this one, they race again
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
        self.samples.setdefault(name, []).append(sample)
        return result

    def _backward_starts(self, sample: _Sample, _: Any) -> None:
        if sample.back_start is None:
            sample.back_start = self.clock.now(self.device)

    def _backward_ends(self, sample: _Sample, *_: Any) -> None:
        sample.nodes -= 1
        if sample.nodes == 0:  # a second backward pass counts on below it
            sample.back_end = self.clock.now(self.device)

    def _calls(self, name: str) -> int:
        return len(self.samples.get(name, ()))

    def _racing(self, able: Sequence[str]) -> list[str]:
        return [name for name in able if name not in self.behind]

    def _decide(self, able: Sequence[str]) -> None:
        """Take the fastest once every candidate that is not far behind has been measured."""
        if len(able) < 2:
            self.winner = able[0] if able else None
            if able:
                _log.info("%s on %s", self.what, self.winner)
            return
        racing = self._racing(able)
        fewest = min(self._calls(name) for name in racing)
        if fewest == WARM_UPS:
            warm = self._times(racing, slice(WARM_UPS - 1, WARM_UPS), self.differentiated)
            self.behind |= {name for name, time in warm.items() if time > FAR * min(warm.values())}
            racing = self._racing(able)
        if fewest < WARM_UPS + MEASURED:
            return
        times = self._measured_times(racing, self.differentiated)
        if len(times) < len(racing):
            waited = sum(self._calls(name) - WARM_UPS - MEASURED for name in racing)
            if waited < PATIENCE:
                return
            # Some never had a backward pass.
            times = self._measured_times(racing, False)
        if len(times) < len(racing):
            self.samples.clear()
            return
        self.winner = min(times, key=times.__getitem__)
        self.samples.clear()
        found = ", ".join(f"{name} {time:.3g} ms" for name, time in times.items())
        _log.info("%s on %s (measured: %s)", self.what, self.winner, found)
        if self.file is not None:
            cache.store(self.file, json.dumps({"fastest": self.winner, "milliseconds": times}).encode())

    def _measured_times(self, names: Sequence[str], backward: bool) -> dict[str, float]:
        return self._times(names, slice(WARM_UPS, WARM_UPS + MEASURED), backward)

    def _times(self, names: Sequence[str], which: slice, backward: bool) -> dict[str, float]:
        """The median of each candidate over these of its calls, if their events are all done."""
        times = {}
        for name in names:
            spans = [sample.spans(backward) for sample in self.samples[name][which]]
            events = [event for of_call in spans for span in of_call for event in span]
            if all(event is not None and self.clock.done(event) for event in events):
                taken = [sum(self.clock.milliseconds(*span) for span in of_call) for of_call in spans]
                times[name] = statistics.median(taken)
        return times
