"""Errors that the user can fix: each message is one line that says how."""

from __future__ import annotations


class SettingError(ValueError):
    """A setting is wrong and the user has to change it; the message names its key."""


class UsageError(ValueError):
    """The command line cannot be parsed."""


def first_line(error: BaseException) -> str:
    """The first line of the error's message that is not blank, or an empty string."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
