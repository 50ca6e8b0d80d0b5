"""The commit and the uncommitted changes a run was started from."""

from __future__ import annotations

import os
import subprocess

import pytest

from gatewise.runs import code
from gatewise.runs.code import commit_of, read_code

BEFORE, AFTER = "one\ntwo\n", "one\nzwei – ü\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def git(folder):
    def call(*arguments, at=folder, given=None):
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", "-C", at, *who, *arguments]
        return subprocess.run(command, capture_output=True, check=True, input=given).stdout.strip().decode()

    call("init", "-q")
    (folder / "sub").mkdir()
    (folder / "sub" / "cell.py").write_text(BEFORE)
    (folder / ".gitignore").write_text("*.log\n")
    call("add", ".")
    call("commit", "-qm", "first")
    return call


def read(folder):
    return read_code(folder, folder / "runs")


def test_a_clean_tree_is_its_commit(folder, git):
    found = read(folder)
    assert found.decode() == f"commit {git('rev-parse', 'HEAD')} and no changes of {folder}\n\n"
    assert commit_of(found) == git("rev-parse", "HEAD")


@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("at", [".", "sub"])
def test_changes_and_new_sources_can_be_applied_again(folder, git, tmp_path, at, staged):
    files = {
        "sub/cell.py": AFTER,
        "new cell.py": "ö = 1",
        "conf/model/mine.yaml": "a: 1\n",
        "sub/x[1].py": "2\n",
    }
    left_out = {
        "data.csv": "1\n",
        "secret.env": "x\n",
        "a.log": "1\n",
        "runs/a/b/c.yaml": "1\n",
        "big.py": "#" * 100_001,
    }
    for name, text in {**files, **left_out}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    if staged:
        git("add", "sub/cell.py")
    index, status = (folder / ".git" / "index").read_bytes(), git("status", "--porcelain")
    found = read_code(folder / at, folder / "runs")
    assert commit_of(found) == git("rev-parse", "HEAD") + "+changes"
    assert ((folder / ".git" / "index").read_bytes(), git("status", "--porcelain")) == (index, status)

    again = tmp_path / "again"
    git("clone", "-q", folder, again)
    git("apply", "-", at=again, given=found)
    written = {str(p.relative_to(again)) for p in again.rglob("*") if p.is_file() and ".git" not in p.parts}
    assert written == {*files, ".gitignore"}
    assert {name: (again / name).read_text() for name in files} == files


def test_other_new_files_are_changes_too(folder, git):
    (folder / "data.csv").write_text("1\n")
    assert read(folder).decode() == f"commit {git('rev-parse', 'HEAD')} and changes of {folder}\n\n"


@pytest.mark.usefixtures("git")
def test_a_long_diff_is_cut(folder, monkeypatch):
    (folder / "sub" / "cell.py").write_text("x" * 50_000)
    whole = read(folder)
    assert len(whole) > 50_000
    monkeypatch.setattr(code, "MAX_BYTES", 1000)
    head, _, diff = read(folder).partition(b"\n\n")
    assert head.splitlines()[1] == b"cut: only the first 1000 bytes are kept"
    assert whole.partition(b"\n\n")[2].startswith(diff)
    assert len(diff) == 1000


def test_without_git_commit_or_repository_nothing_is_known(folder, tmp_path, monkeypatch):
    assert read(folder) is None
    subprocess.run(["git", "init", "-q", folder], check=True)
    assert read(folder) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read(folder) is None
    assert commit_of(None) is None


@pytest.mark.usefixtures("git")
def test_a_git_that_does_not_answer_is_not_waited_for(folder, tmp_path, monkeypatch):
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(code, "_TIMEOUT_SECONDS", 0.2)
    assert read(folder) is None


def test_a_run_keeps_the_code_of_its_start_and_of_its_last_resumption(run):
    assert run.commit() is None
    run.save_code(None)
    assert not (run.folder / "code.diff").exists()
    run.save_code(b"commit abc and changes of /x\n\nfirst")
    run.save_code(b"commit abc and changes of /x\n\nfirst")
    assert not (run.folder / "code_resumed.diff").exists()
    for later in (b"commit d and no changes of /x\n\n", b"commit e and no changes of /x\n\n"):
        run.save_code(later)
        assert (run.folder / "code_resumed.diff").read_bytes() == later
    assert run.commit() == "abc+changes"
