"""What a call of engine=cuda costs on the host beyond its kernels: no GPU needed, nothing is launched.

Prints a table in Markdown: ``python experiments/engine/host.py``. One layer, 128 steps of one sequence, 8
features; tensors are on the CPU, where torch's own operations take their time as well: those that every
design of one launch needs are timed alone, in an autograd Function that does nothing else. Microseconds of
the thread, the least of many.
"""

import time
from collections.abc import Callable
from typing import Any

import torch

from gatewise.cells import GRU, LSTM, Cell
from gatewise.engine import cuda
from gatewise.engine.cuda import graphs, launcher
from gatewise.engine.cuda.plan import Gpu
from gatewise.nn import Recurrent

STEPS, SIZE = 128, 8
LENGTHS = [128, 100, 60, 20]


class Launcher:
    """Launches nothing."""

    arch, gpu = "none", Gpu(132, 227 * 1024, (9, 0))

    def kernel(self, source: str, name: str) -> Any:  # noqa: ARG002
        return name

    def prepare(self, *numbers: Any) -> None:
        pass

    def launch(self, *arguments: Any, **others: Any) -> None:
        pass


class Recorder:
    """Replays nothing."""

    def memory(self, device: torch.device) -> int:  # noqa: ARG002
        return 1 << 36

    def record(self, device: torch.device, function: Callable[[], Any]) -> Any:  # noqa: ARG002
        return function(), lambda: None


class Bare(torch.autograd.Function):
    """The operations around an LSTM's two launches."""

    @staticmethod
    def forward(ctx: Any, x: Any, U: Any, W: Any, b: Any, h: Any, c: Any) -> Any:
        torch.addmm(b, x, U.t())
        final, outputs, before = h.new_empty(2, *h.shape), torch.empty_like(x), torch.empty_like(x)
        ctx.save_for_backward(x, U, W, b, h, c, before, torch.empty(STEPS * 6 * 32))
        return outputs, *final.unbind(0)

    @staticmethod
    def backward(ctx: Any, above: Any, *_: Any) -> Any:
        x, U, W, _, h, _, before, _ = ctx.saved_tensors
        grad, grad_a = h.new_zeros(2, *h.shape), above.new_empty(len(x), 4 * SIZE)
        W.mT.contiguous(), grad.unbind(0)
        return grad_a @ U, grad_a.t() @ x, grad_a.t() @ before, grad_a.sum(0), None, None


def least(function: Callable[[], Any]) -> float:
    """Microseconds of a call."""
    for _ in range(5):
        function()
    times = []
    for _ in range(300):
        start = time.thread_time()
        for _ in range(4):
            function()
        times.append((time.thread_time() - start) / 4)
    return min(times) * 1e6


def timed(cell: Cell, lengths: list[int] | None = None) -> tuple[float, float]:
    """Of the forward pass, and of both."""
    net = Recurrent(SIZE, SIZE, cell=cell, engine="cuda")
    x = torch.randn(STEPS, len(lengths or [1]), SIZE, requires_grad=True)
    wanted, above = [x, *net.parameters()], torch.ones(*x.shape)
    both = least(lambda: torch.autograd.grad(net(x, lengths=lengths)[0], wanted, above))
    return least(lambda: net(x, lengths=lengths)), both


def bare() -> tuple[float, float]:
    weights = [torch.randn(4 * SIZE, SIZE), torch.randn(4 * SIZE, SIZE), torch.randn(4 * SIZE)]
    weights = [weight.requires_grad_() for weight in weights]
    x, zeros = torch.randn(STEPS, 1, SIZE, requires_grad=True), torch.zeros(2, 1, SIZE).unbind(0)
    above = torch.ones(STEPS, 1, SIZE)

    def forward() -> torch.Tensor:
        outputs, *final = Bare.apply(x.flatten(0, 1), *weights, *zeros)
        assert [state.unsqueeze(0) for state in final]
        return outputs.unflatten(0, (STEPS, 1))

    return least(forward), least(lambda: torch.autograd.grad(forward(), [x, *weights], above))


def main() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # what no kernel writes may be anything
    launcher.makers["cpu"] = lambda _: Launcher()
    cuda.agrees_with_loop = lambda *_: True
    print("| | forward | forward and backward |")
    print("|---|---|---|")

    def line(what: str, times: tuple[float, float]) -> None:
        print(f"| {what} | {times[0]:.0f} | {times[1]:.0f} |", flush=True)

    line("torch's operations alone (LSTM)", bare())
    line("LSTM, one launch each way", timed(LSTM()))
    line("GRU, one launch each way", timed(GRU()))
    line("LSTM, one launch, ragged", timed(LSTM(), LENGTHS))
    cuda._in_one_launch = lambda *_: None
    line("LSTM, 256 launches step by step", timed(LSTM()))
    graphs.recorders["cpu"] = Recorder()
    line("LSTM, step by step as a CUDA graph", timed(LSTM()))


if __name__ == "__main__":
    main()
