"""What a forecast says of each value: a point, quantiles, or the parameters of a distribution.

B windows, h steps, C targets, P numbers of a network for each value. ``raw`` [B, h, C, P] are such numbers as
a linear layer gives them; ``placed`` [B, h, C, P] are the same as they are meant: in scaled units, positive
where they have to be, rising where they are quantiles.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gatewise.nn.forecast_quantiles import negative_binomial_quantiles, normal_quantiles, student_t_factors
from gatewise.nn.forecasters.level import Level

OutputName = Literal["point", "quantiles", "gaussian", "student_t", "negative_binomial"]
LossName = Literal["mse", "mae", "huber"]
LOSSES: dict[str, Callable[..., Tensor]] = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}
SMALLEST_SCALE = 1e-4
"""Of a distribution, in scaled units: no density grows without bound."""


class ForecastOutput(ABC):
    """What the numbers of a network mean, what they cost, and the quantiles that follow from them."""

    numbers: int = 1
    """P: of a network, for each value."""
    needs_units: ClassVar[bool] = False
    """Whether it is about values in their own units."""
    point_number: int | None = 0
    """Which of the numbers is the point, but for the level; None where none is."""

    @abstractmethod
    def placed(self, raw: Tensor, level: Level) -> Tensor:
        """What the network's numbers mean, in scaled units."""

    @abstractmethod
    def each_loss(self, placed: Tensor, targets: Tensor, level: Level) -> Tensor:
        """The loss of each value [B, h, C]."""

    def loss(self, placed: Tensor, targets: Tensor, level: Level, some_missing: bool) -> Tensor:
        """The mean loss over all values of ``targets`` [B, h, C]; those that are NaN do not count."""
        if not some_missing:
            return self.each_loss(placed, targets, level).mean()
        real = ~targets.isnan()
        # A NaN that is only multiplied by 0 would still be one in the gradient.
        losses = self.each_loss(placed, targets.where(real, self.point(placed, level).detach()), level)
        return losses.where(real, 0).sum() / real.sum().clamp(min=1)

    @abstractmethod
    def point(self, placed: Tensor, level: Level) -> Tensor:
        """The value expected [B, h, C], in scaled units."""

    @abstractmethod
    def quantiles(self, placed: Tensor, levels: Sequence[float], level: Level) -> Tensor | None:
        """The quantiles [B, h, C, Q] of rising probabilities, in scaled units; None where there are none."""

    def drawn(self, placed: Tensor, level: Level) -> Tensor:
        """A value drawn from what is said of each, [B, h, C], in scaled units."""
        raise NotImplementedError


class Point(ForecastOutput):
    """One number, with the squared, the absolute or Huber's error (squared up to 1, absolute beyond)."""

    def __init__(self, loss: LossName = "mse") -> None:
        self._loss = LOSSES[loss]

    def placed(self, raw: Tensor, level: Level) -> Tensor:
        return level.moved(raw)

    def each_loss(self, placed: Tensor, targets: Tensor, level: Level) -> Tensor:  # noqa: ARG002
        return self._loss(placed[..., 0], targets, reduction="none")

    def loss(self, placed: Tensor, targets: Tensor, level: Level, some_missing: bool) -> Tensor:
        if some_missing:
            return super().loss(placed, targets, level, some_missing)
        return self._loss(placed[..., 0], targets)

    def point(self, placed: Tensor, level: Level) -> Tensor:  # noqa: ARG002
        return placed[..., 0]

    def quantiles(self, placed: Tensor, levels: Sequence[float], level: Level) -> None:  # noqa: ARG002
        return None


class Quantiles(ForecastOutput):
    """The quantiles of given levels, which never cross, trained by the pinball loss.

    The network gives the median and, outwards from it, how far each next quantile is, which softplus makes
    positive. The loss is the mean over the levels of the pinball loss, whose minimum is at the
    quantile (Koenker & Bassett, "Regression Quantiles", Econometrica 1978).
    """

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = tuple(levels)
        self.numbers = len(self.levels)
        self._median = self.point_number = self.levels.index(0.5)

    def placed(self, raw: Tensor, level: Level) -> Tensor:
        below, median, above = _precise(raw).split([self._median, 1, self.numbers - self._median - 1], dim=-1)
        steps_down, steps_up = F.softplus(below - 2).flip(-1), F.softplus(above - 2)
        lower = (median - steps_down.cumsum(-1)).flip(-1)
        return level.moved(torch.cat([lower, median, median + steps_up.cumsum(-1)], dim=-1))

    def each_loss(self, placed: Tensor, targets: Tensor, level: Level) -> Tensor:  # noqa: ARG002
        error = targets.unsqueeze(-1) - placed
        levels = error.new_tensor(self.levels)
        return torch.maximum(levels * error, (levels - 1) * error).mean(-1)

    def point(self, placed: Tensor, level: Level) -> Tensor:  # noqa: ARG002
        return placed[..., self._median]

    def quantiles(self, placed: Tensor, levels: Sequence[float], level: Level) -> Tensor:  # noqa: ARG002
        assert tuple(levels) == self.levels, "other levels than those trained"
        return placed

    def drawn(self, placed: Tensor, level: Level) -> Tensor:  # noqa: ARG002
        """From a line through the quantiles, which goes on beyond the outermost as it ends."""
        levels = placed.new_tensor(self.levels)
        chance = torch.rand(placed.shape[:-1], dtype=placed.dtype, device=placed.device)
        left = (torch.searchsorted(levels, chance) - 1).clamp(0, self.numbers - 2)
        low, high = (placed.gather(-1, (left + side).unsqueeze(-1)).squeeze(-1) for side in (0, 1))
        return low + (high - low) * (chance - levels[left]) / (levels[left + 1] - levels[left])


class Gaussian(ForecastOutput):
    """Mean and standard deviation, by the negative log-likelihood in nats."""

    numbers = 2

    def placed(self, raw: Tensor, level: Level) -> Tensor:
        mean, scale = _precise(raw).split(1, dim=-1)
        return torch.cat([level.moved(mean), level.stretched(_positive(scale))], dim=-1)

    def each_loss(self, placed: Tensor, targets: Tensor, level: Level) -> Tensor:  # noqa: ARG002
        mean, scale = placed.unbind(-1)
        return 0.5 * ((targets - mean) / scale).square() + scale.log() + 0.5 * math.log(2 * math.pi)

    def point(self, placed: Tensor, level: Level) -> Tensor:  # noqa: ARG002
        return placed[..., 0]

    def quantiles(self, placed: Tensor, levels: Sequence[float], level: Level) -> Tensor:  # noqa: ARG002
        mean, scale = placed.unsqueeze(-2).unbind(-1)
        return mean + scale * normal_quantiles(levels, scale)

    def drawn(self, placed: Tensor, level: Level) -> Tensor:  # noqa: ARG002
        mean, scale = placed.unbind(-1)
        return torch.normal(mean, scale)


class StudentT(ForecastOutput):
    """Location, scale and degrees of freedom above 2, by the negative log-likelihood in nats.

    The quantiles' factors are read off a table over the degrees of freedom, to about 1e-5 of them.
    """

    numbers = 3

    def placed(self, raw: Tensor, level: Level) -> Tensor:
        location, scale, freedom = _precise(raw).split(1, dim=-1)
        # About 7 degrees of freedom to begin with.
        parts = [level.moved(location), level.stretched(_positive(scale)), 2 + F.softplus(freedom + 5)]
        return torch.cat(parts, dim=-1)

    def each_loss(self, placed: Tensor, targets: Tensor, level: Level) -> Tensor:  # noqa: ARG002
        location, scale, freedom = placed.unbind(-1)
        half = (freedom + 1) / 2
        squares = ((targets - location) / scale).square() / freedom
        constant = torch.lgamma(freedom / 2) - torch.lgamma(half) + 0.5 * (freedom * math.pi).log()
        return constant + scale.log() + half * squares.log1p()

    def point(self, placed: Tensor, level: Level) -> Tensor:  # noqa: ARG002
        return placed[..., 0]

    def quantiles(self, placed: Tensor, levels: Sequence[float], level: Level) -> Tensor:  # noqa: ARG002
        location, scale, freedom = placed.unsqueeze(-2).unbind(-1)
        return location + scale * student_t_factors(levels, freedom.squeeze(-1))

    def drawn(self, placed: Tensor, level: Level) -> Tensor:  # noqa: ARG002
        location, scale, freedom = placed.unbind(-1)
        return torch.distributions.StudentT(freedom, location, scale, validate_args=False).sample()


class NegativeBinomial(ForecastOutput):
    """Mean and overdispersion of counts, by the negative log-likelihood in nats, whatever the scaling.

    The variance is mean + dispersion · mean². The mean is a multiple of 1 + the mean count of the window, and
    the dispersion is divided by its root (Salinas, Flunkert, Gasthaus & Januschowski, "DeepAR", International
    Journal of Forecasting 2020). Targets are counts again before they are compared.
    """

    numbers = 2
    needs_units = True
    point_number = None

    def __init__(self) -> None:
        self._checked = False

    def loss(self, placed: Tensor, targets: Tensor, level: Level, some_missing: bool) -> Tensor:
        """The mean over the values; ValueError where those of the first batch are no counts."""
        if not self._checked:
            assert level.units is not None
            counts = level.units.of(targets)
            # float32 keeps seven digits of a scaled value.
            wrong = (counts < -0.01) | ((counts - counts.round()).abs() > 0.01 + 1e-5 * counts.abs())
            if wrong.any():
                raise ValueError(
                    f"task.output=negative_binomial forecasts counts, and a target has "
                    f"{counts[wrong][0]:.6g}: choose task.output=gaussian or student_t"
                )
            self._checked = True
        return super().loss(placed, targets, level, some_missing)

    def placed(self, raw: Tensor, level: Level) -> Tensor:
        mean, dispersion = _precise(raw).unbind(-1)
        assert level.units is not None
        size = 1 + level.units.of(level.units.seen_mean).clamp(min=0).to(mean.dtype)
        # softplus(.54) is 1: the mean of the window to begin with.
        mean = size * F.softplus(mean + math.log(math.e - 1)) + 1e-6
        return torch.stack([mean, F.softplus(dispersion) / size.sqrt() + 1e-6], dim=-1)

    def each_loss(self, placed: Tensor, targets: Tensor, level: Level) -> Tensor:
        mean, dispersion = placed.unbind(-1)
        assert level.units is not None
        counts = level.units.of(targets).round().clamp(min=0).to(mean.dtype)
        rate, together = 1 / dispersion, (dispersion * mean).log1p()
        chosen = torch.lgamma(counts + rate) - torch.lgamma(rate) - torch.lgamma(counts + 1)
        failed = counts * ((dispersion * mean).log() - together)
        return rate * together - chosen - failed

    def point(self, placed: Tensor, level: Level) -> Tensor:
        assert level.units is not None
        return level.units.scaled(placed[..., 0])

    def quantiles(self, placed: Tensor, levels: Sequence[float], level: Level) -> Tensor:
        assert level.units is not None
        mean, dispersion = (part.detach().cpu().double().numpy() for part in placed.unsqueeze(-2).unbind(-1))
        counts = negative_binomial_quantiles(np.asarray(levels), mean, dispersion)
        # In the units' precision, so that counts are whole numbers again.
        return level.units.scaled(torch.from_numpy(counts).to(level.units.std))

    def drawn(self, placed: Tensor, level: Level) -> Tensor:
        """As of Poisson's distribution, whose mean is drawn of a gamma distribution."""
        assert level.units is not None
        mean, dispersion = placed.unbind(-1)
        share = torch.distributions.Gamma(1 / dispersion, 1 / dispersion, validate_args=False).sample()
        return level.units.scaled(torch.poisson(mean * share).to(level.units.std))


def _precise(raw: Tensor) -> Tensor:
    """The same in float32 at least, as autocast does not leave it."""
    return raw.to(torch.promote_types(raw.dtype, torch.float32))


def _positive(raw: Tensor) -> Tensor:
    return F.softplus(raw) + SMALLEST_SCALE


def make_output(output: OutputName, loss: LossName, levels: Sequence[float]) -> ForecastOutput:
    """The output of a name; ``loss`` is for a point, ``levels`` are those of quantiles."""
    if output == "point":
        return Point(loss)
    if output == "quantiles":
        return Quantiles(levels)
    distributions: dict[str, Callable[[], ForecastOutput]] = {
        "gaussian": Gaussian,
        "student_t": StudentT,
        "negative_binomial": NegativeBinomial,
    }
    return distributions[output]()
