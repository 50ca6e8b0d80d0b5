"""Which values a setting may have, and one-line errors for the others.

A setting is declared once, by the annotation of the parameter that takes it: see ``values.py``.
"""

from gatewise.settings.checks import choice, flag, names, optional, split_fractions, whole_number, words
from gatewise.settings.errors import SettingError, UsageError, first_line
from gatewise.settings.nearest import closest, did_you_mean, nearest, suggestion
from gatewise.settings.rules import check_constructor, checked, rule
from gatewise.settings.shown import lines, listed, one_line
from gatewise.settings.values import (
    AtLeast,
    Checked,
    Count,
    DataFile,
    DataFiles,
    Folder,
    Folders,
    Fraction,
    Levels,
    Names,
    NotNegative,
    Positive,
    Probability,
    ProbabilityOfEach,
    Seed,
    Several,
    Share,
    Sizes,
    SomeOf,
    Word,
    Words,
)

__all__ = [
    "AtLeast",
    "Checked",
    "Count",
    "DataFile",
    "DataFiles",
    "Folder",
    "Folders",
    "Fraction",
    "Levels",
    "Names",
    "NotNegative",
    "Positive",
    "Probability",
    "ProbabilityOfEach",
    "Seed",
    "SettingError",
    "Several",
    "Share",
    "Sizes",
    "SomeOf",
    "UsageError",
    "Word",
    "Words",
    "check_constructor",
    "checked",
    "choice",
    "closest",
    "did_you_mean",
    "first_line",
    "flag",
    "lines",
    "listed",
    "names",
    "nearest",
    "one_line",
    "optional",
    "rule",
    "split_fractions",
    "suggestion",
    "whole_number",
    "words",
]
