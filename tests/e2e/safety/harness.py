"""One input at a time, in a process of its own, and what is wrong with how it was answered.

An input is a command line in a working folder, with what was done to its files and its environment. It is
answered in one of two ways: it works, completely; or it is refused in one line, with nothing left behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import io
import json
import os
import re
import resource
import shutil
import signal
import stat
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gatewise.runs.run import Run

HANGS_AFTER = 100
"""Seconds; what is tried takes one or two."""
FRESH_TAKES = 4
"""Times as long is waited for a new process, which imports torch, and has perhaps several commands."""
NOBODY = 12345
"""The number of a user that no system knows."""
MEMORY = 24 << 30
"""Bytes of addresses that a command may ask for: one that asks for more is told so, and not the machine."""
_SET_CHILD_SUBREAPER, _SET_KEEPCAPS = 36, 8
_CAPABILITY_VERSION, _CAP_DAC_READ_SEARCH = 0x20080522, 2
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_STATES = {"done", "failed", "interrupted", "pruned"}
_CACHES = ("home/.cache", "home/.config")
# Made by torch as it is imported.
_TORCHS = "tmp/torchinductor_"


@dataclass(frozen=True)
class Input:
    """What is tried: words after ``gatewise``, or a line for bash in which ``gatewise`` is a command."""

    name: str
    argv: tuple[str, ...] = ()
    shell: str | None = None
    right: Literal["refused", "works", "either"] = "either"
    prepare: Callable[[Path], None] | None = None
    """What is done to the working folder first."""
    environment: Mapping[str, str | None] = field(default_factory=dict)
    """Variables; None takes one away. With them, and with ``shell``, a new process runs the command."""
    nobody: bool = False
    """Whether a user runs it who has neither a home nor a name; only root can try that."""
    codes: tuple[int, ...] = (1, 2)
    """Exit codes that are right where the input is refused."""
    may_begin: bool = False
    """Whether it may only show while it trains, so that a run with its status is left."""
    lines: tuple[int, ...] = (1,)
    """How many lines on stderr are right where the input is refused."""

    @property
    def is_fresh(self) -> bool:
        return self.shell is not None or bool(self.environment)


@dataclass(frozen=True)
class Seen:
    """How a command ended."""

    code: int | None
    """None where it was stopped because it did not end."""
    out: str
    err: str
    left: list[str]
    """Command lines of processes that it left."""
    seconds: float
    logs: Mapping[Path, int] = field(default_factory=dict)
    """How long each log was before."""


class Ground:
    """Where inputs are tried: each in a fresh copy of ``template``, the user's working folder.

    Beside it are a home, a folder for temporary files and one of somebody else's, all of which have to stay
    as they are.
    """

    def __init__(self, folder: Path, template: Path) -> None:
        self.folder, self.template = folder, template
        self._count = 0

    def failures(self, inputs: Iterable[Input], seconds: float = float("inf")) -> list[str]:
        """Try all inputs, or as many as fit; a line for each that was answered wrongly."""
        end = time.monotonic() + seconds
        lines = []
        for each in inputs:
            if time.monotonic() > end:
                break
            lines += self.tried(each)
        return lines

    def tried(self, given: Input) -> list[str]:
        """What is wrong with how one input was answered: no line, or one."""
        place = self.folder / f"{self._count}"
        self._count += 1
        work = place / "work"
        shutil.copytree(self.template, work, symlinks=True)
        _write_bystanders(place)
        if given.prepare is not None:
            given.prepare(work)
        before = snapshot(place)
        logs = {path: path.stat().st_size for path in _logs(work)}
        seen = replace(_run(given, place), logs=logs)
        wrong = faults(given, seen, place, before)
        shutil.rmtree(place, ignore_errors=True)
        if not wrong:
            return []
        command = given.shell if given.shell is not None else " ".join(map(_short, given.argv))
        last = (seen.err.strip() or seen.out.strip() or "(nothing)").splitlines()[-1]
        return [f"{given.name}: {', '.join(wrong)}\n    {_short(command, 300)}\n    {_short(last, 240)!r}"]


def faults(given: Input, seen: Seen, place: Path, before: Mapping[str, str]) -> list[str]:
    """Everything that is wrong with how an input was answered, a few words each."""
    wrong = []
    work = place / "work"
    after = snapshot(place)
    new = sorted(after.keys() - before.keys())
    logs = [_written(path, seen.logs.get(path, 0)) for path in _logs(work)]
    if any("Traceback (most recent call last)" in text for text in (seen.out, seen.err, *logs)):
        wrong.append("traceback")
    for where, text in (("stdout", seen.out), ("stderr", seen.err), ("log.txt", "\n".join(logs))):
        if (found := _CONTROL.search(text)) is not None:
            wrong.append(f"{found.group()!r} in {where}")
    if seen.left:
        wrong.append(f"left {len(seen.left)} processes: {_short(seen.left[0], 80)}")
    if seen.code is None:
        return [*wrong, f"still ran after {seen.seconds:.0f} s"]
    refused = seen.code != 0
    if not refused and given.right == "refused":
        wrong.append("exit 0")
    if refused and given.right == "works":
        wrong.append(f"refused with exit code {seen.code}")
    if refused and given.right != "works" and seen.code not in given.codes:
        wrong.append(f"exit code {seen.code}")
    lines = seen.err.count("\n") + (seen.err != "" and not seen.err.endswith("\n"))
    if refused and lines not in given.lines:
        wrong.append(f"{lines} lines on stderr")
    # A run directory belongs to the command that made it or was told to resume it.
    allowed = _runs_of(given, work)
    for name in sorted(before.keys() & after.keys()):
        if before[name] != after[name] and not _lies_in(place / name, allowed):
            wrong.append(f"changed {name}")
    wrong += [f"deleted {name}" for name in sorted(before.keys() - after.keys()) if name != "work/runs/last"]
    strays = [name for name in new if not _is_own(name) and not _lies_in(place / name, allowed)]
    if strays:
        wrong.append(f"{len(strays)} new files, such as {strays[0]}")
    begun = [work / Path(name).parent.relative_to("work") for name in new if name.endswith("/config.yaml")]
    for run in begun:
        state = _state(run)
        if refused and state == "missing":
            wrong.append("a run directory without a status")
        elif refused and not given.may_begin:
            wrong.append(f"left a run directory ({state})")
        elif refused and state not in _STATES:
            wrong.append(f"left a run that is {state}")
        elif not refused and not _is_complete(run):
            wrong.append(f"exit 0 with a run that is {state} and not complete")
    for line in seen.out.splitlines():
        claim = re.match(r"(?:Run directory|Picture|written to)\s+(\S+)$", line.strip())
        if claim and not (work / claim[1]).exists():
            wrong.append(f"says {line.strip()!r}, which is not there")
    return wrong


def snapshot(place: Path) -> dict[str, str]:
    """What every file, folder and link below ``place`` is, by its name."""
    found = {}
    for folder, folders, files in os.walk(place):
        for name in (*folders, *files):
            path = Path(folder) / name
            state = path.lstat()
            kind = f"{stat.S_IFMT(state.st_mode):o} {stat.S_IMODE(state.st_mode):o}"
            if stat.S_ISLNK(state.st_mode):
                kind += f" to {path.readlink()}"
            elif stat.S_ISREG(state.st_mode):
                kind += f" {hashlib.sha256(path.read_bytes()).hexdigest()} {state.st_mtime_ns}"
            found[str(path.relative_to(place))] = kind
    return found


def _logs(work: Path) -> list[Path]:
    return [path for path in work.glob("runs/**/log*.txt") if path.is_file() and not path.is_symlink()]


def _written(log: Path, since: int) -> str:
    return log.read_bytes()[since:].decode(errors="replace")


def _write_bystanders(place: Path) -> None:
    """A home, a folder for temporary files, and somebody else's files."""
    for name in ("home", "tmp", "elsewhere/deep"):
        (place / name).mkdir(parents=True)
    for name in ("home/.bashrc", "elsewhere/precious.txt", "elsewhere/deep/model.ckpt"):
        (place / name).write_text(f"{name}: not to be touched\n")
    (place / "elsewhere" / "link").symlink_to("precious.txt")


def _is_own(name: str) -> bool:
    """Whether a new file is where a command writes by itself: a run or sweep that it makes, and caches."""
    own = ("work/runs", "work/sweeps", *_CACHES)
    return name.startswith((_TORCHS, *(f"{folder}/" for folder in own))) or name in own


def _runs_of(given: Input, work: Path) -> list[Path]:
    """What a command may change of what is there: the run that it is told to resume or send, and `last`."""
    named = [word.partition("=")[2] for word in given.argv if word.startswith(("resume=", "run="))]
    writes = given.shell is not None or "train" in given.argv[:1] or "sync" in given.argv[:1]
    runs = [work / name for name in named if writes and name and name not in ("last", "all")]
    outputs = [work / w.partition("=")[2] for w in given.argv if w.startswith("output=")]
    return [*runs, *outputs, work / "runs/last", *([work / "runs"] if given.shell is not None else [])]


def _lies_in(path: Path, folders: Iterable[Path]) -> bool:
    return any(path == folder or folder in path.parents for folder in folders)


def _state(run: Path) -> str:
    """As Gatewise tells it: what a process that aborted has recorded is not the last word."""
    try:
        return Run(run).state()
    except (OSError, ValueError):
        return "missing"


def _is_complete(run: Path) -> bool:
    names = ("config.yaml", "overrides.yaml", "facts.json", "metrics.csv", "checkpoints/last.ckpt", "log.txt")
    return _state(run) in ("done", "pruned") and all((run / name).is_file() for name in names)


def _short(text: str, most: int = 120) -> str:
    return text if len(text) <= most else f"{text[: most - 30]}...({len(text)} characters)"


def _run(given: Input, place: Path) -> Seen:
    """Run a command below a process that adopts what it leaves, and tells what came of it."""
    report = place / "seen.json"
    started = time.monotonic()
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # else the new process copies all that is there, to look for garbage in it
    supervisor = os.fork()
    if supervisor == 0:
        try:
            _supervise(given, place, report)
        finally:
            os._exit(0)
    os.waitpid(supervisor, 0)
    gc.unfreeze()
    told = json.loads(report.read_text())
    report.unlink()
    out, err = ((place / name).read_bytes().decode(errors="replace") for name in ("out", "err"))
    for name in ("out", "err"):
        (place / name).unlink()
    return Seen(told["code"], out, err, told["left"], time.monotonic() - started)


def _supervise(given: Input, place: Path, report: Path) -> None:
    os.setsid()
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    worker = os.fork()
    if worker == 0:
        _work(given, place)
    end = time.monotonic() + HANGS_AFTER * (FRESH_TAKES if given.is_fresh else 1)
    code: int | None = None
    pause = 0.002
    while time.monotonic() < end:
        done, status = os.waitpid(worker, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        time.sleep(pause)
        pause = min(2 * pause, 0.02)
    else:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
    left = _children()
    end = time.monotonic() + (2 if code is not None else 0)
    while left and time.monotonic() < end:  # some see only after a while that their parent has gone
        time.sleep(0.05)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        left = _children()
    for number in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    named = [] if code is None else list(left.values())
    report.write_text(json.dumps({"code": code, "left": named}))


def _children() -> dict[int, str]:
    """Command lines of this process's children that live, by their number."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            words = (path / "stat").read_text().rpartition(")")[2].split()
            if int(words[1]) == os.getpid() and words[0] != "Z":
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(path.name)] = command
    return found


def _work(given: Input, place: Path) -> None:
    """Be the command: in a new program, or in this process, which has imported everything already."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        for number, path, mode in (
            (0, os.devnull, os.O_RDONLY),
            (1, str(place / "out"), flags),
            (2, str(place / "err"), flags),
        ):
            os.dup2(os.open(path, mode, 0o644), number)
        os.chdir(place / "work")
        os.environ.update(HOME=str(place / "home"), TMPDIR=str(place / "tmp"), TERM="dumb")
        for name in [name for name in os.environ if name.startswith(("WANDB", "GATEWISE", "PYTEST"))]:
            del os.environ[name]
        if given.is_fresh:
            _exec(given)
        if given.nobody:
            _become_nobody(place)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        tempfile.tempdir = None
        _as_python_starts()
        from gatewise.cli.main import main

        code = main(list(given.argv))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)


def _exec(given: Input) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **given.environment}
    clean = {name: value for name, value in environment.items() if value is not None}
    program = f'gatewise() {{ "{sys.executable}" -m gatewise "$@"; }}\n'
    words = (
        [sys.executable, "-m", "gatewise", *given.argv]
        if given.shell is None
        else ["/bin/bash", "-c", program + given.shell]
    )
    os.execve(words[0], words, clean)


def _become_nobody(place: Path) -> None:
    for folder in (place, *place.parents):
        if any(part.startswith("pytest-of-") for part in folder.parts):  # else for one user alone
            folder.chmod(folder.stat().st_mode | 0o011)
    for folder, _, files in os.walk(place / "work"):
        for path in (Path(folder), *(Path(folder) / name for name in files)):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME", "TMPDIR"):
        os.environ.pop(name, None)
    libc = ctypes.CDLL(None)
    libc.prctl(_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    # What root alone may read stays readable: Python itself may be installed there.
    reads = 1 << _CAP_DAC_READ_SEARCH
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)(reads, reads, 0, 0, 0, 0)) != 0:
        raise OSError("capset failed")


def _as_python_starts() -> None:
    """Take back what pytest has done to streams and warnings."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = io.TextIOWrapper(io.FileIO(number, "w", closefd=False), "utf-8", line_buffering=number == 2)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.stdin = io.TextIOWrapper(io.FileIO(0, "r", closefd=False), "utf-8")
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)
