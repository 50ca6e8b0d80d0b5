"""What the command line prints when something goes wrong, and the exit code.

1 and one line for what the user can mend, 2 for a command line that cannot be read, 70 and the traceback for
a bug, 130 for an interrupt, 128 and its number for a signal that stopped a training. ``GATEWISE_TRACEBACK=1``
adds the traceback to any of them.
"""

from __future__ import annotations

import dis
import errno
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from gatewise.launch.streams import say, stdout_error
from gatewise.settings import SettingError, UsageError, first_line, lines, one_line

USAGE, BUG, INTERRUPTED, BROKEN_PIPE = 2, 70, 130, 141

_PACKAGE = str(Path(__file__).resolve().parents[1]) + os.sep
_OF_THE_MACHINE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY),
    *(errno.ENODEV, errno.ENXIO, errno.EOPNOTSUPP),
)
"""What files and limits of a machine answer, and no fault of a program."""
_PATH_ERRORS = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
# Raised by torch and Lightning for what only the user can mend; by name, as importing them takes seconds.
_BY_NAME = {"OutOfMemoryError", "MisconfigurationException"}
# In the messages of torch, for CPUs and GPUs.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory")
# Of the linker, as a library is imported, and of Python, where `ulimit` allows no more.
_OVER_A_LIMIT = ("failed to map segment", "cannot allocate memory", "can't start new thread")


def guarded(work: Callable[[], int]) -> int:
    """The exit code of ``work()``, or of the error that it raised, which is then on stderr."""
    try:
        code = work()
        sys.stdout.flush()
        return code
    except SystemExit as leave:
        place = _own_frame(leave)
        if place is not None and not place.startswith(_PACKAGE):
            said = f" ({first_line(leave)})" if isinstance(leave.code, str) else ""
            _say(f"gatewise: error: {place}: ends the program{said}: leave that out, or raise a ValueError")
            return 1
        return leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, OSError) and error.filename is None:
            of_stdout = stdout_error()
            if of_stdout is not None and of_stdout.errno == error.errno:
                return code_of_stdout(of_stdout)
        return report(error)


def code_of_stdout(error: OSError) -> int:
    """The exit code of a command that could not print what it is for; a line says why, but for ``| head``."""
    if error.errno == errno.EPIPE:
        return BROKEN_PIPE
    say(f"gatewise: error: stdout: {error.strerror}: not everything could be printed")
    return 1


def report(error: BaseException, where: str = "") -> int:
    """Print ``error`` on stderr, after ``where`` (such as the job of a sweep), and return the exit code."""
    if os.environ.get("GATEWISE_TRACEBACK") == "1":
        _print_traceback(error)
    if isinstance(error, KeyboardInterrupt):
        name = f" by {error}" if str(error) else ""
        _say(f"gatewise: interrupted{name}")
        return getattr(error, "exit_code", INTERRUPTED)
    line = user_line(error)
    if line is not None:
        _say(f"gatewise: error: {where}{line}")
        return USAGE if isinstance(error, UsageError) else 1
    if os.environ.get("GATEWISE_TRACEBACK") != "1":
        _print_traceback(error)
    place = _own_frame(error)
    summary = "".join(traceback.format_exception_only(error)).strip().splitlines()[0]
    if place is not None and not place.startswith(_PACKAGE):
        _say(f"gatewise: error: {where}{summary} (raised by {place})")
        return 1
    _say(f"gatewise: {where}this is a bug in Gatewise; please report it with the lines above")
    return BUG


def user_line(error: BaseException) -> str | None:
    """The one line that says what the user has to change, or None where the error is not theirs."""
    if isinstance(error, (SettingError, UsageError)):
        return str(error)
    if type(error).__module__.partition(".")[0] in ("hydra", "omegaconf", "yaml"):
        from gatewise.config.explain import explain

        return explain(error)
    if isinstance(error, ValueError):
        return str(error) if _raised_by_gatewise(error) else None
    if isinstance(error, _PATH_ERRORS) or (isinstance(error, OSError) and error.errno in _OF_THE_MACHINE):
        names_file = error.filename is not None and error.strerror
        name = str(error.filename)
        name = name if len(name) <= 400 else f"{name[:60]}... ({len(name)} characters)"
        return f"{name}: {error.strerror}" if names_file else error.strerror or str(error)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("gatewise"):
        return str(error)
    if isinstance(error, (ImportError, RuntimeError)) and any(s in str(error).lower() for s in _OVER_A_LIMIT):
        return f"{first_line(error)}: more memory or processes than this machine or its limits (ulimit) allow"
    if isinstance(error, MemoryError) or type(error).__name__ in _BY_NAME:
        return first_line(error) or "out of memory"
    return None


def reason(error: BaseException) -> str:
    """Why something failed, in one line, whoever is to blame."""
    if isinstance(error, MemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY):
        return f"out of memory: {first_line(error) or type(error).__name__}"
    return user_line(error) or f"{type(error).__name__}: {first_line(error)}"


def _say(line: str) -> None:
    """Print one line on stderr; what would move the cursor, or begin a second line, is shown as text."""
    say(one_line(line))


def _print_traceback(error: BaseException) -> None:
    say(lines("".join(traceback.format_exception(error)).rstrip()))


def _raised_by_gatewise(error: ValueError) -> bool:
    """Whether the error was raised on purpose, and not by a library that Gatewise misused.

    In a file of the user's own, a ``raise ValueError(...)`` is a message for whoever uses it.
    """
    trace = list(traceback.walk_tb(error.__traceback__))
    if not trace:
        return True
    frame, _ = trace[-1]
    # What Hydra raises is about the config; and an error that a launcher brings back from another process has
    # lost the frames that raised it, so that Hydra's are the last.
    if str(frame.f_globals.get("__name__")).split(".")[0] in ("gatewise", "hydra", "omegaconf"):
        return True
    return not _is_installed(frame.f_code.co_filename) and _is_raise_statement(error)


def _is_raise_statement(error: BaseException) -> bool:
    """Whether the last line of the traceback raised the error itself, and nothing that it called did."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _own_frame(error: BaseException) -> str | None:
    """``file:line`` of the innermost frame that is no installed library's: Gatewise's or the user's own."""
    for frame, number in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = frame.f_code.co_filename
        if file.startswith(_PACKAGE) or not _is_installed(file):
            return f"{file}:{number}"
    return None


def _is_installed(file: str) -> bool:
    """Whether a file is Python's own or of an installed package."""
    import sysconfig

    paths = sysconfig.get_paths()
    return "-packages" in file or file.startswith((paths["stdlib"], paths["platstdlib"], sys.prefix, "<"))
