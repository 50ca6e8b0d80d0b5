"""``code.diff``: the commit a run was started from, and what was changed since it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

MOST_BYTES = 1_000_000
"""Longest diff that is kept."""
MOST_UNTRACKED_BYTES = 100_000
SOURCES = ("py", "yaml", "yml", "toml", "c", "h", "cpp", "cu", "sh")
"""What of the files git does not know may be code: data and secrets may lie beside it."""
_PATIENCE_SECONDS = 10


def read_code(folder: Path, runs_dir: Path) -> bytes | None:
    """The commit of the working tree at ``folder`` and its uncommitted changes, as ``git apply`` takes them.

    New files of source code count as changes, but for those in ``runs_dir``. A diff of more than
    ``MOST_BYTES`` is cut, and says so in its second line. None where there is no git, commit or answer.
    """
    try:
        commit = _git(folder, "rev-parse", "HEAD").decode().strip()
        top = Path(os.fsdecode(_git(folder, "rev-parse", "--show-toplevel").rstrip(b"\n")))
        diff = _changes(top, runs_dir)
        changes = "changes" if diff or _git(top, "status", "--porcelain") else "no changes"
    except (OSError, subprocess.SubprocessError):
        return None
    head = [f"commit {commit} and {changes} of {top}"]
    if len(diff) > MOST_BYTES:
        head.append(f"cut: only the first {MOST_BYTES} bytes are kept")
        diff = diff[:MOST_BYTES]
    return "\n".join([*head, "", ""]).encode(errors="replace") + diff


def commit_of(code: bytes | None) -> str | None:
    """The commit that :func:`read_code` found, ``+changes`` where there were any."""
    found = re.match(rb"commit (\w+) and (changes)?", code or b"")
    return None if found is None else found[1].decode() + ("+changes" if found[2] else "")


def _changes(top: Path, runs_dir: Path) -> bytes:
    patterns = [f":(glob)**/*.{suffix}" for suffix in SOURCES]
    if runs_dir.resolve().is_relative_to(top) and runs_dir.resolve() != top:
        patterns.append(f":(exclude){runs_dir.resolve().relative_to(top)}")
    listed = _git(top, "ls-files", "--others", "--exclude-standard", "-z", "--", *patterns)
    new = [name for name in listed.split(b"\0") if name and _is_small(top / os.fsdecode(name))]
    if not new:
        return _diff(top, None)
    with tempfile.TemporaryDirectory() as temporary:
        # git shows a new file where its index announces it; the user's own index is left as it is.
        index = Path(temporary) / "index"
        original = top / os.fsdecode(_git(top, "rev-parse", "--git-path", "index").rstrip(b"\n"))
        if original.is_file():
            shutil.copyfile(original, index)
        announce = ("add", "--intent-to-add", "--pathspec-from-file=-", "--pathspec-file-nul")
        try:
            _git(top, *announce, index=index, given=b"\0".join(new))
        except subprocess.SubprocessError:  # a repository that may not be written
            return _diff(top, None)
        return _diff(top, index)


def _is_small(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= MOST_UNTRACKED_BYTES


def _diff(top: Path, index: Path | None) -> bytes:
    """One byte more than is kept, where there is more."""
    command = ["git", "-C", str(top), "diff", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD"]
    with subprocess.Popen(
        command, env=_environment(index), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        try:
            return process.stdout.read(MOST_BYTES + 1)
        finally:
            process.kill()


def _git(folder: Path, *arguments: str, index: Path | None = None, given: bytes = b"") -> bytes:
    return subprocess.run(
        ["git", "--literal-pathspecs" if given else "--no-pager", "-C", str(folder), *arguments],
        env=_environment(index),
        input=given,
        capture_output=True,
        check=True,
        timeout=_PATIENCE_SECONDS,
    ).stdout


def _environment(index: Path | None) -> dict[str, str]:
    # Looking must not wait for, or take, the lock that a git of the user's needs.
    chosen = {} if index is None else {"GIT_INDEX_FILE": str(index)}
    return {**os.environ, "GIT_OPTIONAL_LOCKS": "0", **chosen}
