"""git runs nothing that a run directory names, nor what the user's own repository does, for ``code.diff``."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from strangers import Stranger

from gatewise.runs.code import is_users_repository, read_code

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stranger:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return Stranger(tmp_path)


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always")
    done = subprocess.run(["git", "-C", folder, *who, *words], capture_output=True, text=True, check=True)
    return done.stdout


def repository(folder: Path) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    git(folder, "init", "-q")
    (folder / "cell.py").write_text("one\n")
    git(folder, "add", "cell.py")
    git(folder, "commit", "-qm", "first")
    return folder


def arm(folder: Path, command: str) -> None:
    """Have every program that git may run in a repository be ``command``, and every file be changed."""
    for name in (
        "core.fsmonitor",
        "core.pager",
        "core.editor",
        "core.sshCommand",
        "core.alternateRefsCommand",
    ):
        git(folder, "config", name, command)
    for name in ("diff.external", "diff.x.command", "diff.x.textconv", "gpg.program", "pager.diff"):
        git(folder, "config", name, command)
    for name in ("clean", "smudge", "process"):
        git(folder, "config", f"filter.x=y.{name}", command)
    git(folder, "config", "filter.x=y.required", "true")
    hooks = folder / "hooks_of_mine"
    hooks.mkdir()
    git(folder, "config", "core.hooksPath", str(hooks))
    for name in ("post-index-change", "fsmonitor-watchman", "pre-commit", "post-checkout", "pre-auto-gc"):
        (hooks / name).write_text(f"#!/bin/sh\n{command}\n")
        (hooks / name).chmod(0o755)
    (folder / ".gitattributes").write_text("*.py filter=x=y diff=x\n")
    (folder / "cell.py").write_text("two\n")
    (folder / "new.py").write_text("new\n")


def _beside(s: Stranger, command: str) -> Path:
    arm(repository(s.run), command)
    return s.run


def _below(s: Stranger, command: str) -> Path:
    _beside(s, command)
    (s.run / "plots").mkdir()
    return s.run / "plots"


def _bare(s: Stranger, command: str) -> Path:
    """The layout of a bare repository in the run directory itself, whose working tree it names."""
    _beside(s, command)
    for path in (s.run / ".git").iterdir():
        path.rename(s.run / path.name)
    (s.run / ".git").rmdir()
    git_config = s.run / "config"
    git_config.write_text(
        git_config.read_text().replace("bare = false", f"bare = false\n\tworktree = {s.run}")
    )
    return s.run


def _pointed(s: Stranger, command: str) -> Path:
    _beside(s, command)
    (s.run / ".git").rename(s.run / "elsewhere")
    (s.run / ".git").write_text("gitdir: elsewhere\n")
    return s.run


def _linked(s: Stranger, command: str) -> Path:
    _pointed(s, command)
    (s.run / ".git").unlink()
    (s.run / ".git").symlink_to("elsewhere")
    return s.run


def _linked_in(s: Stranger, command: str) -> Path:
    """The user's working folder, where ``.git`` was put as a link into the run."""
    _beside(s, command)
    (s.work / ".git").symlink_to(s.run / ".git")
    return s.work


def _pointed_in(s: Stranger, command: str) -> Path:
    _beside(s, command)
    (s.work / ".git").write_text(f"gitdir: {s.run / '.git'}\n")
    return s.work


@pytest.mark.parametrize("way", [_beside, _below, _bare, _pointed, _linked, _linked_in, _pointed_in])
def test_a_repository_in_a_run_is_not_asked(stranger: Stranger, way: Callable[[Stranger, str], Path]) -> None:
    folder = way(stranger, f"touch {stranger.pwned}; cat")
    stranger.pwned.unlink(missing_ok=True)  # what preparing it has run
    assert read_code(folder, stranger.work / "runs") is None
    assert not is_users_repository(folder)
    assert not stranger.pwned.exists()


def test_the_users_repository_runs_no_programs_either(stranger: Stranger) -> None:
    """They are the user's, but a diff needs none of them, and attributes may be a stranger's."""
    folder = repository(stranger.work)
    arm(folder, f"touch {stranger.pwned}; cat")
    stranger.pwned.unlink(missing_ok=True)
    found = (read_code(folder, folder / "runs") or b"").decode()
    assert not stranger.pwned.exists()
    assert "-one\n+two\n" in found
    assert "+new\n" in found
    assert f"changes of {folder}" in found


def test_a_run_inside_of_the_users_repository_has_its_commit(stranger: Stranger) -> None:
    folder = repository(stranger.work)
    found = read_code(stranger.run, folder / "runs")
    assert found is not None
    assert found.decode().startswith(f"commit {git(folder, 'rev-parse', 'HEAD').strip()}")


def test_submodules_are_not_looked_into(stranger: Stranger) -> None:
    folder, other = repository(stranger.work), repository(stranger.work.parent / "other")
    git(folder, "submodule", "add", "-q", str(other), "sub")
    git(folder, "commit", "-qm", "second")
    git(folder / "sub", "config", "core.fsmonitor", f"touch {stranger.pwned}; cat")
    (folder / "sub" / "cell.py").write_text("two\n")
    assert read_code(folder, folder / "runs") is not None
    assert not stranger.pwned.exists()


def test_git_is_asked_after_the_config_is_checked(stranger: Stranger) -> None:
    folder = repository(stranger.work)
    (folder / "bin").mkdir()
    program = folder / "bin" / "git"
    program.write_text(f"#!/bin/sh\ntouch {stranger.pwned}\n")
    program.chmod(0o755)
    stranger.name("os.system")
    answer = stranger("train", "resume=runs/r", programs=folder / "bin")
    assert "_target_=os.system" in answer.line()
    assert not stranger.pwned.exists()
