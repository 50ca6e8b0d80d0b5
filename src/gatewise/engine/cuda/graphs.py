"""Functions of tensors as CUDA graphs: what launches hundreds of kernels, recorded once, is one launch after.

A graph reads and writes memory of its own. Its arguments are copied there before it runs and its results from
there afterwards, so that any number of calls may be waiting for their backward pass.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gatewise.engine.cuda.launcher import capturing, stream_of
from gatewise.engine.request import Unsupported

Tensors = tuple[Tensor | None, ...]

MOST = 16
"""Graphs that are kept for a device; of more, that which was not used for longest goes."""
MOST_SEEN = 256
"""Calls that are remembered, to record those that come a second time: ragged batches seldom do."""
SHARE = 16
"""One part in this many of the GPU's memory is what the arguments and results of all its graphs may take."""

_log = logging.getLogger(__name__)


class Recorder(Protocol):
    """Records what a function launches."""

    def memory(self, device: torch.device) -> int:
        """Bytes that the device has."""

    def record(
        self, device: torch.device, function: Callable[[], Tensors]
    ) -> tuple[Tensors, Callable[[], None]]:
        """The function's results, which hold nothing yet, and what computes them on its current stream."""


class CudaRecorder:
    """Records by torch's CUDA graphs, with memory from their pool."""

    def __init__(self) -> None:
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    def memory(self, device: torch.device) -> int:
        """Bytes that the device has."""
        return int(torch.cuda.get_device_properties(device).total_memory)

    def record(
        self, device: torch.device, function: Callable[[], Tensors]
    ) -> tuple[Tensors, Callable[[], None]]:
        """As :class:`Recorder` says. The context of ``torch.cuda.graph`` would wait for the GPU."""
        stream = self._streams.setdefault(device, torch.cuda.Stream(device))
        stream.wait_stream(torch.cuda.current_stream(device))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream):
            # Other threads (those that load data, for one) may go on allocating memory.
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                results = function()
            except BaseException:
                with contextlib.suppress(RuntimeError):
                    graph.capture_end()
                raise
            graph.capture_end()
        torch.cuda.current_stream(device).wait_stream(stream)
        return results, graph.replay


recorders: dict[str, Recorder] = {"cuda": CudaRecorder()}
"""What records for a type of device."""


@dataclass
class _Graph:
    arguments: Tensors
    results: Tensors
    replay: Callable[[], None]
    size: int
    """Bytes of arguments and results."""


class Graphs:
    """The graphs of one device."""

    def __init__(self, device: torch.device, recorder: Recorder) -> None:
        self._device = device
        self._recorder = recorder
        self._limit = recorder.memory(device) // SHARE
        self._kept: OrderedDict[Hashable, _Graph] = OrderedDict()
        self._seen: OrderedDict[Hashable, int] = OrderedDict()  # their bytes
        self._fails = False
        # A backward pass has a thread of its own. What two threads enqueue must not mix.
        self._busy = threading.Lock()

    def call(self, key: Hashable, function: Callable[[Tensors], Tensors], arguments: Tensors) -> Tensors:
        """``function(arguments)``, from the second call with this key on as a replay.

        ``function`` must launch the same whenever the key, and its arguments' shapes, dtypes and strides, are
        the same, and must wait for nothing. Its results are new tensors. Graphs of two streams are two.
        """
        if self._fails or capturing(self._device):
            return function(arguments)
        shapes = tuple(None if t is None else (t.shape, t.dtype, t.stride()) for t in arguments)
        key = (key, shapes, stream_of(self._device))
        with self._busy:
            graph = self._kept.get(key)
            if graph is None and not self._worth_it(key):
                results = function(arguments)
                self._remember(key, _bytes(arguments) + _bytes(results))
                return results
            if graph is None:
                graph = self._recorded(key, function, arguments)
                if graph is None:
                    return function(arguments)
            else:
                self._kept.move_to_end(key)
                for static, given in zip(graph.arguments, arguments, strict=True):
                    if static is not None and given is not None:
                        static.copy_(given)
            graph.replay()
            return tuple(None if result is None else result.clone() for result in graph.results)

    def _worth_it(self, key: Hashable) -> bool:
        """Whether this call has been seen before, and is not too large."""
        return self._seen.get(key, self._limit + 1) <= self._limit

    def _remember(self, key: Hashable, size: int) -> None:
        self._seen[key] = size
        self._seen.move_to_end(key)
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)

    def _recorded(
        self, key: Hashable, function: Callable[[Tensors], Tensors], arguments: Tensors
    ) -> _Graph | None:
        """A new graph whose arguments hold those given; None where nothing can be recorded."""
        size = self._seen[key]
        while self._kept and (len(self._kept) >= MOST or self._size() + size > self._limit):
            oldest, _ = self._kept.popitem(last=False)
            self._seen.pop(oldest, None)
        own = tuple(None if t is None else t.clone() for t in arguments)
        try:
            results, replay = self._recorder.record(self._device, lambda: function(own))
        except (RuntimeError, Unsupported) as error:
            self._fails = True
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            _log.info("engine=cuda: steps are launched one by one, not as a CUDA graph: %s", reason)
            return None
        self._kept[key] = _Graph(own, results, replay, size)
        return self._kept[key]

    def _size(self) -> int:
        return sum(graph.size for graph in self._kept.values())


def _bytes(tensors: Tensors) -> int:
    return sum(t.numel() * t.element_size() for t in tensors if t is not None)


_graphs: dict[torch.device, Graphs] = {}


def graphs_of(device: torch.device) -> Graphs | None:
    """The graphs of a device; None where it has none."""
    if device not in _graphs:
        recorder = recorders.get(device.type)
        if recorder is None:
            return None
        _graphs[device] = Graphs(device, recorder)
    return _graphs[device]


def product_settings() -> tuple[object, ...]:
    """What of torch's settings a recorded product has taken in."""
    matmul = torch.backends.cuda.matmul
    names = ("fp32_precision", "allow_tf32")
    precision = next((getattr(matmul, name) for name in names if hasattr(matmul, name)), None)
    reduced = (
        matmul.allow_bf16_reduced_precision_reduction,
        matmul.allow_fp16_reduced_precision_reduction,
        torch.are_deterministic_algorithms_enabled(),
    )
    return (precision, *reduced)
