"""The kernels of the cuda engine compile for every generation of GPU, where NVRTC is there."""

import re

import pytest
import torch
from reducing import REDUCING

from gatewise.cells import GRU, LSTM, LayerNormLSTM, ProjectedLSTM
from gatewise.engine.cuda import nvrtc, plan, whole
from gatewise.engine.cuda.emit import filled, sequence_source, steps_source
from gatewise.engine.cuda.gates import backward_shape
from gatewise.engine.cuda.plan import Gpu
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
    for cell in (LSTM(), GRU(), ProjectedLSTM(8), *REDUCING):
        traced = trace(cell, 64, torch.float64 if dtype == torch.float64 else torch.float32)
        text = filled(("device.cu",), {}) + steps_source(cell, traced, 64, dtype, fast=dtype.itemsize == 2)
        report = nvrtc.report(text, arch)
        assert report.count(" 0 bytes spill stores") == 2, report


@needs_nvrtc
def test_what_does_not_compile_is_one_line():
    with pytest.raises(Unsupported, match=r"^code that NVRTC [\d.]+ does not compile \(.*nosuch"):
        nvrtc.compiled("__global__ void f() { nosuch(); }", "sm_80")


GPUS = {
    "sm_80": Gpu(108, 163 * 1024, (8, 0)),
    "sm_90a": Gpu(132, 227 * 1024, (9, 0)),
    "sm_100": Gpu(148, 227 * 1024, (10, 0)),
}
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


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("arch", GPUS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_what_a_plan_takes(arch, dtype):
    for cell in (*REDUCING, ProjectedLSTM(16)):
        for hidden in (64,) if arch == "sm_80" else (64, 128):
            traced = trace(cell, hidden)
            for way in ("forward", "backward"):
                shape = whole.shape_of(cell, traced, hidden, dtype, way)
                variant = plan.best(shape, 64, GPUS[arch])
                assert variant is not None
                text = filled(("device.cu",), {}) + sequence_source(cell, traced, shape, variant)
                report = nvrtc.report(text, arch)
                (spilled,) = map(int, re.findall(r"(\d+) bytes spill stores", report))
                assert spilled <= 16, (cell, hidden, way, variant, report)  # 12 with zoneout
