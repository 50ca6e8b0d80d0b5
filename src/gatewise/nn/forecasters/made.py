"""The forecaster of a name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from gatewise.nn.forecast_outputs import ForecastOutput
from gatewise.nn.forecasters.decoder import Decoder
from gatewise.nn.forecasters.direct import Direct
from gatewise.nn.forecasters.forecaster import Forecaster
from gatewise.nn.forecasters.level import LevelName
from gatewise.nn.forecasters.residual import Residual
from gatewise.nn.forecasters.segments import Segments
from gatewise.nn.forecasters.shape import Shape
from gatewise.nn.forecasters.smoothing import SmoothingName

ForecasterName = Literal["direct", "decoder", "segments", "residual"]


def make_forecaster(
    name: ForecasterName,
    shape: Shape,
    output: ForecastOutput,
    level: LevelName,
    dropout: float,
    embedding_size: int,
    segment_length: int,
    projection_size: int | None,
    dilations: Sequence[int],
    logarithm: bool,
    smoothing: SmoothingName,
) -> Forecaster:
    """The forecaster of a name; each takes those of the settings that are its own."""
    if name == "segments":
        return Segments(shape, output, level, dropout, segment_length, projection_size)
    if name == "residual":
        return Residual(shape, output, dropout, embedding_size, dilations, logarithm, smoothing)
    return {"direct": Direct, "decoder": Decoder}[name](shape, output, level, dropout, embedding_size)
