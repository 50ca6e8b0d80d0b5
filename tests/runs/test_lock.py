"""A run is trained by one process at a time, on every file system and whatever the clocks say."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from gatewise.runs import lock
from gatewise.runs.lock import holding, is_held

HOST = socket.gethostname()
HOLDS = """
import fcntl, sys, time
from pathlib import Path
from gatewise.runs.lock import holding

def no_locks(*args):
    raise OSError(37, "No locks available")

if sys.argv[2] == "no locks":
    fcntl.flock = no_locks
sys.stdin.readline()
try:
    with holding(Path(sys.argv[1]), 0):
        print("held", flush=True)
        sys.stdin.readline()
except ValueError as error:
    print(error, flush=True)
"""
assert errno.ENOLCK == 37 or sys.platform == "darwin"


@contextmanager
def processes(path, kind, number=1):
    """Processes that wait for a line, then try to hold the file until another line."""
    command = [sys.executable, "-c", HOLDS.replace("37", str(errno.ENOLCK)), str(path), kind]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, **pipes) for _ in range(number)]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def say(process, line="go\n"):
    process.stdin.write(line)
    process.stdin.flush()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / ".lock"


@pytest.fixture(params=["locks", "no locks"])
def kind(request, path, monkeypatch):
    """With and without a file system that keeps locks."""
    path.parent.mkdir()
    if request.param == "no locks":

        def refuse(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
        # Nobody contends with this process itself.
        monkeypatch.setattr(lock, "SETTLING_SECONDS", 0.05)
    return request.param


def refusal(path):
    with pytest.raises(ValueError, match="is being trained by") as caught, holding(path, 0):
        pytest.fail("two at once")
    return str(caught.value)


def test_the_second_is_told_who_holds_it_and_a_killed_one_holds_nothing(path, kind):
    with processes(path, kind) as (process,):
        say(process)
        assert process.stdout.readline() == "held\n"
        stored = json.loads(path.read_text())
        assert (stored["host"], stored["pid"]) == (HOST, process.pid)
        line = f"{path.parent} is being trained by process {process.pid} on {HOST} since {stored['since']}"
        assert refusal(path) == f"{line}: wait or stop it"
        assert is_held(path)
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and a zombie
        assert not is_held(path)
        with holding(path, 0):
            assert json.loads(path.read_text())["pid"] == os.getpid()
            assert is_held(path)
    assert not is_held(path)
    assert path.read_text().strip() == ""


@pytest.mark.usefixtures("kind")
def test_a_process_number_that_is_in_use_again_holds_nothing(path):
    with holding(path, 0):
        mine = json.loads(path.read_text())
    path.write_text(json.dumps({**mine, "started": "another boot 1"}))
    with holding(path, 0):
        pass


def test_only_one_of_many_that_start_together_gets_it(path, kind):
    with processes(path, kind, 6) as started:
        for process in started:
            say(process)
        answers = [process.stdout.readline().strip() for process in started]
    assert answers.count("held") == 1, answers
    # Without locks a contender's text may have stood for a moment before the winner's.
    named = started if kind == "no locks" else [started[answers.index("held")]]
    for answer in answers:
        who = [f"is being trained by process {process.pid} on {HOST}" in answer for process in named]
        assert answer == "held" or any(who), answers


@pytest.mark.parametrize("since", ["1970-01-01 00:00:00+00:00", "2099-01-01 00:00:00+00:00"])
@pytest.mark.parametrize("beating", [True, False])
@pytest.mark.usefixtures("kind")
def test_a_process_of_another_machine_lives_as_long_as_it_beats(beating, since, path, monkeypatch):
    """As on a network file system that keeps locks to one machine; its clock may say anything."""
    # A busy machine's beats come late: one that lives is waited for longer.
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.5 if beating else 0.1)
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "x", "since": since}))
    os.utime(path, (4e9, 4e9))
    ended = threading.Event()
    with path.open("rb") as file:
        thread = threading.Thread(target=lock._beat, args=(file.fileno(), ended))
        if beating:
            thread.start()
        try:
            if beating:
                assert f"by process 1 on elsewhere since {since}" in refusal(path)
            else:
                with holding(path, 0):
                    assert json.loads(path.read_text())["host"] == HOST
        finally:
            ended.set()
            if beating:
                thread.join()


@pytest.mark.usefixtures("kind")
def test_a_holder_beats(path, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.02)
    with holding(path, 0):
        seen = set()
        end = time.monotonic() + 300
        while len(seen) < 4:
            assert time.monotonic() < end
            time.sleep(0.001)
            seen.add(path.stat().st_mtime_ns)


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"pid": 3}', '{"host": 1, "pid": "x", "started": 1, "since": 2}']
)
def test_a_text_that_is_not_whole_holds_nothing(text, path):
    path.parent.mkdir()
    path.write_text(text)
    assert not is_held(path)
    with holding(path, 0):
        pass


def test_patience_outlasts_a_look(path):
    path.parent.mkdir()
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        threading.Timer(0.2, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        with holding(path, 10):
            pass
