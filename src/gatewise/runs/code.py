"""``code.diff``: the commit a run was started from, and the uncommitted changes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from gatewise.runs.secret_files import blacked_out, is_secret
from gatewise.settings import one_line

MAX_BYTES = 1_000_000
"""Longest diff to keep; the rest is cut."""
MAX_UNTRACKED_BYTES = 100_000
"""Longest untracked file to keep."""
SOURCES = ("py", "yaml", "yml", "toml", "c", "h", "cpp", "cu", "sh")
"""Suffixes of untracked files that are kept as code; other files may be data or secrets."""
_TIMEOUT_SECONDS = 10


def read_code(folder: Path, runs_dir: Path) -> bytes | None:
    """The commit of the working tree at ``folder`` and its uncommitted changes, ready for ``git apply``.

    New source files count as changes, except those in ``runs_dir``. A diff longer than ``MAX_BYTES`` is cut,
    and its second line says so. None if there is no git, no commit or no answer in time.
    """
    try:
        commit = _git(folder, "rev-parse", "HEAD").decode().strip()
        top = Path(os.fsdecode(_git(folder, "rev-parse", "--show-toplevel").rstrip(b"\n")))
        diff, left_out = _changes(top, runs_dir)
        changes = "changes" if diff or left_out or _git(top, "status", "--porcelain") else "no changes"
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


def _changes(top: Path, runs_dir: Path) -> tuple[bytes, list[str]]:
    """The diff, and the changed or new files that it leaves out."""
    patterns = [f":(glob)**/*.{suffix}" for suffix in SOURCES]
    if runs_dir.resolve().is_relative_to(top) and runs_dir.resolve() != top:
        patterns.append(f":(exclude){runs_dir.resolve().relative_to(top)}")
    listed = _git(top, "ls-files", "--others", "--exclude-standard", "-z", "--", *patterns)
    others = [name for name in listed.split(b"\0") if name and _is_small(top / os.fsdecode(name))]
    changed = _git(top, "diff", "--name-only", "--no-renames", "-z", "HEAD").split(b"\0")
    tracked = [os.fsdecode(name) for name in changed if name and is_secret(os.fsdecode(name))]
    new = [name for name in others if not is_secret(os.fsdecode(name))]
    left_out = sorted({*tracked, *(os.fsdecode(name) for name in others if name not in new)})
    if not new:
        return _diff(top, None, tracked), left_out
    with tempfile.TemporaryDirectory() as temporary:
        # git diff shows a new file only if the index announces it; the user's own index is left as it is.
        index = Path(temporary) / "index"
        original = top / os.fsdecode(_git(top, "rev-parse", "--git-path", "index").rstrip(b"\n"))
        if original.is_file():
            # With its time, by which git tells a file that was changed in the same second.
            shutil.copy2(original, index)
        announce = ("add", "--intent-to-add", "--pathspec-from-file=-", "--pathspec-file-nul")
        try:
            _git(top, *announce, index=index, stdin=b"\0".join(new))
        except subprocess.SubprocessError:  # no permission to write in the repository
            return _diff(top, None, tracked), left_out
        return _diff(top, index, tracked), left_out


def _is_small(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= MAX_UNTRACKED_BYTES


def _diff(top: Path, index: Path | None, without: list[str]) -> bytes:
    """The diff without some files, up to one byte more than is kept: then the caller cuts it."""
    command = ["git", "-C", str(top), "diff", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD"]
    command += ["--", *(f":(top,exclude,literal){name}" for name in without)] if without else []
    with subprocess.Popen(
        command, env=_environment(index), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        try:
            return process.stdout.read(MAX_BYTES + 1)
        finally:
            process.kill()


def _git(folder: Path, *arguments: str, index: Path | None = None, stdin: bytes = b"") -> bytes:
    return subprocess.run(
        ["git", "--literal-pathspecs" if stdin else "--no-pager", "-C", str(folder), *arguments],
        env=_environment(index),
        input=stdin,
        capture_output=True,
        check=True,
        timeout=_TIMEOUT_SECONDS,
    ).stdout


def _environment(index: Path | None) -> dict[str, str]:
    # Reading must neither wait for nor take the lock that the user's own git commands need.
    index_variable = {} if index is None else {"GIT_INDEX_FILE": str(index)}
    return {**os.environ, "GIT_OPTIONAL_LOCKS": "0", **index_variable}
