"""`gatewise draw`: what the page shows as one writes, and what its server refuses."""

from __future__ import annotations

import base64
import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from browser import browser
from gatewise.cli.draw import Pen
from gatewise.cli.main import main
from gatewise.data.strokes import JoinedStrokes
from gatewise.nn import Recurrent
from gatewise.tasks.recognition import Recognition
from made_strokes import SHAPES, write_shapes

LEFT = Path(__file__).parents[1] / "e2e" / "before_the_move"
SMALL = ["trainer.max_epochs=12", "model.hidden_size=8", "model.engine=function", "optimizer.lr=0.03"]
QUIET = ["wandb.mode=disabled", "data.neighbours=false", "~callbacks.learning_curves"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with a run that tells three shapes apart."""
    folder = tmp_path_factory.mktemp("drawn")
    write_shapes(folder / "mine.pen")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = ["train", "experiment=strokes/files", "data.train_file=mine.pen", *SMALL, *QUIET]
        assert main(words) == 0
        GlobalHydra.instance().clear()
    return folder


@pytest.fixture(scope="module")
def address(folder):
    """Where the page of this run is served."""
    command = [sys.executable, "-u", "-m", "gatewise", "draw", "port=8461"]
    (folder / "mine.pen").rename(folder / "gone.pen")  # the run directory alone is enough
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as served:
        try:
            assert served.stdout is not None
            found = None
            while found is None:
                line = served.stdout.readline()
                assert line, "it ended"
                found = re.search(r"http://127\.0\.0\.1:\d+/\S+/", line)
            yield found[0]
        finally:
            served.send_signal(signal.SIGINT)
        assert served.wait(timeout=60) == 0


def sent(address, content, **headers):
    """(Status, text) of what the server answers to what a page sends."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    asked = {"Content-Type": "application/json", **headers}
    try:
        request = urllib.request.Request(f"{address}answer", body, asked)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_answer_and_the_gates_of_what_is_written(address):
    for label, strokes in SHAPES.items():
        status, text = sent(address, {"strokes": strokes})
        answer = json.loads(text)
        assert (status, answer["answer"], answer["choices"][0][0]) == (200, label, label)
        assert sum(share for _, share in answer["choices"]) == pytest.approx(1, abs=1e-5)
        assert [layer["backward"] for layer in answer["layers"]] == [False, True]
        for layer in answer["layers"]:
            assert set(layer["arrays"]) == {"i", "f", "n", "o", "h", "c"}
            for gate in layer["arrays"].values():
                steps = len(answer["places"])
                assert (gate["units"], gate["steps"]) == (8, steps)
                values = np.frombuffer(base64.b64decode(gate["values"]), np.uint8)
                assert len(values) == 8 * steps
                assert values.max() <= 254
        # From the first point to the last one.
        np.testing.assert_allclose(answer["places"][0], strokes[0][0], atol=0.01)
        np.testing.assert_allclose(answer["places"][-1], strokes[-1][-1], atol=0.01)


WRONG = {
    b"{": "this is no JSON",
    b"[1]": 'send {"strokes"',
    b'{"strokes": [[[0, 0]]], "more": 1}': 'send {"strokes"',
    b'{"strokes": []}': "strokes must be a list of strokes",
    b'{"strokes": [[]]}': "stroke 1 must be a list of points",
    b'{"strokes": [[["<b>", 1]]]}': "stroke 1 must be a list of points",
    b'{"strokes": [[[NaN, 1]]]}': "a point that is no number",
    b'{"strokes": [[[1e300, 1]]]}': "a point that is no number, or larger",
}


def test_what_is_no_writing_is_refused(address):
    for body, said in WRONG.items():
        status, text = sent(address, body)
        assert (status, said in text, "\n" in text) == (400, True, False), text
    place = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(place.netloc, timeout=60)
    json_of = {"Content-Type": "application/json"}
    connection.request("POST", f"{place.path}answer", b"", {**json_of, "Content-Length": "2000000"})
    assert connection.getresponse().status == 413  # before it has read any of it


def test_nobody_else_is_answered(address):
    good = {"strokes": SHAPES["L"]}
    assert sent(address, good, Host="elsewhere.example")[0] == 404
    assert sent(address, good, Origin="http://elsewhere.example")[0] == 404
    assert sent(address, good, **{"Content-Type": "text/plain"})[0] == 415
    assert sent(address.rsplit("/", 2)[0] + "/", good)[0] == 404
    with urllib.request.urlopen(address, timeout=60) as reply:
        page = reply.read().decode()
    assert "connect-src 'self'" in page
    assert not re.search(r"https?://(?!www\.w3\.org/)", re.sub(r"/\*.*?\*/", "", page, flags=re.DOTALL))
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{address}answer", timeout=60)


def test_writing_in_a_browser(address):
    with browser() as running:
        context = running.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(address) else complaints.append(r.url))
        page.goto(address)
        box = page.locator("canvas.sheet").bounding_box()
        for label in ("L", "V"):
            for stroke in SHAPES[label]:
                points = [(box["x"] + 60 + 22 * x, box["y"] + 280 - 22 * y) for x, y in stroke]
                page.mouse.move(*points[0])
                page.mouse.down()
                for x, y in points[1:]:
                    page.mouse.move(x, y, steps=6)
                page.mouse.up()
            waited(page)
            assert page.locator(".answer").inner_text() == label
            assert page.locator("canvas.gates").count() == 12
            assert page.locator(".choices th").count() == 3
            page.locator("canvas.gates").first.hover()
            page.locator("#undo" if label == "L" else "#clear").click()
            waited(page)
            assert page.locator("canvas.gates").count() == 0
        assert page.locator(".problem").inner_text() == ""
        assert complaints == []
        context.close()


def waited(page):
    end = time.monotonic() + 60
    while page.locator("html").get_attribute("data-answered") != "yes":
        assert time.monotonic() < end
        time.sleep(0.01)


def test_only_a_run_that_reads_strokes_can_draw(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    left = next((LEFT / "trainings" / "speech" / "files").iterdir())
    run = shutil.copytree(left, folder / "runs" / "speech")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("@HERE@", str(folder)))
    assert main(["draw", f"run={run}"]) != 0
    assert "was trained on labelled feature sequences: draw takes a run" in capsys.readouterr().err
    assert main(["draw", "port=x"]) != 0
    assert "port must be a whole number" in capsys.readouterr().err
    assert main(["draw", "port=99999"]) != 0
    assert "port=99999" in capsys.readouterr().err
    GlobalHydra.instance().clear()


def test_the_strokes_are_drawn_with_the_answer(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(folder)
    file = next(folder.glob("*.pen"))
    assert main(["predict", f"input={file}", f"output={tmp_path / 'drawn.png'}"]) == 0
    assert (tmp_path / "drawn.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    GlobalHydra.instance().clear()


def test_lines_are_answered_with_their_transcript(tmp_path):
    made = {"train_file": str(write_shapes(tmp_path / "a.pen")), "train_lines": 8}
    data = JoinedStrokes(**made, validation_lines=2, test_lines=2, least=2, most=3, seed=1)
    data.setup()
    torch.manual_seed(0)
    model = partial(Recurrent, hidden_size=6, bidirectional=True, engine="function")
    task = Recognition(model, data.facts, stack=2).eval()
    pen = Pen(task, data.facts, JoinedStrokes)
    given = JoinedStrokes.read_strokes(SHAPES["V"] + SHAPES["O"], data.facts)
    answer = json.loads(pen.answer(json.dumps({"strokes": SHAPES["V"] + SHAPES["O"]}).encode()))
    assert answer["answer"] == task.predict_step(given.batch)[0]
    assert answer["choices"] == []
    steps = -(-int(given.batch.lengths[0]) // 2)
    assert len(answer["places"]) == answer["layers"][1]["arrays"]["f"]["steps"] == steps
    name, drawn = task.answer(given).picture
    assert (name, drawn["answers"]) == ("strokes", [answer["answer"]])
