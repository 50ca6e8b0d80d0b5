"""``code.diff``: the commit a run was started from, and the uncommitted changes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from gatewise.runs.around import run_around
from gatewise.runs.secret_files import blacked_out, is_secret
from gatewise.settings import one_line

MAX_BYTES = 1_000_000
"""Longest diff to keep; the rest is cut."""
MAX_UNTRACKED_BYTES = 100_000
"""Longest untracked file to keep."""
SOURCES = ("py", "yaml", "yml", "toml", "c", "h", "cpp", "cu", "sh")
"""Suffixes of untracked files that are kept as code; other files may be data or secrets."""
_TIMEOUT_SECONDS = 10
_NO_SUBMODULES = "--ignore-submodules=dirty"
"""git would look into the working tree of each by a process of its own."""


def read_code(folder: Path, runs_dir: Path) -> bytes | None:
    """The commit of the working tree at ``folder`` and its uncommitted changes, ready for ``git apply``.

    New source files count as changes, except those in ``runs_dir``. A diff longer than ``MAX_BYTES`` is cut,
    and its second line says so. None if there is no git, no commit or no answer in time, or if the repository
    may be a stranger's (:func:`is_users_repository`).

    git runs no program for it: no hook, no monitor of the file system, no filter. So a changed file of
    ``git-lfs`` differs by what lies in the working tree.
    """
    if not is_users_repository(folder):
        return None
    try:
        git = _Git(folder)
        commit = git("rev-parse", "HEAD").decode().strip()
        top = Path(os.fsdecode(git("rev-parse", "--show-toplevel").rstrip(b"\n")))
        git = _Git(top)
        diff, left_out = _changes(git, top, runs_dir)
        changes = (
            "changes" if diff or left_out or git("status", "--porcelain", _NO_SUBMODULES) else "no changes"
        )
    except (OSError, subprocess.SubprocessError):
        return None
    head = [f"commit {commit} and {changes} of {one_line(str(top))}"]
    if left_out:
        head.append(f"left out, by their names secrets: {', '.join(map(one_line, left_out))}")
    diff, keys = blacked_out(diff)
    if keys:
        head.append(f"crossed out: {keys} that look like keys or passwords")
    if len(diff) > MAX_BYTES:
        head.append(f"cut: only the first {MAX_BYTES} bytes are kept")
        diff = diff[:MAX_BYTES]
    return "\n".join([*head, "", ""]).encode(errors="replace") + diff


def commit_of(code: bytes | None) -> str | None:
    """The commit that :func:`read_code` found, with ``+changes`` if there were any; None if it found none."""
    match = re.match(rb"commit (\w+) and (changes)?", code or b"")
    return None if match is None else match[1].decode() + ("+changes" if match[2] else "")


def is_users_repository(folder: Path) -> bool:
    """Whether the git repository around ``folder`` is the user's, as far as its place tells; True for none.

    One that lies in a run directory is a stranger's, and one without a working tree (a folder that has
    ``HEAD``, ``objects`` and ``refs``) may be: what their settings name would be run. Which one the
    environment names (``GIT_DIR``) is the user's.
    """
    if "GIT_DIR" in os.environ:
        return True
    start = Path(os.path.realpath(folder))
    for place in (start, *start.parents):
        pointer = place / ".git"
        if os.path.lexists(pointer):
            return all(run_around(path) is None for path in (pointer, *_pointed_to(pointer)))
        if all(os.path.lexists(place / name) for name in ("HEAD", "objects", "refs")):
            return False
    return True


def _pointed_to(pointer: Path) -> list[Path]:
    """The repository that a file ``.git`` of a linked working tree or submodule names."""
    if not pointer.is_file():
        return []
    with pointer.open("rb") as file:
        line = file.read(4096).decode(errors="surrogateescape").partition("\n")[0]
    return [pointer.parent / line.removeprefix("gitdir:").strip()]


def _changes(git: _Git, top: Path, runs_dir: Path) -> tuple[bytes, list[str]]:
    """The diff, and the changed or new files that it leaves out."""
    patterns = [f":(glob)**/*.{suffix}" for suffix in SOURCES]
    if runs_dir.resolve().is_relative_to(top) and runs_dir.resolve() != top:
        patterns.append(f":(exclude){runs_dir.resolve().relative_to(top)}")
    listed = git("ls-files", "--others", "--exclude-standard", "-z", "--", *patterns)
    others = [name for name in listed.split(b"\0") if name and _is_small(top / os.fsdecode(name))]
    changed = git("diff", "--name-only", "--no-renames", "-z", _NO_SUBMODULES, "HEAD").split(b"\0")
    tracked = [os.fsdecode(name) for name in changed if name and is_secret(os.fsdecode(name))]
    new = [name for name in others if not is_secret(os.fsdecode(name))]
    left_out = sorted({*tracked, *(os.fsdecode(name) for name in others if name not in new)})
    if not new:
        return git.diff(None, tracked), left_out
    with tempfile.TemporaryDirectory() as temporary:
        # git diff shows a new file only if the index announces it; the user's own index is left as it is.
        index = Path(temporary) / "index"
        original = top / os.fsdecode(git("rev-parse", "--git-path", "index").rstrip(b"\n"))
        if original.is_file():
            # With its time, by which git tells a file that was changed in the same second.
            shutil.copy2(original, index)
        announce = ("add", "--intent-to-add", "--pathspec-from-file=-", "--pathspec-file-nul")
        try:
            git(*announce, index=index, stdin=b"\0".join(new))
        except subprocess.SubprocessError:  # no permission to write in the repository
            return git.diff(None, tracked), left_out
        return git.diff(index, tracked), left_out


def _is_small(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= MAX_UNTRACKED_BYTES


class _Git:
    """git in one folder, where it runs no other program."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._settings = _overruled([])
        listed = self("config", "--list", "--name-only", "-z")
        self._settings = _overruled([os.fsdecode(name) for name in listed.split(b"\0")])

    def __call__(self, *arguments: str, index: Path | None = None, stdin: bytes = b"") -> bytes:
        return subprocess.run(
            self._command("--literal-pathspecs" if stdin else "--no-pager", *arguments),
            env=self._environment(index),
            input=stdin,
            capture_output=True,
            check=True,
            timeout=_TIMEOUT_SECONDS,
        ).stdout

    def diff(self, index: Path | None, without: list[str]) -> bytes:
        """The diff without some files, up to one byte more than is kept: then the caller cuts it."""
        options = ("--no-color", "--no-ext-diff", "--no-textconv", _NO_SUBMODULES)
        excluded = ["--", *(f":(top,exclude,literal){name}" for name in without)] if without else []
        with subprocess.Popen(
            self._command("--no-pager", "diff", *options, "HEAD", *excluded),
            env=self._environment(index),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            try:
                return process.stdout.read(MAX_BYTES + 1)
            finally:
                process.kill()

    def _command(self, option: str, *arguments: str) -> list[str]:
        return ["git", option, "-C", str(self._folder), *arguments]

    def _environment(self, index: Path | None) -> dict[str, str]:
        # Reading must neither wait for nor take the lock that the user's own git commands need.
        index_variable = {} if index is None else {"GIT_INDEX_FILE": str(index)}
        refusals = {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1"}
        return {**os.environ, **self._settings, **refusals, **index_variable}


def _overruled(names: list[str]) -> dict[str, str]:
    """Variables that take the place of the settings by which git would run programs.

    ``names`` are those of all settings there are, among which are those of filters.
    """
    settings = {
        "core.fsmonitor": "false",
        "core.hooksPath": os.devnull,
        "core.alternateRefsCommand": "",
        "safe.bareRepository": "explicit",
        "protocol.allow": "never",
    }
    for name in names:
        section = name.rpartition(".")[0]
        if section.lower().startswith("filter."):
            settings |= {f"{section}.{program}": "" for program in ("clean", "smudge", "process")}
            settings[f"{section}.required"] = "false"
    # The environment may bring some of its own.
    count = os.environ.get("GIT_CONFIG_COUNT", "0")
    first = int(count) if count.isdecimal() else 0
    variables = {"GIT_CONFIG_COUNT": str(first + len(settings))}
    for number, (name, value) in enumerate(settings.items(), start=first):
        variables |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return variables
