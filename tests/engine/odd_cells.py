"""Cells whose step is more than a function of its arguments, or less than a step has to be."""
# ruff: noqa: ARG001, ARG002, ARG004, ARG005 - all of them are called as a cell is

from __future__ import annotations

import functools
import itertools
import random
import time

import numpy as np
import torch
from torch import nn, tanh
from torch.nn import functional as F

from gatewise.cells import Cell


class One(Cell):
    """One gate and one state; a subclass says what becomes of the new h."""

    gates = ("n",)
    states = ("h",)

    def step(self, a, r, s, p):
        h = self.after(tanh(a.n + 0.5 * r.n + 0.2 * s.h), a.n)
        return (h,), {"n": h}

    def after(self, h, x):
        return h


def cell_of(after, name, **attributes):
    """A cell of its own class, whose new h is ``after(self, h, x)``."""
    return type(name, (One,), {"after": after, "__module__": __name__, **attributes})()


COUNT = 0
BOX = [0]


def bump():
    BOX[0] += 1
    return BOX[0]


class GlobalCount(One):
    def after(self, h, x):
        global COUNT
        COUNT += 1
        return h * (0.5 if COUNT > 1000 else 1.0)


def closure_count():
    count = 0

    class ClosureCount(One):
        def after(self, h, x):
            nonlocal count
            count += 1
            return h * (0.5 if count > 1000 else 1.0)

    return ClosureCount()


class Counter(One):
    def __init__(self) -> None:
        self.t = 0

    def after(self, h, x):
        self.t += 1
        return h * 0.9**self.t


class LateCounter(Counter):
    def after(self, h, x):
        self.t += 1
        return h * (0.5 if self.t > 1000 else 1.0)


class Seen(One):
    def __init__(self) -> None:
        self.seen = {"steps": []}

    def after(self, h, x):
        self.seen["steps"].append(1)
        return h * (0.5 if len(self.seen["steps"]) > 1000 else 1.0)


class CountOfClass(One):
    t = 0

    def after(self, h, x):
        type(self).t += 1
        return h * (0.5 if self.t > 1000 else 1.0)


class Iterates(One):
    def __init__(self) -> None:
        self.numbers = itertools.count()

    def after(self, h, x):
        return h * (0.5 if next(self.numbers) > 1000 else 1.0)


class Cached(One):
    first = None

    def after(self, h, x):
        if self.first is None:
            self.first = h.detach()
        return h + 0.1 * self.first[: len(h)]


class NumpyGenerator(One):
    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)

    def after(self, h, x):
        return h * float(self.generator.random())


class OwnGenerator(One):
    def __init__(self) -> None:
        self.generator = torch.Generator()

    def after(self, h, x):
        return h * torch.rand(h.shape, generator=self.generator, dtype=h.dtype)


def in_place(self, h, x):
    return h * torch.empty_like(h).bernoulli_(0.5)


def hooked(self, h, x):
    if h.requires_grad:
        h.register_hook(lambda grad: grad.clamp(-0.1, 0.1))
    return h


DRAWING = {
    "randn_like": lambda self, h, x: h * (1 + 0.5 * torch.randn_like(x)),
    "dropout": lambda self, h, x: F.dropout(h, 0.3),
    "bernoulli": lambda self, h, x: h * torch.bernoulli(x.sigmoid()),
    "bernoulli in place": in_place,
    "rand": lambda self, h, x: h * torch.rand(h.shape[-1], dtype=h.dtype),
    "random_": lambda self, h, x: h * torch.empty_like(h).random_(3),
    "rrelu": lambda self, h, x: F.rrelu(h, training=True),
    "gumbel": lambda self, h, x: F.gumbel_softmax(h),
    "normal": lambda self, h, x: torch.normal(h, 0.1),
    "random": lambda self, h, x: h * random.random(),
    "numpy": lambda self, h, x: h * float(np.random.rand()),
}
READING = {
    "if": lambda self, h, x: h if x.sum() > 0 else x,
    "item": lambda self, h, x: h * x.max().item(),
    "tolist": lambda self, h, x: h * x.tolist()[0][0],
    "numpy": lambda self, h, x: h + torch.from_numpy(np.tanh(x.detach().numpy())),
    "equal": lambda self, h, x: h if torch.equal(h, x) else h / 2,
    "nonzero": lambda self, h, x: h * len(torch.nonzero(x > 0)),
    "format": lambda self, h, x: h * float(f"{x.mean():.1f}"),
}
ROWS = {
    "mean of rows": lambda self, h, x: h - x.mean(0),
    "detached": lambda self, h, x: h - x.mean(0).detach(),
    "number of rows": lambda self, h, x: h / len(x),
    "first row": lambda self, h, x: h + x[:1].detach(),
    "batch norm": lambda self, h, x: F.batch_norm(h, None, None, training=True),
    "sorted": lambda self, h, x: h + x.sort(0).values.detach(),
}
MODES = {
    "grad mode": lambda self, h, x: h * (2.0 if torch.is_grad_enabled() else 1.0),
    "requires_grad": lambda self, h, x: h * (2.0 if x.requires_grad else 1.0),
}
LOOP_ONLY = {
    "draws random numbers": [
        *(cell_of(after, "Draws") for after in DRAWING.values()),
        OwnGenerator(),
    ],
    "reads the values of tensors": [cell_of(after, "Reads") for after in READING.values()],
    "row": [cell_of(after, "Rows") for after in ROWS.values()],
    "where gradients are asked for": [cell_of(after, "Modes") for after in MODES.values()],
    "hangs a hook": [cell_of(hooked, "Hooks")],
    "changes self.t": [Counter(), LateCounter()],
    "changes self.seen": [Seen()],
    "changes self.numbers": [Iterates()],
    "changes self.first": [Cached()],
    "changes self.generator": [NumpyGenerator()],
    "changes COUNT": [GlobalCount()],
    "changes BOX": [cell_of(lambda self, h, x: h * min(bump(), 1), "GlobalList")],
    "changes count": [closure_count()],
    "changes CountOfClass.t": [CountOfClass()],
    "gives another result": [cell_of(lambda self, h, x: h * (time.perf_counter() % 1), "Clock")],
}


class ClipGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad.clamp(-1, 1)


class CachedProperty(One):
    @functools.cached_property
    def share(self):
        return 0.5

    def after(self, h, x):
        return h * self.share


class Factor(One):
    noise = ("z",)

    def step(self, a, r, s, p):
        h = tanh(a.n + 0.5 * r.n + 0.2 * s.h) * (1 + 0.5 * a.z)
        return (h,), {"n": h}


EVERY_ENGINE = {
    "plain": One(),
    "a property that is kept": CachedProperty(),
    "noise": Factor(),
    "a constant made from numbers": cell_of(
        lambda self, h, x: h * torch.linspace(0, 1, h.shape[-1], dtype=h.dtype),
        "Constant",
    ),
    "no dropout": cell_of(lambda self, h, x: F.dropout(h, 0.5, training=False), "NoDropout"),
    "where": cell_of(lambda self, h, x: torch.where(x > 0, h, 2 * h), "Where"),
    "detached": cell_of(lambda self, h, x: h * x.detach().sigmoid(), "Detached"),
    # Run by some engine but not by all; none may run it wrongly.
    "cut to whole numbers": cell_of(lambda self, h, x: h + (8 * x).int() / 8, "Cut"),
    "as a truth": cell_of(lambda self, h, x: h * (x > 0).to(x.dtype) + x.trunc().bool(), "Truth"),
    "half": cell_of(lambda self, h, x: h.half().to(x.dtype), "Half"),
    "float": cell_of(lambda self, h, x: h + x.float().to(x.dtype), "Single"),
    "a gradient that is clipped": cell_of(lambda self, h, x: ClipGradient.apply(h), "Clips"),
    "straight through": cell_of(lambda self, h, x: h + (h.round() - h).detach(), "Rounds"),
}


class Two(Cell):
    gates = ("n", "o")
    states = ("h", "c")


def step_of(function, name):
    return type(name, (Two,), {"step": function, "__module__": __name__})()


WRONG = {
    "return h": (lambda self, a, r, s, p: tanh(a.n), "must return two things, a tuple of new states"),
    "return h,": (lambda self, a, r, s, p: (tanh(a.n),), "must return two things"),
    "return h, c": (lambda self, a, r, s, p: (a.n, a.o), "must return two things"),
    "return State": (lambda self, a, r, s, p: self.State(a.n, a.o), "must return two things"),
    "return nothing": (lambda self, a, r, s, p: None, "must return two things"),
    "return a dict": (lambda self, a, r, s, p: {"h": a.n}, "must return two things"),
    "return h, {}": (lambda self, a, r, s, p: (a.n, {}), "new states as a tuple, even if there is one"),
    "gates: None": (lambda self, a, r, s, p: ((a.n, a.o), None), "must return a dict of gates"),
    "gates: list": (lambda self, a, r, s, p: ((a.n, a.o), [a.n]), "must return a dict of gates"),
    "gates: numbers": (lambda self, a, r, s, p: ((a.n, a.o), {"n": 1.0}), "'n' is float"),
    "one state": (lambda self, a, r, s, p: ((a.n,), {}), "must return 2 new states"),
    "three states": (lambda self, a, r, s, p: ((a.n, a.o, a.o), {}), "must return 2 new states"),
    "a number": (lambda self, a, r, s, p: ((a.n, 1.0), {}), "c is float"),
    "an array": (lambda self, a, r, s, p: ((a.n, a.o.detach().numpy()), {}), "c is ndarray"),
    "a column": (lambda self, a, r, s, p: ((a.n, a.o.mean(1)), {}), r"c is \[\d\]"),
    "too wide": (lambda self, a, r, s, p: ((torch.cat([a.n, a.o], 1), a.o), {}), r"h is \[\d, 8\]"),
    "too many rows": (lambda self, a, r, s, p: ((a.n, torch.cat([a.n, a.o])), {}), r"c is \[\d, 4\]"),
    "whole numbers": (lambda self, a, r, s, p: ((a.n, a.o.int()), {}), "c is torch.int32"),
    "half": (lambda self, a, r, s, p: ((a.n.half(), a.o), {}), "h is torch.float16"),
    "a misspelt function": (lambda self, a, r, s, p: ((tahn(a.n), a.o), {}), "NameError: name 'tahn' is"),  # noqa: F821
    "shapes": (lambda self, a, r, s, p: ((a.n @ a.o, a.o), {}), "RuntimeError: mat1 and mat2 shapes"),
    "no gate": (lambda self, a, r, s, p: ((a.f, a.o), {}), "a has no f; it has n, o"),
    "no product": (lambda self, a, r, s, p: ((r.f, a.o), {}), "r has no f; it has n, o"),
    "no state": (lambda self, a, r, s, p: ((s.m, a.o), {}), "s has no m; it has h, c"),
    "no parameter": (lambda self, a, r, s, p: ((p.w, a.o), {}), "p has no w; it is empty"),
    "arguments": (lambda self, a, r, s: ((a.n, a.o), {}), "takes 4 positional arguments but 5"),
    "a key": (lambda self, a, r, s, p: ((a.n, a.o), {"x": {}["y"]}), "KeyError: 'y'"),
    "writes into a state": (lambda self, a, r, s, p: ((a.n, s.c.mul_(2)), {}), "changes its argument s.c"),
    "writes into a gate": (
        lambda self, a, r, s, p: ((a.n.tanh_(), a.o), {}),
        "changes its argument a in place",
    ),
}


class Held(Two):
    def __init__(self, thing) -> None:
        self.thing = thing

    def step(self, a, r, s, p):
        return (tanh(a.n + r.n), a.o), {}


class Helper:
    def __init__(self) -> None:
        self.weight = nn.Parameter(torch.ones(3))


class InClass(Two):
    weight = nn.Parameter(torch.ones(3))

    def step(self, a, r, s, p):
        return (tanh(a.n + r.n), a.o), {}


OF_THE_FILE = nn.Linear(3, 3)


def beside(x):
    return OF_THE_FILE(x)


class OfTheFile(Two):
    def step(self, a, r, s, p):
        return (beside(tanh(a.n + r.n)), a.o), {}


def around(weight):
    class Around(Two):
        def step(self, a, r, s, p):
            return (weight * tanh(a.n + r.n), a.o), {}

    return Around()


HOLDING = {
    "module": (Held(nn.Linear(2, 2)), r"Held holds a Linear \(a module\) in self\.thing"),
    "module without weights": (Held(nn.Tanh()), r"a Tanh \(a module\) in self\.thing"),
    "parameter": (Held(nn.Parameter(torch.ones(3))), r"Held holds a Parameter in self\.thing"),
    "tensor": (Held(torch.ones(3)), r"Held holds a tensor|a Tensor in self\.thing"),
    "list": (Held([1, nn.Linear(2, 2)]), r"self\.thing\[1\]"),
    "dict": (Held({"w": torch.ones(3)}), r"self\.thing\['w'\]"),
    "nested": (Held({"w": [(torch.ones(3),)]}), r"self\.thing\['w'\]\[0\]\[0\]"),
    "module list": (Held(nn.ModuleList([nn.Linear(2, 2)])), r"a ModuleList \(a module\)"),
    "object": (Held(Helper()), r"a Parameter in self\.thing\.weight"),
    "method": (Held(nn.Linear(2, 2).forward), r"a Linear \(a module\) in self\.thing"),
    "partial": (Held(functools.partial(F.linear, weight=torch.ones(3, 3))), r"in self\.thing"),
    "module of the file": (OfTheFile(), r"OfTheFile\.step uses OF_THE_FILE, a Linear \(a module\), which no"),
    "parameter around": (
        around(nn.Parameter(torch.ones(3))),
        r"Around\.step uses weight, a Parameter, which",
    ),
    "class attribute": (InClass(), r"InClass holds a Parameter in InClass\.weight"),
}
