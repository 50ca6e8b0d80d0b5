"""The kernels of the cuda engine compile for every generation of GPU, where NVRTC is there."""

import pytest
import torch

from gatewise.cells import GRU, LSTM, LayerNormLSTM, ProjectedLSTM
from gatewise.engine.cuda import nvrtc, whole
from gatewise.engine.cuda.emit import filled, sequence_source, steps_source
from gatewise.engine.cuda.gates import backward_shape
from gatewise.engine.cuda.variant import CLUSTER, GRID, Variant
from gatewise.engine.request import Unsupported
from gatewise.engine.traced.pruned import pruned
from gatewise.engine.traced.trace import trace


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
@pytest.mark.slow
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


WAYS = [
    (torch.bfloat16, 64, Variant(), Variant(wsplit=2)),
    (torch.float16, 128, Variant(4, exchange=CLUSTER), Variant(4, 4, exchange=CLUSTER)),
    (torch.float32, 128, Variant(4, exchange=CLUSTER, wsplit=2), Variant(4, 4, exchange=CLUSTER)),
    (torch.bfloat16, 768, Variant(96, 8, 1, 1, 2, GRID), Variant(48, 8, 4, 4, 1, GRID)),
]
EXACT = [
    (64, Variant(), Variant(wsplit=4, groups=2)),
    (256, Variant(8, exchange=CLUSTER, wsplit=2), Variant(8, 8, exchange=CLUSTER, groups=2)),
]
WAYS = [(*way, False) for way in WAYS] + [(torch.float32, *way, True) for way in EXACT]


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a", "sm_100"])
@pytest.mark.parametrize(("dtype", "hidden", "forth", "back", "exact"), WAYS, ids=str)
def test_sequences(arch, dtype, hidden, forth, back, exact):
    """Without a register that does not fit, which would go to slow memory."""
    if arch == "sm_80" and forth.cluster > 1:
        pytest.skip("clusters came with sm_90")
    for cell in (LSTM(), GRU()):
        for way, variant in (("forward", forth), ("backward", back)):
            traced = trace(cell, hidden)
            shape = whole.shape_of(cell, traced, hidden, dtype, way, exact)
            assert variant.fits(shape, 227 * 1024, 8)
            text = filled(("device.cu",), {}) + sequence_source(cell, traced, shape, variant)
            report = nvrtc.report(text, arch)
            assert " 0 bytes spill stores" in report, report


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90a", "sm_100"])
def test_steps_whose_gates_carry_gradients(arch):
    for cell in (LSTM(), LayerNormLSTM()):
        traced = trace(cell, 64, gate_names=trace(cell, 64).gate_names)
        text = steps_source(cell, traced, 64, torch.bfloat16, fast=True, carrying=pruned(traced, (0, 2)))
        report = nvrtc.report(filled(("device.cu",), {}) + text, arch)
        assert report.count(" 0 bytes spill stores") == 2, report


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a", "sm_100"])
@pytest.mark.parametrize(
    ("dtype", "hidden", "variant"),
    [
        (torch.bfloat16, 64, Variant(wsplit=2)),
        (torch.float32, 128, Variant(4, 4, exchange=CLUSTER)),
        (torch.bfloat16, 768, Variant(48, exchange=GRID, wsplit=8)),
    ],
    ids=str,
)
def test_sequences_whose_gates_carry_gradients(arch, dtype, hidden, variant):
    if arch == "sm_80" and variant.cluster > 1:
        pytest.skip("clusters came with sm_90")
    for cell in (LSTM(), GRU()):
        traced = trace(cell, hidden, gate_names=trace(cell, hidden).gate_names)
        forward = whole.shape_of(cell, traced, hidden, dtype, "forward")
        shape = backward_shape(cell, forward, traced)
        assert variant.fits(shape, 227 * 1024, 8)
        text = sequence_source(cell, traced, shape, variant, carrying=traced)
        report = nvrtc.report(filled(("device.cu",), {}) + text, arch)
        assert " 0 bytes spill stores" in report, report
