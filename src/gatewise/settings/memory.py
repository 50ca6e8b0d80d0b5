"""How much memory a process may have on this machine, asked of the system without allocating any."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory() -> int:
    """Bytes that there are for this process: the machine's memory, a container's or a shell's limit.

    What others use of it is not taken off: it may be free when it is needed. A machine that does not say has
    2⁶³ - 1.
    """
    limits = [2**63 - 1]
    with contextlib.suppress(AttributeError, OSError, ValueError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in _CGROUPS:
        try:
            limits.append(int(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    limits += _of_the_shell()
    return min(limit for limit in limits if limit > 0)


def _of_the_shell() -> list[int]:
    """What ``ulimit -v`` and ``ulimit -d`` allow."""
    try:
        import resource
    except ImportError:  # not on Windows
        return []
    soft = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    return [limit for limit in soft if limit != resource.RLIM_INFINITY]


def in_words(size: float) -> str:
    """A number of bytes as it is said: ``23.4 GiB``."""
    units = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    power = 0
    while size >= 1024 and power < len(units) - 1:
        size, power = size / 1024, power + 1
    return f"{size:.3g} {units[power]}"
