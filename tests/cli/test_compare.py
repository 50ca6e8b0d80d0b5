"""`gatewise compare` from the command line: what it reads, writes, says and serves."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from gatewise.cli.words import gathered
from made_runs import made_run


def compare(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gatewise", "compare", *words]
    environment = {**os.environ, "COLUMNS": "120"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=120)


def test_everything_in_runs(tmp_path):
    made_run(tmp_path / "runs" / "speech" / "a", {"optimizer.lr": 0.1})
    made_run(tmp_path / "runs" / "speech" / "b", state="failed", reason="ValueError: nan")
    (tmp_path / "runs" / "speech" / "b" / "metrics.csv").write_text("epoch,step\n1,")
    done = compare(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 runs" in done.stdout
    assert "failed: b: ValueError: nan" in done.stdout
    assert "compare.html" in done.stdout
    with (tmp_path / "compare.csv").open(newline="") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert rows["speech/mine/a"]["optimizer.lr"] == "0.1"
    assert rows["speech/mine/b"]["reason"] == "ValueError: nan"
    page = (tmp_path / "compare.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "default-src 'none'" in page


def test_what_is_named(tmp_path):
    made_run(tmp_path / "runs" / "speech" / "a")
    made_run(tmp_path / "runs" / "text" / "x=1, [2]")
    done = compare(tmp_path, "runs/te*", "output=other.html")
    assert done.returncode == 0
    assert "1 run " in done.stdout
    assert (tmp_path / "other.csv").is_file()
    assert compare(tmp_path, "runs/text/x=1, [2]", "output=null").returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no runs found in runs: train one first"),
        (["run"], "run: there is no such folder; did you mean runs?"),
        (["runs", "output=x.txt/y.html"], "there is no folder x.txt"),
        (["runs", "output=x.pdf"], "is written as HTML"),
        (["runs", "output=x"], "is written as HTML: name it x.html"),
        (["port=x"], "port"),
        (["outptu=x.html"], "did you mean output?"),
        (["--wach"], "no such option"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, words, message):
    (tmp_path / "runs").mkdir()
    if words:
        made_run(tmp_path / "runs" / "a" / "1")
    done = compare(tmp_path, *words)
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert message in line
    assert not list(tmp_path.glob("*.csv"))


def test_words_that_are_no_settings():
    assert gathered(["a b", "output=x", "it's", "-c", "job", "--watch"], "runs") == [
        "output=x",
        "-c",
        "job",
        "watch=true",
        r"runs=['a b','it\'s']",
    ]
    assert gathered(["output=x"], "runs") == ["output=x"]


def test_watching_follows_the_runs(tmp_path):
    folder = made_run(tmp_path / "runs" / "a" / "1", losses=(0.5,))
    command = [sys.executable, "-u", "-m", "gatewise", "compare", "--watch", "port=8431"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as served:
        try:
            assert served.stdout is not None
            address = ""
            while not address:
                line = served.stdout.readline()
                assert line, "it ended"
                found = re.search(r"http://127\.0\.0\.1:\d+/\S+/", line)
                address = found[0] if found else ""
            page, version = read(address), read(f"{address}version")
            assert "connect-src 'self'" in page
            assert version == read(f"{address}version")
            metrics = folder / "metrics.csv"
            metrics.write_text(f"{metrics.read_text()}2,20,0.1,0.25\n")
            assert read(f"{address}version") != version
            assert page != read(address)
            for wrong in (
                address.rsplit("/", 2)[0] + "/",
                f"{address}../version",
                f"{address}x",
                f"{address}%2e",
            ):
                with pytest.raises(urllib.error.HTTPError, match="404"):
                    read(wrong)
            with pytest.raises(urllib.error.HTTPError, match="404"):
                read(address, Host="elsewhere.example")
            # A second one takes the next port, and says so.
            with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as second:
                assert second.stdout is not None
                try:
                    assert re.search(r"port \d+ is taken: \d+ is used", second.stdout.readline())
                finally:
                    second.send_signal(signal.SIGINT)
        finally:
            served.send_signal(signal.SIGINT)
        assert served.wait(timeout=60) == 0


def read(address: str, **headers: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60) as answer:
        return answer.read().decode()
