"""Where kernels run: what the engine asks of a device, and the CUDA driver behind it."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from gatewise.engine.cuda import nvrtc
from gatewise.engine.cuda.emit import filled
from gatewise.engine.cuda.plan import Gpu
from gatewise.engine.request import Unsupported
from gatewise.engine.torch_internals import raw_stream

# Names and numbers of the CUDA driver API (cuda.h).
_CLUSTER_DIMENSION, _COOPERATIVE = 4, 2
_MAX_DYNAMIC_SHARED, _NON_PORTABLE_CLUSTER = 8, 14
_MAX_SHARED_OF_A_BLOCK = 97
_LARGEST_PORTABLE_CLUSTER = 8


class Launcher(Protocol):
    """Compiles kernels for a device and starts them there."""

    arch: str
    """What kernels are compiled for, such as ``sm_90``."""
    gpu: Gpu
    """What a plan has to know."""

    def kernel(self, source: str, name: str) -> Any:
        """A kernel of this source. Raises Unsupported where it cannot be compiled."""

    def prepare(
        self, kernel: Any, blocks: int, threads: int, shared: int, cluster: int, cooperative: bool
    ) -> None:
        """Make a kernel ready for launches with these numbers.

        Raises Unsupported where the device refuses them, or ``cooperative`` blocks do not all run at once.
        """

    def launch(
        self,
        kernel: Any,
        words: Sequence[int],
        blocks: int,
        threads: int,
        shared: int = 0,
        cluster: int = 0,
        cooperative: bool = False,
        models: int = 1,
    ) -> None:
        """Start a kernel whose arguments are these 64-bit words, on torch's current stream.

        ``shared`` is in bytes; ``cluster`` blocks form one; ``cooperative`` where all blocks have to run at
        once. Raises Unsupported where the device cannot.
        """


class _Attribute(ctypes.Structure):
    _fields_ = (("id", ctypes.c_int), ("padding", ctypes.c_int), ("value", ctypes.c_uint * 16))


class _Configuration(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint) for name in ("gx", "gy", "gz", "bx", "by", "bz", "shared")),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(_Attribute)),
        ("count", ctypes.c_uint),
    )


class _Call:
    """What the driver is given at each launch of a kernel, made once; the numbers in it change."""

    def __init__(self, words: int, cluster: int, cooperative: bool) -> None:
        attributes, count = (_Attribute * 1)(), 0
        if cluster > 1:
            attributes[0].id, count = _CLUSTER_DIMENSION, 1
            attributes[0].value[:3] = (cluster, 1, 1)
        elif cooperative:
            attributes[0].id, count = _COOPERATIVE, 1
            attributes[0].value[0] = 1
        self.configuration = _Configuration(1, 1, 1, 1, 1, 1, 0, None, attributes, count)
        self.pointer = ctypes.byref(self.configuration)
        self.words = (ctypes.c_int64 * words)()
        self.arguments = (ctypes.c_void_p * 1)(ctypes.addressof(self.words))


class Driver:
    """Launches through the CUDA driver API, in the context that torch has made for one device."""

    def __init__(self, device: int) -> None:
        try:
            self._cuda = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise Unsupported(f"a CUDA driver that cannot be loaded ({error})") from error
        self.device = device
        major, minor = torch.cuda.get_device_capability(device)
        # With the letter come the instructions of this generation alone.
        self.arch = f"sm_{major}{minor}" + ("a" if major >= 9 else "")
        count = torch.cuda.get_device_properties(device).multi_processor_count
        shared = ctypes.c_int()
        self._check(
            self._cuda.cuDeviceGetAttribute(ctypes.byref(shared), _MAX_SHARED_OF_A_BLOCK, device), "its facts"
        )
        self.gpu = Gpu(count, shared.value, (major, minor))
        self._functions: dict[tuple[str, str], Any] = {}
        self._of_thread = threading.local()
        self._compiling = threading.Lock()

    def kernel(self, source: str, name: str) -> Any:
        """A kernel of this source, compiled once."""
        key = (source, name)
        with self._compiling:
            if key not in self._functions:
                cubin = nvrtc.compiled(filled(("device.cu",), {}) + source, self.arch)
                torch.cuda.current_stream(self.device)  # torch makes its context
                module, function = ctypes.c_void_p(), ctypes.c_void_p()
                with torch.cuda.device(self.device):
                    self._check(self._cuda.cuModuleLoadData(ctypes.byref(module), cubin), "a kernel to load")
                    self._check(
                        self._cuda.cuModuleGetFunction(ctypes.byref(function), module, name.encode()), name
                    )
                self._functions[key] = function
            return self._functions[key]

    def launch(
        self,
        kernel: Any,
        words: Sequence[int],
        blocks: int,
        threads: int,
        shared: int = 0,
        cluster: int = 0,
        cooperative: bool = False,
        models: int = 1,
    ) -> None:
        """Start a kernel, as :class:`Launcher` says."""
        # A thread of its own has each backward pass, and what a launch is given must not change meanwhile.
        made: dict[Any, _Call] = self._of_thread.__dict__
        key = (kernel.value, len(words), cluster, cooperative)
        call = made.get(key)
        if call is None:
            call = made[key] = _Call(len(words), cluster, cooperative)
        configuration = call.configuration
        configuration.gx, configuration.gy, configuration.bx = blocks, models, threads
        configuration.shared, configuration.stream = shared, raw_stream(self.device)
        call.words[:] = words  # type: ignore[call-overload] # any sequence will do
        if torch.cuda.current_device() == self.device:
            code = self._cuda.cuLaunchKernelEx(call.pointer, kernel, call.arguments, None)
        else:
            with torch.cuda.device(self.device):
                code = self._cuda.cuLaunchKernelEx(call.pointer, kernel, call.arguments, None)
        if code:
            self._check(code, "a kernel to start")

    def prepare(
        self, kernel: Any, blocks: int, threads: int, shared: int, cluster: int, cooperative: bool
    ) -> None:
        """Make a kernel ready, as :class:`Launcher` says."""
        with torch.cuda.device(self.device):
            code = self._cuda.cuFuncSetAttribute(kernel, _MAX_DYNAMIC_SHARED, shared)
            self._check(code, f"{shared} bytes of shared memory")
            if cluster > _LARGEST_PORTABLE_CLUSTER:
                code = self._cuda.cuFuncSetAttribute(kernel, _NON_PORTABLE_CLUSTER, 1)
                self._check(code, f"clusters of {cluster} blocks")
            if cluster > 1:
                fitting = cluster * self._clusters(kernel, blocks, threads, shared, cluster)
            else:
                fitting = self.gpu.multiprocessors * self._blocks_each(kernel, threads, shared)
        if fitting < (blocks if cooperative else 1):
            raise Unsupported(f"{blocks} blocks at once, of which {fitting} fit on the GPU")

    def _clusters(self, kernel: Any, blocks: int, threads: int, shared: int, cluster: int) -> int:
        """How many clusters of a kernel run at once."""
        attributes = (_Attribute * 1)()
        attributes[0].id = _CLUSTER_DIMENSION
        attributes[0].value[:3] = (cluster, 1, 1)
        configuration = _Configuration(*(blocks, 1, 1, threads, 1, 1, shared, None, attributes, 1))
        count = ctypes.c_int(0)
        code = self._cuda.cuOccupancyMaxActiveClusters(
            ctypes.byref(count), kernel, ctypes.byref(configuration)
        )
        self._check(code, "a cluster")
        return count.value

    def _blocks_each(self, kernel: Any, threads: int, shared: int) -> int:
        """How many blocks of a kernel a multiprocessor runs at once."""
        count = ctypes.c_int(0)
        code = self._cuda.cuOccupancyMaxActiveBlocksPerMultiprocessor(
            ctypes.byref(count), kernel, threads, ctypes.c_size_t(shared)
        )
        self._check(code, "a block")
        return count.value

    def _check(self, code: int, what: str) -> None:
        if code:
            text = ctypes.c_char_p()
            self._cuda.cuGetErrorString(code, ctypes.byref(text))
            reason = text.value.decode() if text.value else "unknown"
            raise Unsupported(f"what the GPU refuses: {what} (CUDA error {code}, {reason})")


_launchers: dict[torch.device, Launcher] = {}
makers: dict[str, Callable[[int], Launcher]] = {"cuda": Driver}
"""What makes the launcher of a type of device, from the device's number."""


def launcher_of(device: torch.device) -> Launcher:
    """The launcher of a device, made once. Raises Unsupported where there is none."""
    if device not in _launchers:
        maker = makers.get(device.type)
        if maker is None:
            raise Unsupported(f"tensors on {device.type}")
        _launchers[device] = maker(device.index or 0)
    return _launchers[device]


def capturing(device: torch.device) -> bool:
    """Whether a CUDA graph is being captured, into which no wait and no copy to the CPU may get."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def stream_of(device: torch.device) -> int:
    """The number of torch's current stream on a device; 0 where the device has none."""
    if device.type != "cuda":
        return 0
    return raw_stream(torch.cuda.current_device() if device.index is None else device.index)
