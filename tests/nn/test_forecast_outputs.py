"""What a forecast says of each value: losses and quantiles against scipy and numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.nn import functional as F

from gatewise.nn.forecast_outputs import make_output
from gatewise.nn.forecast_quantiles import student_t_factors
from gatewise.nn.forecasters.level import Level, Units

LEVELS = (0.025, 0.1, 0.3, 0.5, 0.8, 0.975)
NAMES = ("point", "quantiles", "gaussian", "student_t", "negative_binomial")
SIZE = (3, 4, 2)  # windows, steps, targets
UNITS = Units(
    torch.tensor([[[7.0, 30.0]]], dtype=torch.float64),
    torch.tensor([[[2.0, 5.0]]], dtype=torch.float64),
    torch.zeros(3, 1, 2),
)


def made(name, loss="mse"):
    """(Output, its numbers, the level, targets): counts behind the targets' scaled values."""
    generator = torch.Generator().manual_seed(len(name))
    output = make_output(name, loss, LEVELS)
    raw = torch.randn(*SIZE, output.numbers, generator=generator)
    counts = torch.randint(0, 40, SIZE, generator=generator)
    level = Level(
        torch.randn(3, 1, 2, generator=generator), torch.rand(3, 1, 2, generator=generator) + 0.5, UNITS
    )
    return output, output.placed(raw, level), level, UNITS.scaled(counts.float())


def mean_loss(name, placed, targets):
    """The loss by scipy and numpy in float64."""
    placed, targets = placed.double().numpy(), targets.double().numpy()
    if name == "quantiles":
        error = targets[..., None] - placed
        return np.where(error >= 0, np.array(LEVELS) * error, (np.array(LEVELS) - 1) * error).mean()
    first, second, *more = np.moveaxis(placed, -1, 0)
    if name == "gaussian":
        return -stats.norm.logpdf(targets, first, second).mean()
    if name == "student_t":
        return -stats.t.logpdf(targets, more[0], first, second).mean()
    counts = (targets * np.array([2.0, 5.0]) + np.array([7.0, 30.0])).round()
    return -stats.nbinom.logpmf(counts, 1 / second, 1 / (1 + second * first)).mean()


@pytest.mark.parametrize("name", NAMES[1:])
def test_losses_are_those_of_other_libraries(name):
    output, placed, level, targets = made(name)
    found = output.loss(placed, targets, level, some_missing=False)
    assert float(found) == pytest.approx(mean_loss(name, placed, targets), rel=2e-5)


@pytest.mark.parametrize(
    ("loss", "of"),
    {
        "mse": np.square,
        "mae": np.abs,
        "huber": lambda e: np.where(np.abs(e) <= 1, e**2 / 2, np.abs(e) - 0.5),
    }.items(),
)
def test_losses_of_a_point(loss, of):
    output, placed, level, targets = made("point", loss)
    error = (placed[..., 0] - targets).double().numpy()
    for some_missing in (False, True):
        found = output.loss(placed, targets, level, some_missing)
        assert float(found) == pytest.approx(of(error).mean(), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_missing_targets_count_nowhere(name):
    output, placed, level, targets = made(name)
    placed = placed.requires_grad_()
    missing = torch.zeros(SIZE, dtype=torch.bool)
    missing[0, :2] = missing[2, 3, 1] = True
    loss = output.loss(placed, targets.masked_fill(missing, torch.nan), level, some_missing=True)
    each = output.each_loss(placed, targets, level)
    torch.testing.assert_close(loss, each[~missing].mean())
    loss.backward()
    assert (placed.grad[missing] == 0).all()
    assert torch.isfinite(placed.grad).all()
    nothing = output.loss(placed, torch.full(SIZE, torch.nan), level, some_missing=True)
    assert float(nothing.detach()) == 0


@pytest.mark.parametrize("name", NAMES[2:])
def test_quantiles_are_those_of_scipy(name):
    output, placed, level, _ = made(name)
    found = output.quantiles(placed, LEVELS, level).double().numpy()
    first, second, *more = np.moveaxis(placed.double().numpy()[..., None, :], -1, 0)
    if name == "gaussian":
        expected = stats.norm.ppf(LEVELS, first, second)
    elif name == "student_t":
        expected = stats.t.ppf(LEVELS, more[0], first, second)
    else:
        counts = stats.nbinom.ppf(LEVELS, 1 / second, 1 / (1 + second * first))
        expected = (counts - np.array([[7.0], [30.0]])) / np.array([[2.0], [5.0]])
    assert found.shape == (*SIZE, len(LEVELS))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", NAMES[1:])
def test_values_are_drawn_as_the_quantiles_say(name):
    output, placed, level, _ = made(name)
    torch.manual_seed(5)
    many = Level(level.shift, level.scale, level.units)
    drawn = torch.stack([output.drawn(placed, many) for _ in range(4000)])
    quantiles = output.quantiles(placed, LEVELS, many)
    for place, chance in enumerate(LEVELS):
        below = (drawn <= quantiles[..., place] + 1e-9).double().mean(0)
        # Of counts, the least with so much at or below it. Four standard deviations of 4,000 draws.
        reach = 4 * (chance * (1 - chance) / 4000) ** 0.5
        assert (below > chance - reach).all()
        if name != "negative_binomial":
            assert (below < chance + reach).all()
        else:
            less = (drawn < quantiles[..., place] - 1e-6).double().mean(0)
            assert (less < chance + reach).all()


def test_factors_of_student_t_over_the_whole_range():
    freedom = torch.cat([2 + torch.logspace(-6, 6, 500, dtype=torch.float64), torch.tensor([2.0])])
    found = student_t_factors((0.025, 0.2, 0.5, 0.9), freedom)
    expected = stats.t.ppf([0.025, 0.2, 0.5, 0.9], freedom.numpy()[:, None])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.lists(st.floats(-1e4, 1e4), min_size=6, max_size=6),
    shift=st.floats(-100, 100),
    scale=st.floats(0.01, 100),
)
def test_quantiles_never_cross(numbers, shift, scale):
    raw = torch.tensor(numbers).view(1, 1, 1, 6)
    level = Level(torch.full((1, 1, 1), shift), torch.full((1, 1, 1), scale), UNITS)
    for name in NAMES[1:]:
        output = make_output(name, "mse", LEVELS)
        placed = output.placed(
            raw[..., : output.numbers].clamp(-50, 50) if name != "quantiles" else raw, level
        )
        found = output.quantiles(placed, LEVELS, level)
        assert (found.diff(dim=-1) >= 0).all(), (name, found)


def test_levels_are_undone():
    _, _, level, targets = made("point")
    left = level.left_out(targets)
    torch.testing.assert_close(level.moved(left.unsqueeze(-1))[..., 0], targets)
    torch.testing.assert_close(UNITS.of(targets).float(), (UNITS.of(targets).round()).float())


@pytest.mark.parametrize(("own", "shown"), [(3.5, "3.5"), (-2.0, "-2")])
def test_what_is_no_count_is_refused(own, shown):
    output, placed, level, targets = made("negative_binomial")
    targets[1, 2, 0] = (own - 7) / 2
    with pytest.raises(ValueError, match=rf"forecasts counts, and a target has {shown}:"):
        output.loss(placed, targets, level, some_missing=False)


def test_a_negative_binomial_begins_with_the_mean_of_the_window():
    output = make_output("negative_binomial", "mse", LEVELS)
    units = UNITS._replace(seen_mean=torch.tensor([[[4.0, -100.0]]]))  # 4 · 2 + 7 = 15, and none below 0
    placed = output.placed(torch.zeros(1, 1, 2, 2), Level(units=units))
    torch.testing.assert_close(placed[0, 0, :, 0], torch.tensor([16.0, 1.0]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(placed[0, 0, :, 1], F.softplus(torch.zeros(2)) / torch.tensor([4.0, 1.0]))
