"""Forecasting: the next values of a time series."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError

from gatewise.kinds.kind import Input
from gatewise.kinds.series import SeriesFacts, WindowBatch
from gatewise.nn.forecast_outputs import LossName, OutputName, make_output
from gatewise.nn.forecasters.decoder import Decoder
from gatewise.nn.forecasters.level import Level, LevelName
from gatewise.nn.forecasters.made import ForecasterName, make_forecaster
from gatewise.nn.forecasters.residual import Residual
from gatewise.nn.forecasters.shape import Shape
from gatewise.nn.forecasters.smoothing import SeriesSmoothing, SmoothingName
from gatewise.settings import Count, Levels, Names, Positive, Probability, Sizes, did_you_mean, rule
from gatewise.tasks.answer import Answer
from gatewise.tasks.forecast import Forecast, joined
from gatewise.tasks.forecast_answer import answer_of
from gatewise.tasks.forecast_baselines import Baselines
from gatewise.tasks.forecast_inspected import numbers_of
from gatewise.tasks.forecast_report import ForecastReport
from gatewise.tasks.forecast_seasons import first_seasons
from gatewise.tasks.inspected import Numbers
from gatewise.tasks.scores import Measure, Score
from gatewise.tasks.task import MakeModel, MakeOptimizer, MakeScheduler, Task

LEVELS = (0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975)
"""Probabilities of the quantiles: intervals of 95, 80, 60, 40 and 20 %, and the median."""

AT_ONCE = 1024
"""Windows of an answer that are forecast at once."""
PATHS = 100
"""Of a decoder, unless another number is asked for."""
PATHS_AT_ONCE = 20_000
"""Paths that are drawn at once."""


@rule
def check_level(center: bool, instance_norm: bool) -> None:
    """Raise ValueError where two levels would be left out."""
    if center and instance_norm:
        raise ValueError(
            "instance_norm takes the mean of each window away, and center its last value: choose one of them"
        )


@rule
def check_median(output: str, levels: Any) -> None:
    """Raise ValueError for quantiles without the median, which is what they expect."""
    if output == "quantiles" and 0.5 not in levels:
        raise ValueError(f"levels need 0.5 where output=quantiles: it is the forecast itself, got {levels}")


@rule
def check_own_level(forecaster: str, center: bool, instance_norm: bool) -> None:
    """Raise ValueError where a forecaster with a level of its own is given another."""
    if forecaster == "residual" and (center or instance_norm):
        raise ValueError(
            f"{'center' if center else 'instance_norm'}=true and forecaster=residual, which finds the level "
            f"of each series itself: set it to false"
        )


@rule
def check_logarithm(forecaster: str, output: str, logarithm: bool) -> None:
    """Raise ValueError where nothing takes a logarithm, or the output has no meaning in one."""
    if logarithm and forecaster != "residual":
        raise ValueError(f"logarithm=true is for forecaster=residual alone, and it is {forecaster}")
    if logarithm and output not in ("point", "quantiles"):
        raise ValueError(f"logarithm=true needs output=point or quantiles, and it is {output}")


@rule
def check_loss(output: str, loss: str | None) -> None:
    """Raise ValueError for the loss of a point where more is said of each value, which has a loss of its own.

    Runs of before have ``mse`` beside every output.
    """
    if output != "point" and loss not in (None, "mse"):
        own = "the pinball loss" if output == "quantiles" else "the likelihood"
        raise ValueError(f"loss={loss} is for output=point, and output={output} has {own}: set loss=null")


@rule
def check_paths(forecaster: str, output: str, levels: Any, paths: int | None) -> None:
    """Raise ValueError where no path can be drawn."""
    if not paths:
        return
    if forecaster != "decoder":
        raise ValueError(f"paths={paths} needs forecaster=decoder, and it is {forecaster}: set it to 0")
    if output == "point" or (output == "quantiles" and len(levels) < 3):
        raise ValueError(
            f"paths={paths} are drawn of a distribution, or of three quantiles or more: set it to 0"
        )


@dataclass(frozen=True)
class ForecastScore(Score):
    """A score and, for a test's report, what the output says of each value."""

    placed: Tensor | None = None
    level: Level | None = None


class Forecasting(Task):
    """Reads ``lookback`` steps of series and forecasts the next ``horizon`` of their target columns.

    Errors are in scaled units (standard deviations of the training rows), as forecasting papers report them;
    those of the test also for each target in its own units, as ``<target>/mae``.

    ``forecaster`` is ``direct`` (all steps from the encoder's last state), ``decoder`` (step after step, as
    many as are asked for), ``segments`` (SegRNN) or ``residual`` (dilated layers, and a level and season of
    each series); see ``gatewise.nn.forecasters``. ``output`` is what is said of each value: a ``point``,
    with ``loss`` mse (or None), mae or huber; ``quantiles`` of ``levels``; or a distribution, ``gaussian``,
    ``student_t`` or ``negative_binomial``, whose loss is the negative log-likelihood in nats.

    ``center`` forecasts the difference from the last value seen, so that a level never seen in training does
    no harm; ``instance_norm`` takes the mean of each window away and divides by its standard deviation.
    ``dropout`` is applied before the linear layer. ``embedding_size`` is that of each category.
    ``segment_length`` and ``projection_size`` (None: the hidden size) are those of ``segments``;
    ``teacher_forcing_epochs`` those of ``decoder``: how long the probability that a step of the training
    reads the true value before it takes to fall to 0, one half of the training where it is None; with
    ``paths`` above 0 the quantiles of ``decoder`` are those of so many paths, each of which goes on from the
    values drawn at its steps before (the same ones every time), instead of from the values expected, which
    tells too little of far ones; None means 100 where there is something to draw from;
    ``dilations`` those of ``residual``: how many steps back the state of each layer above the first is;
    with ``logarithm`` its level and season multiply, which needs values above 0; with ``smoothing`` "series"
    they go on from first seasons that are learnt of each series, with "window" from what the window shows.
    ``pictured`` are the targets that the picture of the test shows (None: the first).
    ``baselines`` are the simple forecasts to compare with, some of
    :data:`~gatewise.tasks.forecast_baselines.NAMES` (None: all).
    """

    facts_type = SeriesFacts
    measured = ("mse", "mae")
    evaluation_settings = ("baselines", "pictured", "paths")
    answer_settings = ("paths",)

    def __init__(
        self,
        model: MakeModel,
        facts: SeriesFacts,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
        monitor: str = "val/mse",
        mode: Literal["min", "max"] = "min",
        forecaster: ForecasterName = "direct",
        output: OutputName = "point",
        loss: LossName | None = None,
        levels: Levels = LEVELS,
        dropout: Probability = 0.0,
        center: bool = False,
        instance_norm: bool = False,
        embedding_size: Positive = 8,
        segment_length: Positive = 24,
        projection_size: Positive | None = None,
        teacher_forcing_epochs: Count | None = None,
        dilations: Sizes = (2, 4, 8),
        logarithm: bool = False,
        smoothing: SmoothingName = "window",
        pictured: Names | None = None,
        baselines: Names | None = None,
        paths: Count | None = 0,
    ) -> None:
        super().__init__(facts, optimizer, scheduler, monitor, mode)
        self.pictured = tuple(pictured or facts.targets[:1])
        for name in self.pictured:
            if name not in facts.targets:
                raise ValueError(
                    f"task.pictured: {name!r} is no target{did_you_mean(name, facts.targets)}; choose from "
                    f"{', '.join(facts.targets)}"
                )
        is_drawn = (
            forecaster == "decoder" and output != "point" and (output != "quantiles" or len(levels) > 2)
        )
        self.paths = (PATHS if is_drawn else 0) if paths is None else paths
        self.levels, self.teacher_forcing_epochs = tuple(levels), teacher_forcing_epochs
        is_masked = not set(facts.targets).isdisjoint(facts.masked)
        self.some_missing = is_masked or facts.missing != "refuse"
        """Whether targets can be NaN, which count nowhere."""
        self._simple, self._tested = Baselines(facts, baselines), ForecastReport(facts, self.pictured)
        self.wants_parts = True
        self.output = make_output(output, loss or "mse", self.levels)
        level: LevelName = "last" if center else "instance" if instance_norm else "none"
        self.forecaster = make_forecaster(
            forecaster,
            shape_of(facts),
            self.output,
            level,
            dropout,
            embedding_size,
            segment_length,
            projection_size,
            (dilations,) if isinstance(dilations, int) else tuple(dilations),
            logarithm,
            smoothing,
        )
        self.encoder = self.forecaster.make_encoder(model)
        self.head = self.forecaster.make_head(self.encoder)

    @classmethod
    def sizes(cls, facts: SeriesFacts, settings: Mapping[str, Any]) -> Mapping[str, tuple[str, int, int]]:
        plain = (settings.get("forecaster", "direct"), settings.get("output", "point")) == ("direct", "point")
        if not plain or facts.categories or facts.static or facts.static_categories or facts.known_features:
            return {}  # what else decides the size is in no one field
        return {
            "columns": ("encoder.layers.0.weight_ih", 1, len(facts.features)),
            "horizon x targets": ("head.weight", 0, facts.horizon * len(facts.targets)),
        }

    def metrics(self) -> Mapping[str, Measure]:
        return {
            "mse": Measure(
                "mean squared error in units of the training variance; lower is better", MeanSquaredError()
            ),
            "mae": Measure(
                "mean absolute error in training standard deviations; lower is better", MeanAbsoluteError()
            ),
        }

    def forward(self, windows: WindowBatch | Tensor) -> Tensor:
        """The values expected [B, h, C_targets] after windows, or after inputs [B, lookback, F]; scaled.

        h is the number of steps of the windows' targets, or the horizon.
        """
        placed, level = self.placed(self._as_windows(windows))
        return self.output.point(placed, level)

    def placed(self, windows: WindowBatch) -> tuple[Tensor, Level]:
        """What the output says of each value [B, h, C_targets, P], and the level of the windows."""
        placed: tuple[Tensor, Level] = self.forecaster(self.encoder, self.head, windows)
        return placed

    def forecast(self, windows: WindowBatch, placed: Tensor, level: Level) -> Forecast:
        """The forecast of windows, with the quantiles of what the output says, or of paths."""
        if self.paths:
            quantiles: Tensor | None = self._quantiles_of_paths(windows)
        else:
            quantiles = self.output.quantiles(placed, self.levels, level)
        levels = () if quantiles is None else self.levels
        return Forecast(self.output.point(placed, level), quantiles, levels)

    def _quantiles_of_paths(self, windows: WindowBatch) -> Tensor:
        """The quantiles [B, h, C, Q] of the values that paths have at each step."""
        assert isinstance(self.forecaster, Decoder)
        device = windows.inputs.device
        levels = torch.tensor(self.levels, dtype=torch.float64, device=device)
        found = []
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            for part in parts_of(windows, max(1, PATHS_AT_ONCE // self.paths)):
                paths = self.forecaster.paths(self.encoder, self.head, part, self.paths)
                # Of counts, one that was drawn.
                between = "higher" if self.output.needs_units else "linear"
                found.append(torch.quantile(paths, levels.to(paths.dtype), 1, interpolation=between))
        return torch.cat(found, dim=1).movedim(0, -1)

    def _as_windows(self, windows: WindowBatch | Tensor) -> WindowBatch:
        if not isinstance(windows, Tensor):
            return windows
        size = (len(windows), self.facts.horizon, len(self.facts.targets))
        start = torch.zeros(len(windows), dtype=torch.int64, device=windows.device)
        return WindowBatch(windows, windows.new_full(size, torch.nan), phase=start)

    def begin(self, parts: Mapping[str, Callable[[], Iterable[Any]]]) -> None:
        if not isinstance(self.forecaster, Residual):
            return
        smoothing = self.forecaster.smoothing
        if not isinstance(smoothing, SeriesSmoothing) or smoothing.first is None:
            return
        for history in parts["history"]():
            seasons = first_seasons(history, self.facts, self.forecaster.logarithm)
            if seasons is not None:
                smoothing.first.data.copy_(torch.from_numpy(seasons))

    def training_step(self, batch: WindowBatch, batch_idx: int) -> Tensor:
        if isinstance(self.forecaster, Decoder):
            self.forecaster.forcing = self._forcing(self.trainer.current_epoch, self.trainer.max_epochs)
        return super().training_step(batch, batch_idx)

    def _forcing(self, epoch: int, epochs: int | None) -> float:
        """The probability that a step reads the true value before it, falling in a line to 0."""
        last = self.teacher_forcing_epochs
        if last is None:
            last = max(epochs or 0, 0) // 2
        return max(0.0, 1 - epoch / last) if last else 0.0

    def score(self, batch: WindowBatch) -> Score:
        placed, level = self.placed(batch)
        loss = self.output.loss(placed, batch.targets, level, self.some_missing)
        count, point, targets = self._compared(self.output.point(placed, level), batch.targets)
        return ForecastScore(loss, count, point, targets, placed=placed, level=level)

    def _compared(self, forecast: Tensor, targets: Tensor) -> tuple[int, Tensor, Tensor]:
        """How much a batch counts, and what the metrics compare: values that are there."""
        if not self.some_missing:
            return len(forecast), forecast, targets
        real = ~targets.isnan()
        return int(real.sum()), forecast[real], targets[real]

    def meanings(self) -> dict[str, str]:
        return {**super().meanings(), **self._tested.meanings()}

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        histories = tuple(self.parts["history"]()) if "history" in self.parts else ()
        self._simple.learn(histories)
        self._tested = ForecastReport(self.facts, self.pictured, histories, self.trainer.global_rank)

    def add_to_report(self, batch: WindowBatch, score: Score) -> None:
        assert isinstance(score, ForecastScore)
        assert score.placed is not None
        assert score.level is not None
        self._tested.add(batch, self.forecast(batch, score.placed, score.level), self._simple(batch))

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        for name, value in self._tested.finish(self._gathered).items():
            if name not in ("test/mse", "test/mae"):  # as the task's own metrics have them
                self.log(name, torch.tensor(value, dtype=self._precise))

    def _gathered(self, own: Any) -> list[Any]:
        """The values of all processes for that of this one, in the order of their ranks."""
        gathered: list[Any] = [own]
        if self.trainer.world_size > 1:
            gathered *= self.trainer.world_size
            torch.distributed.all_gather_object(gathered, own)
        return gathered

    @property
    def _precise(self) -> torch.dtype:
        """float64 where the device has it."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    def report(self) -> dict[str, Any]:
        return self._tested.pictures()

    def tables(self) -> dict[str, Any]:
        return self._tested.tables()

    def remarks(self) -> list[str]:
        return [*self._simple.remarks, *self._tested.remarks()]

    def examples(self) -> Answer | None:
        return self._tested.anomalies()

    def predict_step(self, batch: WindowBatch, batch_idx: int = 0) -> Tensor:  # noqa: ARG002
        """The forecast [B, horizon, C_targets], scaled."""
        forecast: Tensor = self(batch)
        return forecast

    def answer(self, given: Input) -> Answer:
        """The forecast for the steps after the last row of each series, in the units of the file."""
        windows: WindowBatch = given.batch
        parts = [self.forecast(part, *self.placed(part)) for part in parts_of(windows, AT_ONCE)]
        return answer_of(joined(parts), given, self.facts)

    def inspected(self, given: Input) -> Numbers:
        """The forecast after every step; the rows that follow it in the input are its truth."""
        return numbers_of(given, self.facts, self.forecaster, self.encoder, self.head)


def parts_of(windows: WindowBatch, size: int) -> Iterator[WindowBatch]:
    """Windows in batches of at most ``size``."""
    for first in range(0, len(windows.inputs), size):
        some = slice(first, first + size)
        yield WindowBatch(*(None if each is None else each[some] for each in windows))  # type: ignore[arg-type]


def shape_of(facts: SeriesFacts) -> Shape:
    """What a forecaster is told of the facts."""
    features, columns = facts.features, facts.columns
    masks = {name: len(columns) + place for place, name in enumerate(facts.masked)}
    return Shape(
        features=len(features),
        columns=len(columns),
        targets=tuple(columns.index(name) for name in facts.targets),
        known=tuple(columns.index(name) for name in facts.known),
        masks=tuple(masks.get(name) for name in columns),
        known_features=len(facts.known_features),
        lookback=facts.lookback,
        horizon=facts.horizon,
        season=facts.season,
        categories=tuple(len(labels) + 1 for labels in facts.labels),
        known_categories=tuple(facts.categories.index(name) for name in facts.known_categories),
        static=len(facts.static),
        static_categories=tuple(len(labels) + 1 for labels in facts.static_labels),
        series=len(facts.series),
        mean=tuple(facts.target_mean.tolist()),
        std=tuple(facts.target_std.tolist()),
    )
