"""Runs that start in the same second never share a directory."""

from __future__ import annotations

import os
import secrets

from gatewise.runs import folders
from gatewise.runs import run as run_module
from gatewise.runs.run import Run

PROCESSES = 50


def test_fifty_processes_at_once(create, tmp_path):
    """Each a process of its own, let go at the same moment; their clocks' second is the same, and stays."""
    ready, go = os.pipe(), os.pipe()
    children = []
    for _ in range(PROCESSES):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.close(go[1])
                os.write(ready[1], b".")
                os.read(go[0], 1)
                run = create()
                (run.folder / "owner").write_text(str(os.getpid()))
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    for _ in children:
        os.read(ready[0], 1)
    os.close(go[1])
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * PROCESSES
    folders = [path.parent for path in (tmp_path / "runs").glob("*/*/*/config.yaml")]
    owners = {int((folder / "owner").read_text()) for folder in folders}
    assert (len(folders), owners) == (PROCESSES, set(children))
    assert {Run(folder).id for folder in folders} == {folder.name for folder in folders}
    assert (tmp_path / "runs" / "last").resolve() in folders
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.name.startswith(".")] == []


def test_a_name_that_is_taken_is_not_used_again(create, monkeypatch):
    class Stopped(run_module.datetime):
        @classmethod
        def now(cls, tz=None):
            return run_module.datetime(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    drawn = iter(["aaaaaa", "000001", "aaaaaa", "aaaaaa", "bbbbbb", "000002"])
    monkeypatch.setattr(folders, "datetime", Stopped)
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(drawn))
    stamp = "2026-01-02_03-04-05"
    assert [create().id, create().id] == [f"{stamp}_aaaaaa", f"{stamp}_bbbbbb"]
