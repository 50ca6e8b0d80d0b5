"""Simple forecasts to hold a model against, on the same windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from gatewise.kinds.series import SeriesFacts, SeriesHistory, WindowBatch
from gatewise.settings import did_you_mean
from gatewise.tasks.forecast_average import MovingAverage
from gatewise.tasks.forecast_linear import LinearForecast
from gatewise.tasks.forecast_seen import Seen
from gatewise.tasks.forecast_smoothing import Smoothing

LEARNT = ("smoothing", "linear")
"""Those that learn from what came before the test part."""
NAMES = ("last value", "last season", "drift", "moving average", *LEARNT)


def check_baselines(names: Iterable[str] | None) -> tuple[str, ...]:
    """The baselines to compute, in the order of ``NAMES``; None means all.

    Raises ValueError for a name that is none of them.
    """
    chosen = NAMES if names is None else tuple(names)
    for name in chosen:
        if name not in NAMES:
            raise ValueError(
                f"task.baselines: {name!r} is unknown{did_you_mean(name, NAMES)}; choose some of: "
                f"{', '.join(NAMES)}"
            )
    return tuple(name for name in NAMES if name in chosen)


class Baselines:
    """Simple forecasts of the windows of some facts, each [B, horizon, C_targets], scaled.

    ``last value``, ``last season`` (seasonal naive), ``drift`` (the line through the first and the last value
    seen, continued) need the window alone. ``moving average`` (:class:`MovingAverage`) has its length from
    the rows before the test part, or else the usual one. ``smoothing`` (:class:`Smoothing`) and ``linear``
    (:class:`LinearForecast`) learn from these rows, and are left out where there are none.
    """

    def __init__(self, facts: SeriesFacts, names: Iterable[str] | None = None) -> None:
        self.facts = facts
        self.names = check_baselines(names)
        self.seen = Seen(facts)
        self._learnt: dict[str, Smoothing | LinearForecast] = {}
        self.average = MovingAverage.usual(facts)
        self.remarks: list[str] = []
        """What the last :meth:`learn` has left out or shortened, a line each."""

    @property
    def learns(self) -> bool:
        """Whether any of them has to learn."""
        return any(name in LEARNT for name in self.names)

    def learn(self, histories: Iterable[SeriesHistory]) -> None:
        """Fit those that learn."""
        self._learnt, self.remarks = {}, []
        self.average = MovingAverage.usual(self.facts)
        history = next(iter(histories), None)
        if history is not None and "moving average" in self.names:
            self.average = MovingAverage.fitted(history, self.facts)
        if not self.learns:
            return
        if history is None:
            left_out = " and ".join(name for name in LEARNT if name in self.names)
            self.remarks.append(f"Without the training data there is no baseline {left_out}")
            return
        fits = {"smoothing": Smoothing.fitted, "linear": LinearForecast.fitted}
        for name in LEARNT:
            if name in self.names:
                fit, remark = fits[name](history, self.facts)
                if fit is not None:
                    self._learnt[name] = fit
                if remark:
                    self.remarks.append(remark)

    def __call__(self, batch: WindowBatch) -> Mapping[str, Tensor]:
        """Every simple forecast by name."""
        seen, before = self.seen.filled(batch), self.seen.before(batch)
        simple: dict[str, Callable[[Tensor], Tensor]] = {
            "last value": self.last_value,
            "last season": self.last_season,
            "drift": lambda seen: self.drift(seen, before),
            "moving average": self.average,
        }
        forecasts = {}
        for name in self.names:
            if name in self._learnt:
                forecasts[name] = self._learnt[name](seen, batch.series)
            elif name in simple and (name != "last season" or self.has_season):
                forecasts[name] = simple[name](seen)
        return forecasts

    @property
    def has_season(self) -> bool:
        """Whether a window shows a whole season."""
        return 1 < self.facts.season <= self.facts.lookback

    def last_value(self, seen: Tensor) -> Tensor:
        """The naive forecast: the last value seen, repeated."""
        return seen[:, -1:].expand(-1, self.facts.horizon, -1)

    def last_season(self, seen: Tensor) -> Tensor:
        """The seasonal-naive forecast: the value one season before each step."""
        steps = torch.arange(self.facts.horizon, device=seen.device) % self.facts.season
        return seen[:, seen.shape[1] - self.facts.season + steps]

    def drift(self, seen: Tensor, before: Tensor | int = 0) -> Tensor:
        """The last value and, for each step, the mean change of a step over the values seen.

        ``before`` are the steps [B, 1, C_targets] before the first value that is there.
        """
        changes = torch.as_tensor(seen.shape[1] - 1 - before, device=seen.device).clamp(min=1)
        slope = (seen[:, -1:] - seen[:, :1]) / changes
        steps = torch.arange(1, self.facts.horizon + 1, device=seen.device)[:, None]
        return seen[:, -1:] + slope * steps
