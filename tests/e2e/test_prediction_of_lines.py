"""``gatewise predict`` of a pipe and at a terminal, and ``gatewise evaluate`` with weights that learn."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import select
import subprocess
import sys
import time

import pytest
from workplace import Place, Result

TEXTS = ("the king said to the people", "go up and the people went up", "and the lord said to the king")
TINY = ("trainer.max_epochs=2", "model.hidden_size=8", "model.engine=function", "data.batch_size=4")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("lines"))
    (place.folder / "mine.txt").write_text("\n".join(TEXTS * 60) + "\n")
    place.train("experiment=text/files", "data.files=[mine.txt]", *TINY)
    return place


def piped(place: Place, content: bytes, *settings: str, **more: object) -> Result:
    """What ``gatewise predict`` says to these bytes on its standard input."""
    command = [sys.executable, "-m", "gatewise", "predict", "run=last", *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, input=content, cwd=place.folder, capture_output=True, env=environment, **more
    )  # type: ignore[call-overload]
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_lines_of_a_pipe_are_answered_one_for_one(place: Place) -> None:
    found = piped(place, b"the king\r\n\n\xff\nthe queen", "format=jsonl", "task.length=3")
    rows = [json.loads(line) for line in found.out.split("\n")[:-1]]
    assert [row["text"] for row in rows] == ["the king", "", "", "the queen"]
    assert rows[3]["unknown"] == ["queen"]
    assert rows[3]["continuations"][0].startswith("the <unk> ")
    assert found.err == (
        "gatewise: line 3: byte 0xff at offset 0 is not UTF-8: send text in UTF-8\n"
        "gatewise: error: 1 line(s) could not be answered; their place is left empty\n"
    )
    assert found.code == 1


def test_a_file_answers_as_lines_and_tables_do(place: Place) -> None:
    """The same text: as words, as a line, and in every format of a file."""
    words = "input=the king said"
    place.ok("predict", words, "task.surprise=true", "output=a.json")
    place.ok("predict", words, "task.surprise=true", "output=a.jsonl")
    place.ok("predict", words, "task.surprise=true", "output=a.txt")
    table = json.loads((place.folder / "a.json").read_text())
    assert [json.loads(line) for line in (place.folder / "a.jsonl").read_text().splitlines()] == table
    assert [row["token"] for row in table] == ["the", "king", "said"]
    assert table[0]["bits"] is None
    total, tokens = (place.folder / "a.txt").read_text().split("\t")
    assert float(total) == pytest.approx(sum(row["bits"] for row in table[1:]), abs=1e-3)
    assert tokens.split()[0] == "the"
    shown = place.ok("predict", words, "task.surprise=true").out
    assert f"{float(total):.3f} bits for 2 token(s) after the first" in shown


def test_inputs_and_formats_that_do_not_fit(place: Place) -> None:
    for settings, message in {
        ("output=a.csv", "format=jsonl"): "format=jsonl: output=a.csv is the name of csv: change one",
        ("format=tsv",): "format='tsv' is unknown (did you mean 'csv'?)",
        ("input=-", "format=json"): "a JSON file is one list, which cannot grow line by line",
        ("input=the king", "task.samples=2"): "samples=2 with temperature=0 would be the same text 2 times",
    }.items():
        assert message in place("predict", *settings).line()
    assert "task.dynamics: no such setting of an evaluation; did you mean dynamic?" in (
        place("evaluate", "task.dynamics=sgd").line()
    )


def test_dynamic_evaluation_stands_beside_the_test_and_changes_no_file(place: Place) -> None:
    folder = place.last().folder
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.*")}
    place.ok("evaluate", "output=static.json")
    shown = place.ok("evaluate", "task.dynamic=rms", "task.dynamic_rate=0.002", "output=both.json").out
    static, both = (
        json.loads((place.folder / name).read_text())["test"] for name in ("static.json", "both.json")
    )
    assert {name: both.pop(name) for name in static} == static
    assert set(both) == {f"dynamic_{name}" for name in static}
    assert both["dynamic_loss"] != static["loss"]
    assert "dynamic_perplexity" in shown
    after = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.*")}
    assert after == before


@pytest.mark.slow
def test_a_run_that_takes_no_words_asks_for_its_input(place: Place) -> None:
    rows = "".join(f"{1800 + i}-01-01,{i % 7}\n" for i in range(200))
    (place.folder / "rows.csv").write_text(f"date,x\n{rows}")
    settings = ("data.file=rows.csv", "data.time_column=date", "data.lookback=12", "data.horizon=2")
    run = place.train("experiment=series/csv", *settings, "trainer.max_epochs=1").folder
    assert piped(place, b"", f"run={run}").err.endswith("input: a value is required, e.g. input=...\n")
    assert "predicts from files alone" in piped(place, b"", f"run={run}", "input=-").err


@pytest.mark.slow
def test_whoever_reads_may_stop(place: Place) -> None:
    command = f"yes 'the king' | {sys.executable} -m gatewise predict run=last {{}} | head -2"
    for setting in ("", "output=-", "format=csv"):
        done = subprocess.run(
            command.format(setting),
            shell=True,
            cwd=place.folder,
            capture_output=True,
            timeout=120,
            check=True,
        )
        assert (len(done.stdout.splitlines()), done.stderr) == (2, b"")


@pytest.mark.slow
@pytest.mark.parametrize("end", [b"\n", b"\x04", b"\x03"], ids=["empty line", "Ctrl-D", "Ctrl-C"])
def test_a_terminal_is_talked_to(place: Place, end: bytes) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(place.folder)
        os.execv(sys.executable, [sys.executable, "-m", "gatewise", "predict", "run=last", "task.length=3"])
    said = b""
    typed = iter([b"the queen\n", end])
    deadline = time.monotonic() + 120
    with contextlib.suppress(OSError, StopIteration):  # the terminal is gone once the process has ended
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 1)[0]:
                said += os.read(terminal, 4096)
                if said.endswith(b"> "):
                    said += b"."
                    os.write(terminal, next(typed))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert b"an empty line ends" in said
    assert b"the <unk> " in said
    assert b"read as <unk>: queen" in said
    assert b"Traceback" not in said
