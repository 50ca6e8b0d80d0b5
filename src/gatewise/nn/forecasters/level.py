"""The level of each window, which a forecaster leaves out of what it reads and adds to what it says."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from gatewise.nn.forecasters.shape import Shape, Window

LevelName = Literal["none", "last", "instance"]
LARGEST_LOGARITHM = 60.0
"""A forecast of a larger number would be infinite, and so would its error be."""
SMALLEST_VARIANCE = 1e-5
"""Added to the variance of a window, as RevIN does."""


class Units(NamedTuple):
    """How scaled values of the targets of some windows become those of the data."""

    mean: Tensor
    """[B or 1, 1, C], in float64: a value in its own units is scaled · std + mean."""
    std: Tensor
    seen_mean: Tensor
    """[B, 1, C]: the mean of the steps seen, scaled."""

    def of(self, scaled: Tensor) -> Tensor:
        """Scaled values [B, h, C] in their own units, in the precision of the units."""
        return scaled.to(self.std.dtype) * self.std + self.mean

    def scaled(self, values: Tensor) -> Tensor:
        """Values [B, h, C] or [B, h, C, Q] in their own units as scaled ones, in their own precision."""
        beside = (1,) * (values.dim() - 3)
        mean, std = (part.reshape(*part.shape, *beside) for part in (self.mean, self.std))
        return ((values.to(std.dtype) - mean) / std).to(values.dtype)


class Level(NamedTuple):
    """Where the targets of some windows lie; all of it broadcasts with forecasts [B, h, C]."""

    shift: Tensor | None = None
    """[B, 1 or h, C]: what the forecaster's values are moved by; None for not at all."""
    scale: Tensor | None = None
    """[B, 1, C]: what they are stretched by before that."""
    units: Units | None = None
    """None where nothing asks for them."""
    is_logarithm: bool = False
    """Whether the forecaster's values are logarithms of those in their own units."""

    def repeated(self, count: int) -> Level:
        """The level of windows of which each stands ``count`` times, one after the other."""

        def each(part: Tensor | None) -> Tensor | None:
            return part if part is None or len(part) == 1 else part.repeat_interleave(count, 0)

        units = None if self.units is None else Units(*map(each, self.units))  # type: ignore[arg-type]
        return Level(each(self.shift), each(self.scale), units, self.is_logarithm)

    def moved(self, raw: Tensor) -> Tensor:
        """Values [B, h, C, P] of a forecaster in scaled units."""
        if self.scale is not None:
            raw = raw * self.scale.unsqueeze(-1)
        moved = raw if self.shift is None else raw + self.shift.unsqueeze(-1)
        if not self.is_logarithm:
            return moved
        assert self.units is not None
        return self.units.scaled(moved.clamp(max=LARGEST_LOGARITHM).exp())

    def stretched(self, raw: Tensor) -> Tensor:
        """Widths [B, h, C, P] of a forecaster in scaled units."""
        return raw if self.scale is None else raw * self.scale.unsqueeze(-1)

    def left_out(self, values: Tensor) -> Tensor:
        """Scaled values [B, h, C] as the forecaster has them: the inverse of :meth:`moved`."""
        if self.shift is not None:
            values = values - self.shift
        return values if self.scale is None else values / self.scale


class FindLevel(nn.Module):
    """Finds the level of windows and leaves it out: ``none``, ``last`` or ``instance``.

    ``last`` takes the last value from every column, ``instance`` the mean of the window, and divides by its
    standard deviation (Kim et al., "Reversible Instance Normalization", ICLR 2022, without weights). Columns
    that are known for the horizon stay as they are, and so does what is no column.
    """

    def __init__(self, shape: Shape, level: LevelName, with_units: bool) -> None:
        super().__init__()
        self.level, self.with_units = level, with_units
        self.targets, self.masks = list(shape.targets), shape.masks
        self.mean, self.std = shape.mean, shape.std
        columns = [place not in shape.known for place in range(shape.columns)]
        self.moves_all = all(columns) and shape.columns == shape.features
        moved = torch.tensor([*columns, *[False] * (shape.features - shape.columns)])
        self.register_buffer("moved", moved, persistent=False)
        self.moved: Tensor

    def forward(self, window: Window) -> tuple[Tensor, Level]:
        """The inputs [B, L, F] without their level, and that of the targets."""
        inputs = window.inputs
        there = self.there(inputs)
        level = Level(units=self.units(window, there) if self.with_units else None)
        if self.level == "none":
            return inputs, level
        scale = None
        if self.level == "last":
            shift = inputs[:, -1:] if there is None else _last(inputs, there)
        else:
            shift = _mean(inputs, there)
            variance = _mean((inputs - shift).square(), there)
            scale = (variance + SMALLEST_VARIANCE).sqrt()
        level = level._replace(
            shift=shift[..., self.targets], scale=None if scale is None else scale[..., self.targets]
        )
        if not self.moves_all:
            shift = shift * self.moved
            scale = None if scale is None else scale.where(self.moved, 1)
        inputs = inputs - shift
        inputs = inputs if scale is None else inputs / scale
        return (inputs if there is None else inputs * there), level

    def units(self, window: Window, there: Tensor | None) -> Units:
        """The units of the targets, by the scale of the facts and that of each series."""
        inputs = window.inputs
        precise = torch.float32 if inputs.device.type == "mps" else torch.float64
        mean, std = (
            torch.tensor(each, dtype=precise, device=inputs.device).view(1, 1, -1)
            for each in (self.mean, self.std)
        )
        if window.scales is not None:
            own_mean, own_std = window.scales.to(precise).unsqueeze(2).unbind(1)
            mean, std = own_mean * std + mean, own_std * std
        return Units(mean, std, _mean(inputs, there)[..., self.targets])

    def there(self, inputs: Tensor) -> Tensor | None:
        """1 where a feature is there, 0 where it is missing, [B, L, F]; None where none can be missing."""
        if all(mask is None for mask in self.masks):
            return None
        there = torch.ones_like(inputs)
        for column, mask in enumerate(self.masks):
            if mask is not None:
                there[..., column] = inputs[..., mask]
        return there


def _mean(inputs: Tensor, there: Tensor | None) -> Tensor:
    """The mean over the steps that are there, [B, 1, F]."""
    if there is None:
        return inputs.mean(1, keepdim=True)
    return (inputs * there).sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp(min=1)


def _last(inputs: Tensor, there: Tensor) -> Tensor:
    """The last value that is there, [B, 1, F]; 0 where none is."""
    steps = torch.arange(1, inputs.shape[1] + 1, device=inputs.device).view(1, -1, 1)
    last = (there * steps).argmax(1, keepdim=True)
    return inputs.gather(1, last)
