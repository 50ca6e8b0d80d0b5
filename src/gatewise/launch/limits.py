"""Limits of the shell (``ulimit``) below which libraries hang or abort instead of saying what they lack."""

from __future__ import annotations

from gatewise.settings import SettingError
from gatewise.settings.memory import in_words

_LEAST = {"RLIMIT_AS": ("-v", 1 << 30), "RLIMIT_DATA": ("-d", 450 << 20)}
"""By the name of a limit: its option of ``ulimit``, and the bytes without which torch cannot be imported.

Where OpenBLAS gets no memory for its buffers it looks for some for ever.
"""


def check_limits() -> None:
    """Raise SettingError where a limit of memory leaves too little to import what trains."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    for name, (option, least) in _LEAST.items():
        limit = resource.getrlimit(getattr(resource, name))[0]
        if limit not in (resource.RLIM_INFINITY, -1) and limit < least:
            raise SettingError(
                f"ulimit {option} {limit // 1024} allows {in_words(limit)} of memory: torch and Lightning "
                f"alone take {in_words(least)}; allow more (ulimit {option} unlimited)"
            )
