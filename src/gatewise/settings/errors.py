"""Errors that a person can mend: their message is one line that says how."""

from __future__ import annotations


class SettingError(ValueError):
    """A setting that the user has to change; the message names its key."""


class UsageError(ValueError):
    """A command line that cannot be read."""


def first_line(error: BaseException) -> str:
    """The first line of the error's message that is not blank."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
