"""How fast the variants of the whole-sequence kernels are that a plan chooses from, beside what it expects.

``python experiments/engine/variants.py variants.csv 12`` times on a GPU the 12 that the plan expects to be
fastest for each size and dtype, and the best of each way to share the work. With ``compile`` in place of the
file it only compiles them for sm_90a, into the cache; that needs no GPU. With ``CELLS=LSTM`` it takes these
cells alone.
"""

from __future__ import annotations

import csv
import fcntl
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from registers import DTYPES, GPUS, SIZES, TRAINING

from gatewise import cells
from gatewise.cells import Cell
from gatewise.engine.cuda import nvrtc, plan, whole
from gatewise.engine.cuda.compared import compared_forward
from gatewise.engine.cuda.emit import filled
from gatewise.engine.cuda.launcher import launcher_of
from gatewise.engine.cuda.plan import Gpu
from gatewise.engine.cuda.variant import Shape, Variant
from gatewise.engine.request import Request, Unsupported, Weights
from gatewise.engine.traced.trace import Trace, trace

KINDS = ("bf16", "TF32")
WAYS = ("forward", "backward")
HOPPER = GPUS["sm_90a"]
LAUNCHES = 5
Job = tuple[str, tuple[int, int, int], str]


class Timed:
    """A launcher that remembers how long its launches took."""

    def __init__(self, launcher: Any) -> None:
        self.launcher, self.gpu, self.events = launcher, launcher.gpu, []
        self.busy = torch.randn(2048, 2048, device="cuda")

    def kernel(self, source: str, name: str) -> Any:
        return self.launcher.kernel(source, name)

    def prepare(self, *numbers: Any) -> None:
        self.launcher.prepare(*numbers)

    def launch(self, *arguments: Any, **others: Any) -> None:
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.busy @ self.busy  # what is launched waits in the queue, so that the host's time is not measured
        before.record()
        self.launcher.launch(*arguments, **others)
        after.record()
        self.events.append((before, after))

    def microseconds(self) -> float:
        torch.cuda.synchronize()
        taken = [1000 * before.elapsed_time(after) for before, after in self.events]
        self.events.clear()
        return statistics.median(taken)


class Compiler:
    """A launcher that only compiles."""

    gpu = HOPPER

    def kernel(self, source: str, name: str) -> Any:
        nvrtc.compiled(filled(("device.cu",), {}) + source, "sm_90a")
        return name


def exact_of(traced: Trace, dtype: torch.dtype, exact: bool) -> bool:
    """Whether products have all digits, as those of a norm do."""
    return exact or (bool(traced.row_values) and dtype == torch.float32)


def known(shape: Shape) -> Shape:
    """As a training step without masks has it."""
    return replace(shape, calls=TRAINING)


def chosen(shape: Shape, batch: int, gpu: Gpu, count: int) -> list[tuple[Variant, float]]:
    """The ``count`` that are expected to be fastest, and the best of each exchange, split and tiles."""
    found = {
        variant: plan.microseconds(variant, shape, batch, gpu) for variant in plan.every(shape, batch, gpu)
    }
    ranked = sorted(found.items(), key=lambda item: item[1])
    kinds: dict[Any, tuple[Variant, float]] = {}
    for variant, expected in ranked:
        kinds.setdefault((variant.exchange, variant.split > 1, variant.wsplit > 1), (variant, expected))
    return list(dict([*ranked[:count], *kinds.values()]).items())


def request_of(cell: Cell, size: tuple[int, int, int], dtype: torch.dtype) -> Request:
    steps, batch, hidden = size
    torch.manual_seed(0)

    def draw(*shape: int, kind: torch.dtype = dtype) -> torch.Tensor:
        return (torch.randn(shape) * hidden**-0.5).to("cuda", kind)

    gates, recurrent = len(cell.gates) * hidden, len(cell.recurrent) * hidden
    own = {name: value.to("cuda") for name, value in cell.own_parameters(hidden).items()}
    weights = Weights(draw(gates, hidden), draw(recurrent, hidden), draw(gates), own)
    x = (draw(steps * batch, hidden) * hidden**0.5).contiguous()
    state = tuple(draw(batch, hidden, kind=torch.float32) for _ in cell.states)
    return Request(cell, weights, x, (batch,) * steps, state)


def timed(job: Job, count: int) -> list[dict[str, Any]]:
    name, size, kind = job
    cell: Cell = getattr(cells, name)()
    steps, batch, hidden = size
    dtype, exact = DTYPES[kind]
    torch.backends.cuda.matmul.allow_tf32 = kind == "TF32"
    traced = compared_forward(trace(cell, hidden))
    request = request_of(cell, size, dtype)
    launcher = Timed(launcher_of(request.x.device))
    whole.make_error_words(request.x.device)
    rows, kept = [], None
    above = torch.randn(steps * batch, hidden, device="cuda").to(dtype)
    with gpu_alone():
        for way in WAYS:
            shape = known(whole.shape_of(cell, traced, hidden, dtype, way, exact_of(traced, dtype, exact)))
            reference = None
            for variant, expected in chosen(shape, batch, launcher.gpu, count):
                row = {"cell": name, "size": named(size), "kind": kind, "way": way}
                row |= {field: getattr(variant, field) for field in variant.__dataclass_fields__}
                row |= {
                    "warps": variant.warps(shape),
                    "units": variant.units(shape),
                    "expected": expected,
                }
                try:
                    kernel = whole.compiled(cell, traced, shape, variant, launcher)
                    kernel.prepare(batch)
                    for _ in range(LAUNCHES):
                        if way == "forward":
                            result = whole.forward(kernel, traced, request, True)
                            found = result.outputs
                        else:
                            found = whole.backward(
                                kernel, traced, request, kept, above, [None] * len(cell.states)
                            ).of_a
                    row["measured"] = launcher.microseconds() / steps
                except (Unsupported, RuntimeError) as error:
                    rows.append(row | {"error": str(error)[:200]})
                    if "CUDA error" in str(error) and "refuses" not in str(error):
                        return rows
                    continue
                if way == "forward":
                    kept = kept or result.kept
                reference = found if reference is None else reference
                row["deviation"] = ((found - reference).float().norm() / reference.float().norm()).item()
                rows.append(row)
    return rows


def compile_all(job: Job, count: int) -> list[dict[str, Any]]:
    name, size, kind = job
    cell: Cell = getattr(cells, name)()
    _, batch, hidden = size
    dtype, exact = DTYPES[kind]
    traced = compared_forward(trace(cell, hidden))
    for way in WAYS:
        shape = known(whole.shape_of(cell, traced, hidden, dtype, way, exact_of(traced, dtype, exact)))
        for variant, _ in chosen(shape, batch, HOPPER, count):
            whole.compiled(cell, traced, shape, variant, Compiler())  # type: ignore[arg-type]
    return []


@contextmanager
def gpu_alone() -> Iterator[None]:
    """Other processes of this script wait meanwhile."""
    with Path(tempfile.gettempdir(), "gatewise-variants.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(target: str, count: int) -> None:
    names = os.environ.get("CELLS", "LSTM,GRU").split(",")
    jobs = [(name, size, kind) for name in names for size in SIZES for kind in KINDS]
    work = compile_all if target == "compile" else timed
    started = time.perf_counter()
    with ProcessPoolExecutor(min(8, os.cpu_count() or 1), max_tasks_per_child=1, mp_context=_spawn()) as pool:
        rows: list[dict[str, Any]] = []
        for job, future in [(job, pool.submit(work, job, count)) for job in jobs]:
            try:
                rows += future.result()
            except Exception as error:  # the other sizes are worth as much
                print(job, repr(error)[:300])
            print(f"{time.perf_counter() - started:.0f} s", *job, flush=True)
            if target != "compile":
                write(Path(target), rows)
                say(
                    [
                        row
                        for row in rows
                        if (row["cell"], row["size"], row["kind"]) == (job[0], named(job[1]), job[2])
                    ]
                )


def named(size: tuple[int, int, int]) -> str:
    return "x".join(map(str, size))


def _spawn() -> Any:
    import multiprocessing

    return multiprocessing.get_context("spawn")


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def say(rows: list[dict[str, Any]]) -> None:
    for way in WAYS:
        measured = [row for row in rows if row["way"] == way and "measured" in row]
        if not measured:
            print(f"  {way}: none ran")
            continue
        fastest = min(measured, key=lambda row: row["measured"])
        print(
            f"  {way}: us of a step {measured[0]['measured']:.2f} as planned "
            f"({measured[0]['expected']:.2f} expected), "
            f"{fastest['measured']:.2f} the fastest of {len(measured)}; results differ by at most "
            f"{max(row['deviation'] for row in measured):.1e}"
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 12)
