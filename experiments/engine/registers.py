"""Registers, spilled bytes and shared memory of the whole-sequence kernels that a plan takes; no GPU needed.

Prints a table in Markdown: ``python experiments/engine/registers.py`` (pip install nvidia-cuda-nvrtc-cu12).
A tile of sequences is shared by so many blocks, of which some split each sum, with so many warps.
"""

import re
from dataclasses import replace

import torch

from gatewise.cells import GRU, LSTM, LayerNormLSTM
from gatewise.engine.cuda import nvrtc, whole
from gatewise.engine.cuda.emit import filled, sequence_source
from gatewise.engine.cuda.plan import Gpu, best
from gatewise.engine.cuda.variant import Calls
from gatewise.engine.traced.trace import trace

GPUS = {
    "sm_80": Gpu(108, 163 * 1024, (8, 0)),
    "sm_90a": Gpu(132, 227 * 1024, (9, 0)),
    "sm_100": Gpu(148, 227 * 1024, (10, 0)),
}
SIZES = [
    (128, 64, 128),
    (512, 64, 64),
    (1024, 16, 768),
    (35, 20, 650),
    (128, 256, 256),
    (128, 64, 1024),
    (1024, 1, 256),
]
DTYPES = {"bf16": (torch.bfloat16, False), "TF32": (torch.float32, False), "float32": (torch.float32, True)}
TRAINING = Calls(full=True, keeps=True, returns=False, masked=False)
EXCHANGES = ("block", "cluster", "grid")


def main() -> None:
    print("| cell | (T,B,H) | dtype | way | GPU | shared by | exchange | shared KiB | registers | spilled |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for cell in (LSTM(), GRU(), LayerNormLSTM()):
        for steps, batch, hidden in SIZES:
            traced = trace(cell, hidden)
            norms = bool(traced.row_values)
            for name, (dtype, exact) in DTYPES.items():
                for way in ("forward", "backward"):
                    for arch, gpu in GPUS.items():
                        shape = whole.shape_of(
                            cell, traced, hidden, dtype, way, exact or (norms and dtype == torch.float32)
                        )
                        shape = replace(shape, calls=TRAINING)
                        variant = best(shape, batch, gpu)
                        row = [type(cell).__name__, f"({steps},{batch},{hidden})", name, way, arch]
                        if variant is None:
                            print(f"| {' | '.join(row)} | step by step | | | | |", flush=True)
                            continue
                        text = filled(("device.cu",), {}) + sequence_source(cell, traced, shape, variant)
                        report = nvrtc.report(text, arch)
                        (registers,) = re.findall(r"Used (\d+) registers", report)
                        (spilled,) = re.findall(r"(\d+) bytes spill stores", report)
                        row += [
                            f"{variant.blocks} x {variant.split}, {variant.warps(shape)}",
                            EXCHANGES[variant.exchange],
                            f"{variant.shared(shape) / 1024:.0f}",
                            registers,
                            spilled,
                        ]
                        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
