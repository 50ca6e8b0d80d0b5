"""Few sequences, and one step at a time: ours beside torch.nn, in turns, on one thread and on two.

Prints a table in Markdown: ``python experiments/engine/few.py`` takes about six minutes. Each number is how
many times as fast we are: the median over the rounds of torch's time over ours. Inputs have as many features
as the hidden state. A step alone without gradients is beside ``torch.nn.LSTMCell`` or ``GRUCell``, all else
beside the layer.
"""

import math
import statistics
import time
from collections.abc import Callable
from itertools import product

import torch
from torch import nn

from gatewise.nn import Recurrent

BATCHES, HIDDEN, STEPS = (1, 2, 4), (128, 256, 512, 1024), (1, 16, 256)
CELLS = {"LSTM": (nn.LSTM, nn.LSTMCell), "GRU": (nn.GRU, nn.GRUCell)}
ROUNDS = 5
SECONDS = 0.02
"""At least, for each measurement."""


def main() -> None:
    print(
        f"| cell | work | threads | T | {' | '.join(f'B {b}, H {h}' for b, h in product(BATCHES, HIDDEN))} |"
    )
    print(f"|{'---|' * (4 + len(BATCHES) * len(HIDDEN))}")
    for name, work, threads in product(CELLS, ("inference", "training"), (1, 2)):
        torch.set_num_threads(threads)
        ratios = []
        for steps in STEPS:
            row = [
                ratio(*runs(name, work, batch, hidden, steps)) for batch, hidden in product(BATCHES, HIDDEN)
            ]
            ratios += row
            print(
                f"| {name} | {work} | {threads} | {steps} | {' | '.join(f'{r:.2f}' for r in row)} |",
                flush=True,
            )
        mean = math.exp(statistics.fmean(map(math.log, ratios)))
        print(f"\n{name} {work}, {threads} threads: mean {mean:.2f}, least {min(ratios):.2f}\n", flush=True)


def runs(name: str, work: str, batch: int, hidden: int, steps: int) -> tuple[Callable[[], object], ...]:
    """Our call and torch's."""
    layer, single = CELLS[name]
    theirs = layer(hidden, hidden)
    ours = Recurrent.from_torch(theirs)
    x = torch.randn(steps, batch, hidden)
    state = ours.cell.name_state([torch.zeros(1, batch, hidden) for _ in ours.cell.states])

    def trained(net: nn.Module) -> None:
        net.zero_grad()
        net(x)[0].sum().backward()

    if work == "training":
        return lambda: trained(ours), lambda: trained(theirs)
    if steps > 1:
        return torch.no_grad()(lambda: ours(x)), torch.no_grad()(lambda: theirs(x))
    alone = single(hidden, hidden)
    before = tuple(s[0] for s in state) if len(state) > 1 else state[0][0]
    return torch.no_grad()(lambda: ours(x, state)), torch.no_grad()(lambda: alone(x[0], before))


def ratio(ours: Callable[[], object], theirs: Callable[[], object]) -> float:
    calls = []
    for run in (ours, theirs):
        for _ in range(3):
            run()
        calls.append(max(1, math.ceil(SECONDS / seconds(run, 1))))
    found = []
    for turn in range(ROUNDS):
        both = list(zip((ours, theirs), calls, strict=True))
        times = [seconds(*one) for one in (both if turn % 2 else both[::-1])]
        mine, other = times if turn % 2 else times[::-1]
        found.append(other / mine)
    return statistics.median(found)


def seconds(run: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


if __name__ == "__main__":
    main()
