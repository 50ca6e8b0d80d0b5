"""What a setting may be, and what to say where it is something else."""

from gatewise.settings.checks import (
    below_one,
    choice,
    flag,
    fraction,
    names,
    not_negative,
    optional,
    optional_whole_number,
    share_or_number,
    split_fractions,
    whole_number,
)
from gatewise.settings.errors import SettingError, UsageError, first_line
from gatewise.settings.nearest import closest, did_you_mean, nearest, suggestion

__all__ = [
    "SettingError",
    "UsageError",
    "below_one",
    "choice",
    "closest",
    "did_you_mean",
    "first_line",
    "flag",
    "fraction",
    "names",
    "nearest",
    "not_negative",
    "optional",
    "optional_whole_number",
    "share_or_number",
    "split_fractions",
    "suggestion",
    "whole_number",
]
