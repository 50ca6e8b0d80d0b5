"""Gradients that are accumulated over batches are those of one batch that holds them all."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from test_task import CASES, make_task
from torch.optim import SGD

from gatewise.kinds.sequences import SequenceBatch
from gatewise.kinds.series import WindowBatch
from gatewise.kinds.text import TextBatch

SIZES = ([3, 3], [4, 1, 2], [2, 2, 2, 2, 1], [1, 5], [6])


def cut(name, sizes):
    """Batches of so many rows, drawn anew, with targets of unequal number."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    def classes(n, *shape):
        return torch.randint(0, n, shape, generator=generator)

    make = {
        "classification": lambda n: SequenceBatch(draw(n, 5, 3), classes(5, n) + 1, classes(4, n)),
        "forecasting": lambda n: WindowBatch(draw(n, 6, 2), draw(n, 3, 1)),
        # The length of a window is drawn too: tokens count, not batches.
        "language_modelling": lambda n: TextBatch(*classes(5, 2, 3, 2 * n).unbind()),
    }[name]
    return [make(n) for n in sizes]


def gradients_of_unions(name, batches, accumulate):
    """For each group of batches the gradient of the mean over its predictions, from that, in float64.

    A language model goes through them in order, with the state that it carries.
    """
    task = make_task(CASES[name]).double().train()
    for first in range(0, len(batches), accumulate):
        scores = [task.score(as_double(batch)) for batch in batches[first : first + accumulate]]
        total = sum(score.loss * score.count for score in scores)
        gradients = torch.autograd.grad(total / sum(score.count for score in scores), list(task.parameters()))
        yield [gradient.float() for gradient in gradients]


def as_double(batch):
    tensors = (part for part in batch if part is not None)
    return type(batch)(*(part.double() if part.is_floating_point() else part for part in tensors))


class Steps(pl.Callback):
    """Keeps the gradients of every step of the optimizer."""

    def __init__(self):
        self.gradients = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):  # noqa: ARG002
        self.gradients.append([p.grad.clone() for p in pl_module.parameters()])


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("accumulate", [2, 3, 8])
@pytest.mark.parametrize("name", CASES)
def test_a_step_over_batches_is_the_step_over_their_union(name, accumulate, sizes, trainer, loader):
    task = make_task(CASES[name], optimizer=partial(SGD, lr=0.0))
    batches = cut(name, sizes)
    steps = Steps()
    trainer(
        accumulate_grad_batches=accumulate, limit_val_batches=0, callbacks=[steps], log_every_n_steps=0
    ).fit(task, loader(batches), loader(batches[:1]))
    expected = list(gradients_of_unions(name, batches, accumulate))
    for found, wanted in zip(steps.gradients, expected, strict=True):
        for ours, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_in_bfloat16_too(trainer, loader):
    """The mixed precision rounds to three digits, and no more than a single batch of all does."""
    batches = cut("classification", [4, 1, 2])
    whole = [
        SequenceBatch(*(torch.cat(parts) for parts in zip(*batches, strict=True) if parts[0] is not None))
    ]
    found = []
    for given, accumulate in ((batches, 3), (whole, 1)):
        task, steps = make_task(CASES["classification"], optimizer=partial(SGD, lr=0.0)), Steps()
        settings = {"precision": "bf16-mixed", "accumulate_grad_batches": accumulate, "log_every_n_steps": 0}
        trainer(limit_val_batches=0, callbacks=[steps], **settings).fit(task, loader(given), loader(given))
        found.append(steps.gradients[0])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=5e-3)
