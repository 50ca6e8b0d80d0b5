"""What the CUDA driver is given at a launch, by a driver that notes it."""

import threading
from ctypes import POINTER, c_int64, c_void_p, cast

import pytest
import torch

from gatewise.engine.cuda import launcher
from gatewise.engine.cuda.launcher import Driver
from gatewise.engine.request import Unsupported

PLAIN, CLUSTER, GRID = 0x7F0000000010, 0x7F0000000020, 0x7F0000000030  # functions' addresses


class Noting:
    """A libcuda of one function."""

    def __init__(self):
        self.launches, self.code = [], 0

    def cuLaunchKernelEx(self, configuration, kernel, arguments, extra):  # noqa: N802
        given = configuration._obj
        attributes = [
            (given.attributes[k].id, list(given.attributes[k].value[:3])) for k in range(given.count)
        ]
        words = cast(arguments[0], POINTER(c_int64))
        grid = (given.gx, given.gy, given.gz, given.bx, given.by, given.bz, given.shared)
        self.launches.append((kernel.value, grid, given.stream, attributes, words[:3], extra))
        return self.code

    def cuGetErrorString(self, code, text):  # noqa: N802, ARG002
        return 0


@pytest.fixture
def driver(monkeypatch):
    made = Driver.__new__(Driver)
    made.device, made._cuda, made._of_thread = 1, Noting(), threading.local()
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(launcher, "raw_stream", lambda device: 40 + device)
    return made


def test_a_launch_is_given_its_numbers(driver):
    driver.launch(c_void_p(PLAIN), [1, 2, -3], 10, 64, 256)
    driver.launch(c_void_p(CLUSTER), [4, 5, 6], 8, 32, 0, 4, False, models=3)
    driver.launch(c_void_p(GRID), [7, 8, 9], 5, 32, 16, 0, True)
    driver.launch(c_void_p(PLAIN), [1 << 60, 0, 2], 11, 128)
    assert driver._cuda.launches == [
        (PLAIN, (10, 1, 1, 64, 1, 1, 256), 41, [], [1, 2, -3], None),
        (CLUSTER, (8, 3, 1, 32, 1, 1, 0), 41, [(4, [4, 1, 1])], [4, 5, 6], None),
        (GRID, (5, 1, 1, 32, 1, 1, 16), 41, [(2, [1, 0, 0])], [7, 8, 9], None),
        (PLAIN, (11, 1, 1, 128, 1, 1, 0), 41, [], [1 << 60, 0, 2], None),
    ]


def test_a_launch_uses_the_stream_of_its_moment(driver, monkeypatch):
    driver.launch(c_void_p(PLAIN), [0, 0, 0], 1, 32)
    monkeypatch.setattr(launcher, "raw_stream", lambda _: None)  # the default one
    driver.launch(c_void_p(PLAIN), [0, 0, 0], 1, 32)
    assert [stream for _, _, stream, *_ in driver._cuda.launches] == [41, None]


def test_two_threads_share_no_memory(driver):
    """The driver reads what it is given without Python's lock."""
    pointers = []
    note = driver._cuda.cuLaunchKernelEx
    driver._cuda.cuLaunchKernelEx = lambda *given: pointers.append(given[2][0]) or note(*given)
    driver.launch(c_void_p(PLAIN), [1, 2, 3], 1, 32)
    thread = threading.Thread(target=driver.launch, args=(c_void_p(PLAIN), [4, 5, 6], 1, 32))
    thread.start()
    thread.join()
    driver.launch(c_void_p(PLAIN), [7, 8, 9], 1, 32)
    assert pointers[0] == pointers[2] != pointers[1]


def test_what_the_gpu_refuses_is_another_engines(driver):
    driver._cuda.code = 701
    with pytest.raises(Unsupported, match="CUDA error 701"):
        driver.launch(c_void_p(PLAIN), [0, 0, 0], 1, 32)
