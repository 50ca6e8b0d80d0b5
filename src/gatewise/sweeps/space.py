"""What a sweep varies: settings with their values, written in Hydra's grammar."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from gatewise.settings.checks import number, seed, shown

SEED = "seed"
PARAMS = "sweep.params"

MOST = 100_000
"""Values of a setting, and trainings of a sweep: more than ever end, and than can be listed."""

Values = list[str]
"""Every value of a setting, as it stands behind ``key=`` on the command line."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both among them; ``step`` None for any number in between.

    Whole numbers where both ends are ``int``.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def count(self) -> float:
        """How many numbers it holds."""
        return math.inf if self.step is None else round((self.high - self.low) / self.step) + 1


@dataclass(frozen=True)
class Space:
    """The settings that every training of a sweep shares, and those that differ."""

    fixed: list[str]
    swept: dict[str, Values | Range]
    seeds: list[int] | None
    """Seeds that every configuration is trained with; None for the one of the config."""

    def grid(self) -> list[dict[str, str]]:
        """Every combination; raises ValueError where a setting has no list of values."""
        for key, values in self.swept.items():
            if isinstance(values, Range):
                raise ValueError(
                    f"{key}: a grid tries every value, and an interval has no end of them: add sweep=random "
                    f"or sweep=tpe to search it, or list values ({key}={values.low:g},{values.high:g})"
                )
        lists = [values for values in self.swept.values() if not isinstance(values, Range)]
        count = math.prod(map(len, lists)) * len(self.seeds or [0])
        if count > MOST:
            raise ValueError(
                f"{', '.join(self.swept) or 'seed'}: every combination makes {count} trainings, and a "
                f"sweep has at most {MOST}: list fewer values, or draw some of them with sweep=random"
            )
        return [dict(zip(self.swept, point, strict=True)) for point in itertools.product(*lists)]

    def count(self) -> float:
        """How many different points it holds."""
        counts = [
            v.count() if isinstance(v, Range) else len({canonical(key, text) for text in v})
            for key, v in self.swept.items()
        ]
        return math.prod(counts)

    def point(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        """What two configurations share where they are the same, however their values are written."""
        return tuple(_place(key, values, params[key]) for key, values in self.swept.items())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a file."""
        swept = {key: vars(v) if isinstance(v, Range) else list(v) for key, v in self.swept.items()}
        return {"fixed": self.fixed, "swept": swept, "seeds": self.seeds}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Space:
        """As :meth:`to_dict` wrote it."""
        swept = {k: Range(**v) if isinstance(v, Mapping) else list(v) for k, v in values["swept"].items()}
        return cls(list(values["fixed"]), swept, values["seeds"])


def _place(key: str, values: Values | Range, value: Any) -> Any:
    if not isinstance(values, Range):
        return canonical(key, str(value))
    # Samplers may reach the same number by other sums.
    return float(value) if values.step is None else round((value - values.low) / values.step)


@lru_cache(maxsize=4096)
def canonical(key: str, text: str) -> str:
    """The same for values that mean the same to Hydra, such as 0.01 and 1e-2."""
    return repr(OverridesParser.create().parse_override(f"{key}={text}").value())


def _ignore(line: str) -> None:
    pass


def read_space(
    params: Mapping[str, Any],
    arguments: Sequence[str],
    seeds: Sequence[Any] | None,
    searched: bool,
    loader: ConfigLoader | None = None,
    say: Callable[[str], None] = _ignore,
) -> Space:
    """The space that ``sweep.params`` and the command line describe; the command line wins.

    ``searched``: whether a sampler draws from it; otherwise every combination is tried. ``say`` gets a line
    for what of it is left out. Raises ValueError for values that cannot be swept so.
    """
    parser = OverridesParser.create(config_loader=loader)
    params = _not_replaced(params, parser.parse_overrides(list(arguments)), searched, say)
    written = [f"{key}={value}" for key, value in params.items()]
    overrides: dict[str, Override] = {}
    for override in parser.parse_overrides([*written, *arguments]):
        # Where the same setting comes again, the last one counts, in the place of the first.
        overrides[override.get_key_element()] = override
    fixed: list[str] = []
    swept: dict[str, Values | Range] = {}
    for key, override in overrides.items():
        if override.key_or_group.startswith("sweep.") and not override.is_sweep_override():
            continue  # how the sweep goes about it
        if not override.is_sweep_override():
            value = (
                ""
                if override.is_delete() and override.value() is None
                else override.get_value_element_as_str()
            )
            fixed.append(f"{key}={value}" if value or not override.is_delete() else key)
        elif override.key_or_group.split(".")[0] in ("sweep", "resume"):
            raise ValueError(
                f"{override.input_line}: {key} is one setting of the whole sweep: give one value"
            )
        else:
            swept[key] = _values(key, override, searched, say)
    return Space(fixed, swept, _seeds(swept, seeds, searched))


def _not_replaced(
    params: Mapping[str, Any], given: Sequence[Override], searched: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """What counts of ``sweep.params`` beside the overrides ``given``.

    ``sweep.params={...}`` takes the place of all that a preset has, where Hydra would merge the two. So do
    ranges given to a search: they are all that is searched. The presets of grids are there to be combined
    with more.
    """
    of_params = [override for override in given if override.key_or_group.split(".")[:2] == PARAMS.split(".")]
    if of_params:
        whole = [
            i for i, o in enumerate(of_params) if o.key_or_group == PARAMS and isinstance(o.value(), dict)
        ]
        if not whole:
            return dict(params)
        asked = {str(key) for key in of_params[whole[-1]].value()}  # type: ignore[union-attr]
        asked |= {o.key_or_group.removeprefix(f"{PARAMS}.") for o in of_params[whole[-1] + 1 :]}
        return {key: value for key, value in params.items() if key in asked}
    ranges = [override.get_key_element() for override in given if override.is_sweep_override()]
    if not searched or not params or not ranges:
        return dict(params)
    left_out = [key for key in params if key not in {override.get_key_element() for override in given}]
    if left_out:
        say(
            f"Searched: {', '.join(ranges)}, as given; the ranges of the preset ({', '.join(left_out)}) are "
            f"left out: to search those too, give them as well"
        )
    return {}


def _values(key: str, override: Override, searched: bool, say: Callable[[str], None]) -> Values | Range:
    value: Any = override.value()
    if isinstance(value, IntervalSweep):
        return _interval(key, value)
    if isinstance(value, RangeSweep):
        _check_range(key, value)
    if isinstance(value, RangeSweep) and searched and not value.shuffle and key != SEED:
        return _steps(key, value)
    values = list(override.sweep_string_iterator())
    if isinstance(value, RangeSweep):
        values = [text for text in values if not _is_stop(float(text), value)]
    if not values:
        raise ValueError(f"{override.input_line}: there is no value to try")
    if key == SEED:
        return values  # a seed that comes twice is refused
    different: dict[str, str] = {}
    for text in values:
        different.setdefault(canonical(key, text), text)
    if len(different) < len(values):
        again = [text for text in values if text not in different.values()] or values[:1]
        say(f"{key}: {', '.join(dict.fromkeys(again))} is listed more than once and tried once")
    return list(different.values())


def _check_range(key: str, steps: RangeSweep) -> None:
    """Raise ValueError for a range of numbers that are none, or are too many to list."""
    ends = {"start": steps.start, "stop": steps.stop, "step": steps.step}
    for name, value in ends.items():
        number(f"{key}: the {name} of range(...)", value)
    assert steps.start is not None
    assert steps.stop is not None
    if steps.step == 0:
        raise ValueError(f"{key}: the step of range(...) must not be 0")
    count = (float(steps.stop) - float(steps.start)) / float(steps.step)
    if count > MOST:
        raise ValueError(
            f"{key}=range({steps.start}, {steps.stop}): {count:.0f} values, and {MOST} are the most: "
            f"take a larger step; a search draws from interval({steps.start}, {steps.stop}) instead"
        )


def _interval(key: str, interval: IntervalSweep) -> Range:
    low, high = interval.start, interval.end
    for end in (low, high):
        number(f"{key}: an end of interval({low}, {high})", end)
    if low is None or high is None or not low < high:
        raise ValueError(f"{key}=interval({low}, {high}): the first number must be less than the second")
    log = _is_log(key, interval.tags, low)
    if isinstance(low, int) and isinstance(high, int):
        return Range(low, high, 1, log)
    return Range(float(low), float(high), None, log)


def _steps(key: str, steps: RangeSweep) -> Range:
    numbers = [n if isinstance(n, int) else float(n) for n in steps.range() if not _is_stop(n, steps)]
    if not numbers:
        raise ValueError(f"{key}=range({steps.start}, {steps.stop}): there is no number in it")
    low, high = min(numbers), max(numbers)
    log = _is_log(key, steps.tags, low)
    step = abs(float(steps.step)) if isinstance(low, float) else abs(int(steps.step))
    if log and step != 1:
        raise ValueError(f"{key}: a range with tag log counts in ones: drop the step {step:g}, or the tag")
    return Range(low, high, step, log)


def _is_stop(number: float, steps: RangeSweep) -> bool:
    """Whether a number of a range is its end, which Hydra leaves in for some sums of binary fractions."""
    assert steps.stop is not None
    return abs(float(number) - float(steps.stop)) < 1e-6 * abs(float(steps.step))


def _is_log(key: str, tags: set[str], low: float) -> bool:
    unknown = sorted(tags - {"log"})
    if unknown:
        raise ValueError(f"{key}: tag {unknown[0]!r} is unknown; there is log")
    if "log" in tags and low <= 0:
        raise ValueError(f"{key}: with tag log the numbers must be above 0, got {low:g}")
    return "log" in tags


def _seeds(swept: dict[str, Values | Range], seeds: Sequence[Any] | None, searched: bool) -> list[int] | None:
    """Those of ``sweep.seeds``, or of a grid's ``seed=1,2,3``, which is taken out of ``swept``."""
    if seeds is not None and (isinstance(seeds, str) or not isinstance(seeds, Sequence)):
        raise ValueError(f"sweep.seeds must be a list of seeds such as [1, 2, 3], got {shown(seeds)}")
    listed = None if seeds is None else list(seeds)
    source = "sweep.seeds"
    if SEED in swept:
        if searched:
            raise ValueError(
                "seed: a search trains every configuration with the same seeds: give sweep.seeds=[1,2,3]"
            )
        if listed is not None:
            raise ValueError("seed is swept and sweep.seeds is given as well: give one of the two")
        values = swept.pop(SEED)
        if isinstance(values, Range):
            raise ValueError("seed: list the seeds, as in seed=1,2,3 or seed=range(1,4)")
        listed, source = [int(v) if v.isdecimal() else v for v in values], SEED
    if listed is None:
        return None
    for value in listed:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{source}: a seed is a whole number of at least 0, got {shown(value)}")
        seed(source, value)
    if not listed or len(set(listed)) < len(listed):
        raise ValueError(f"{source}: list one or more seeds, each once, got {shown(listed)}")
    return listed
