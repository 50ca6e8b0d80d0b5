"""What ``gatewise inspect`` looks at in a forecast: the one after every step that is read."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gatewise.kinds.kind import Input
from gatewise.kinds.series import SeriesFacts
from gatewise.nn import Recurrent, Stacked
from gatewise.nn.forecasters.direct import Direct
from gatewise.nn.forecasters.forecaster import Forecaster
from gatewise.tasks import followed
from gatewise.tasks.forecast_answer import number_format
from gatewise.tasks.inspected import Numbers, last_outputs


def numbers_of(
    given: Input, facts: SeriesFacts, forecaster: Forecaster, encoder: Recurrent | Stacked, head: nn.Linear
) -> Numbers:
    """The forecast after every step; the rows that follow it in the input are its truth.

    ValueError for a forecaster that reads more than the values of the columns as they are.
    """
    level, place = forecaster.find_level.level, forecaster.output.point_number
    if not isinstance(forecaster, Direct) or place is None or level == "instance":
        raise ValueError(
            "only runs with task.forecaster=direct and no task.instance_norm can be inspected, and none that "
            "forecasts counts: what the others read is not a row of the file at each step"
        )
    if forecaster.covariates.past_size > len(facts.columns) or forecaster.covariates.future_size:
        raise ValueError(
            "only runs that read nothing but columns can be inspected: this one reads categories, statics, "
            "the calendar or what is known of the future as well"
        )
    if len(given.batch.inputs) > 1:
        raise ValueError(f"{given.name}: one series can be inspected at a time: give a file of one")
    inputs: Tensor = given.batch.inputs
    batch, time, _ = inputs.shape
    targets, center = facts.targets, level == "last"
    columns = [facts.columns.index(name) for name in targets]

    def points(outputs: Tensor) -> Tensor:
        return forecaster.of_head(head(outputs))[..., place].flatten(-2)

    def read(outputs: Tensor, rows: Tensor, lengths: Tensor) -> Tensor:
        forecast = points(last_outputs(outputs, lengths, encoder.num_directions))
        if not center:
            return forecast
        return forecast + rows[torch.arange(len(rows)), lengths - 1][:, columns].repeat(1, facts.horizon)

    def unscaled(values: NDArray[Any]) -> NDArray[Any]:
        steps = values.reshape(*values.shape[:-1], -1, len(targets))
        result: NDArray[Any] = facts.unscaled(steps).reshape(values.shape)
        return result

    known = torch.cat([inputs[0, 1:, columns], given.batch.targets[0]])
    missing = known.new_full((max(0, time + facts.horizon - 1 - len(known)), len(targets)), torch.nan)
    truth = torch.cat([known, missing]).unfold(0, facts.horizon, 1).transpose(1, 2)
    return Numbers(
        encoder=encoder,
        inputs=inputs,
        lengths=torch.full((batch,), time),
        step="time",
        names=[given.steps or list(map(str, range(time)))] * batch,
        title="forecast",
        read=read,
        read_all=None if encoder.bidirectional or center else points,
        features=followed.of_series(inputs.numpy(), facts.columns, facts.season),
        by_difference=center,
        labels=[f"{target} +{step}" for step in range(1, facts.horizon + 1) for target in targets],
        unscaled=unscaled,
        shown=number_format(
            facts.unscaled(inputs[0, :, columns].double()).ravel(), min(facts.target_std)
        ).format,
        first=len(targets),
        truth=truth[:time].flatten(1),
    )
