"""gatewise data: list, get and show."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from gatewise.cli.completion import answers
from gatewise.cli.data import of_package, size_of
from gatewise.cli.main import main
from gatewise.data.known.finding import Places, state
from gatewise.data.known.sets import PIP_SETS, SETS, KnownSet
from http_source import Source, head, made_set
from public_data import public_data

CONTENT = b"first line \x1b[31m\n" + b"a longer line, " * 20 + b"\nlast\n"


def some(values: Iterable[Any], *quick: Any) -> list[Any]:
    """Parameters of a test, of which all but ``quick`` are variations."""
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWISE_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def made(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KnownSet]:  # noqa: ARG001
    """A set of two files that a server on this machine has."""

    source = Source()
    source.files = {"a.txt": CONTENT, "b.txt": CONTENT}
    known = made_up(source.url)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setitem(SETS, "made", known)
    yield known
    source.close()


def made_up(source: str) -> KnownSet:
    return made_set(source, {"a.txt": CONTENT, "b.txt": CONTENT}, looked_at=("a.txt",))


@pytest.mark.usefixtures("made")
def test_the_list_has_every_set_and_fits(place: Path, capsys) -> None:
    (place / "data" / "made").mkdir(parents=True)
    (place / "data" / "made" / "a.txt").write_bytes(CONTENT)
    for words in (["data"], ["data", "list"]):
        assert main(words) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert max(map(len, out.splitlines())) <= 80
        lines = {line.split()[0]: line.rstrip() for line in out.splitlines() if line.strip()}
        assert {*SETS, *PIP_SETS} <= set(lines)
        assert lines["made"].endswith("partly")
        assert lines["mr"].endswith("not here")
        assert lines["sunspots"].endswith("comes with pip")
    (place / "data" / "made" / "a.txt").write_bytes(CONTENT[::-1])
    assert main(["data", "list"]) == 0
    assert "damaged" in capsys.readouterr().out


def test_a_set_is_got_and_shown(place: Path, made: KnownSet, capsys) -> None:
    assert main(["data", "show", "made"]) == 0
    assert "Nothing to look at yet: " in capsys.readouterr().out
    assert main(["data", "get", "made", "sunspots"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "made: here, 2 files, checked, in data/downloads/made",
        "sunspots: comes with pip (statsmodels)",
    ]
    assert err.startswith("gatewise: downloading made (")
    assert err.count("\n") == 1
    assert state(Places(made, place / "data")).word == "here"
    assert main(["data", "get", "made"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["data", "show", "made"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for words in ("here, in data/downloads/made", "known:made/a.txt", "none", "nobody", "  last\n"):
        assert words in out
    assert "  first line \\x1b[31m\n" in out
    assert "\x1b" not in out


@pytest.mark.usefixtures("made")
def test_the_folder_is_a_setting(place: Path, capsys) -> None:
    assert main(["data", "get", "made", "paths.data_dir=elsewhere"]) == 0
    assert "in elsewhere/downloads/made" in capsys.readouterr().out
    assert (place / "elsewhere" / "downloads" / "made" / "a.txt").read_bytes() == CONTENT


@pytest.mark.parametrize("name", some(PIP_SETS, "king_james"))
@pytest.mark.usefixtures("place")
def test_what_comes_with_pip_is_shown(name: str, capsys) -> None:
    assert main(["data", "show", name]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "comes with pip" in out
    begins = {"king_james": "  In the beginning God", "sunspots": "  1749", "japanese_vowels": "  1.860936,"}
    assert begins[name] in out


def test_the_size_is_that_of_every_file() -> None:
    greek = PIP_SETS["greek_new_testament"]
    (place,), _ = of_package(greek)
    files = list(place.parent.glob("*-morphgnt.txt"))
    assert len(files) == 27
    assert size_of(greek, [place]) == sum(map(len, map(Path.read_bytes, files)))


@pytest.mark.parametrize("name", some(SETS, "fsdd", "wnut17"))
def test_what_is_here_is_shown(name: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # noqa: ARG001
    monkeypatch.setenv("GATEWISE_DATA", str(public_data(name)))
    assert main(["data", "show", name]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "here, in " in out
    for file in SETS[name].looked_at:
        assert f"\n{file.rpartition('/')[2]}\n  " in out


MISSPELT = [
    (["lst"], 2, "data lst: say list, get or show; did you mean list?"),
    (["mr"], 2, "data mr: say what to do with it: data get, or data show"),
    (["x\x1b[31m"], 2, "data x\\x1b[31m: say list, get or show"),
    (["list", "mr"], 2, "data list takes no name, got mr: data show shows one set"),
    (["get"], 2, "data get: give the name of a set"),
    (["show"], 2, "data show: give the name of one set"),
    (["show", "mr", "fsdd"], 2, "data show: give the name of one set"),
    (
        ["get", "tinyshakespere"],
        1,
        "tinyshakespere: no such set (did you mean 'tinyshakespeare'?); choose",
    ),
    (["show", "kingjames"], 1, "kingjames: no such set; did you mean king_james?"),
    (["get", "king_james", "\x1b[31m"], 1, "\\x1b[31m: no such set; choose one of: mr, "),
    (["get", "../mr"], 1, "../mr: no such set (did you mean 'mr'?)"),
    (["list", "paths.data_dri=x"], 1, "paths.data_dri: no such setting; did you mean paths.data_dir?"),
]


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        *MISSPELT[::4],
        *(pytest.param(*each, marks=pytest.mark.slow) for i, each in enumerate(MISSPELT) if i % 4),
    ],
)
def test_what_is_misspelt_is_one_line(place: Path, words: list[str], code: int, line: str, capsys) -> None:
    assert main(["data", *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"gatewise: error: {line}")
    assert err.count("\n") == 1
    assert list(place.iterdir()) == []


def test_without_a_network_it_is_one_line(place: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setitem(SETS, "made", made_up("http://127.0.0.1:9/"))
    assert main(["data", "get", "made"]) == 1
    begun, error = capsys.readouterr().err.splitlines()
    assert begun.startswith("gatewise: downloading made (")
    by_hand = f"put {place / 'data' / 'made' / 'a.txt'} there by hand, from http://127.0.0.1:9/a.txt"
    assert error.startswith("gatewise: error: made cannot be downloaded: Connection refused: ")
    assert by_hand in error


def test_the_words_are_completed() -> None:
    configs = {"data": "data"}
    assert {"list", "get", "show"} <= set(answers(["gatewise", "data"], "", configs))
    assert answers(["gatewise", "data"], "sh", configs) == ["show"]
    assert answers(["gatewise", "data", "get"], "tiny", configs) == ["tinyshakespeare"]
    assert answers(["gatewise", "data", "show", "paths.data_dir=x"], "king", configs) == ["king_james"]
    assert "mr" not in answers(["gatewise", "data", "list"], "m", configs)


INTERRUPTED = """
import sys
from gatewise.cli.main import main
from gatewise.data.known.sets import SETS
from test_data import made_up
SETS["made"] = made_up(sys.argv[1])
sys.exit(main(["data", "get", "made"]))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("made")
def test_an_interrupt_leaves_what_the_next_one_goes_on_from(place: Path) -> None:
    def stalls(handler, content):
        head(handler, 200, Content_Length=len(content))
        handler.wfile.write(content[:100])
        handler.wfile.flush()
        time.sleep(30)

    stalling = Source()
    stalling.files, stalling.always = {"a.txt": CONTENT}, stalls
    tests = Path(__file__).parent
    paths = os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, stalling.url],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    part = place / "data" / "downloads" / "made" / ".a.txt.part"
    end = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size == 100) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    stalling.close()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "gatewise: interrupted"
    assert part.read_bytes() == CONTENT[:100]
    assert main(["data", "get", "made"]) == 0
    assert (part.parent / "a.txt").read_bytes() == CONTENT
    assert not part.exists()


def test_recordings_are_drawn_and_a_path_to_play_them_is_named(place: Path, capsys) -> None:
    for name in ("a", "b"):
        soundfile.write(place / f"{name}.wav", np.sin(np.arange(4000)) / 2, 8000)
    assert main(["data", "show", "a.wav", "output=seen.png"]) == 0
    out = capsys.readouterr().out
    assert "  0.50 s, 8000 Hz, 1 channel\n  play a.wav\n" in out
    assert "Picture  seen.png" in out
    assert (place / "seen.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert main(["data", "show", "."]) == 0
    assert "play b.wav" in capsys.readouterr().out
    (place / "c.wav").write_text("no sound")
    assert main(["data", "show", "c.wav"]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("gatewise: error: c.wav cannot be read as sound")
    assert err.count("\n") == 1
