"""The kernels of the cuda engine compile for every generation of GPU, where NVRTC is there."""

import pytest
import torch

from gatewise.cells import GRU, LSTM, LayerNormLSTM, ProjectedLSTM
from gatewise.engine.cuda import nvrtc
from gatewise.engine.cuda.emit import filled, steps_source
from gatewise.engine.native.trace import trace
from gatewise.engine.request import Unsupported


def compiler_is_there():
    try:
        nvrtc.report("", "sm_80")
    except Unsupported:
        return False
    return True


needs_nvrtc = pytest.mark.skipif(
    not compiler_is_there(), reason="no NVRTC: pip install nvidia-cuda-nvrtc-cu12"
)


@needs_nvrtc
@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90a", "sm_100"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_steps(arch, dtype):
    for cell in (LSTM(), GRU(), LayerNormLSTM(), ProjectedLSTM(8)):
        traced = trace(cell, 64, torch.float64 if dtype == torch.float64 else torch.float32)
        text = filled(("device.cu",), {}) + steps_source(cell, traced, 64, dtype, fast=dtype.itemsize == 2)
        report = nvrtc.report(text, arch)
        assert report.count(" 0 bytes spill stores") == 2, report


@needs_nvrtc
def test_what_does_not_compile_is_one_line():
    with pytest.raises(Unsupported, match=r"^code that NVRTC [\d.]+ does not compile \(.*nosuch"):
        nvrtc.compiled("__global__ void f() { nosuch(); }", "sm_80")
