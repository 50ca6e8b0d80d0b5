"""`gatewise inspect` on runs of each kind: what it says, what it writes, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra

from gatewise.cli.main import main
from gatewise.config.check_run import looked_at

LEFT = Path(__file__).parents[1] / "e2e" / "before_the_move"
"""Runs of an earlier version, with the files that they were trained on."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A working folder with runs of three kinds."""
    folder = tmp_path_factory.mktemp("inspected")
    shutil.copytree(LEFT / "trainings", folder / "runs")
    for name in ("tones.ts", "wave.csv", "gates.txt"):
        shutil.copy(LEFT / name, folder)
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".ckpt":
            path.write_text(path.read_text().replace("@HERE@", str(folder)))
    return folder


@pytest.fixture(autouse=True)
def _here(trained, monkeypatch):
    monkeypatch.chdir(trained)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("GATEWISE_TRACEBACK", raising=False)
    yield
    GlobalHydra.instance().clear()
    for name in ("inspect.html", "inspect.npz", "x.npz"):
        Path(name).unlink(missing_ok=True)


def run_of(kind, number=0):
    return f"runs/{kind}/{sorted(path.name for path in Path('runs', kind).iterdir())[number]}"


def payload(path="inspect.html"):
    text = Path(path).read_text("utf-8")
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1]
    )


def test_words_of_a_text_model(capsys):
    run = run_of("text/files")
    assert main(["inspect", f"run={run}", "checkpoint=last", "input=The gate, zzz"]) == 0
    out, _ = capsys.readouterr()
    assert "the most probable next word is" in out
    assert "Page   inspect.html" in out
    (model,) = payload()["models"]
    assert model["names"] == ["the", "gate", ",", "zzz"]
    assert (model["task"], model["run"]) == ("LanguageModelling", str(Path(run).resolve()))
    assert model["input"] == "The gate, zzz"
    assert payload()["matching"] is None
    assert not Path("inspect.npz").exists()


def test_one_sequence_of_a_file_with_its_arrays(capsys):
    run = run_of("speech/files")
    assert main(["inspect", f"run={run}", "input=tones.ts", "sequence=2", "arrays=x.npz"]) == 0
    assert "Arrays x.npz" in capsys.readouterr().out
    (model,) = payload()["models"]
    assert model["input"].startswith("tones.ts, sequence 2 of ")
    with np.load("x.npz") as arrays:
        assert arrays["h"].shape[2:] == (model["steps"], model["hidden"])
        assert arrays["left_out"].shape == (model["steps"],)
    assert "features" in model["follows"]


def test_a_series(capsys):
    assert main(["inspect", f"run={run_of('series/csv')}", "input=wave.csv"]) == 0
    assert "nearest forecast" in capsys.readouterr().out
    (model,) = payload()["models"]
    assert model["step"] == "time"
    assert len(model["names"]) == model["steps"]
    assert model["clamps"]["loss"] == 0


def test_two_runs_are_matched_and_two_inputs_are_not(capsys):
    first, second = run_of("speech/files"), run_of("speech/files", 1)
    words = ["inspect", f"run={first}", "input=tones.ts"]
    assert main([*words, f"run2={second}"]) == 0
    values = payload()
    assert len(values["models"]) == 2
    pairs = values["matching"][0]["pairs"]
    hidden = [model["hidden"] for model in values["models"]]
    assert len(pairs) <= min(hidden)
    assert len({pair[0] for pair in pairs}) == len({pair[1] for pair in pairs}) == len(pairs)
    assert main([*words, "sequence2=3"]) == 0
    values = payload()
    assert values["matching"] is None
    assert [model["input"][:20] for model in values["models"]] == [
        "tones.ts, sequence 1",
        "tones.ts, sequence 3",
    ]
    assert main([*words, f"run2={second}", "sequence2=3"]) == 0
    assert payload()["matching"][0]["pairs"] == pairs
    capsys.readouterr()


def test_without_its_data_the_page_still_comes(capsys):
    run = run_of("speech/files")
    Path("tones.ts").rename("elsewhere.ts")
    try:
        assert main(["inspect", f"run={run}", "input=elsewhere.ts"]) == 0
    finally:
        Path("elsewhere.ts").rename("tones.ts")
    (model,) = payload()["models"]
    assert "problem" in model["follows"]
    assert "tones.ts" in model["problems"][0]
    assert "tones.ts" in capsys.readouterr().out


def test_the_page_alone_goes_to_the_standard_output(capfd):
    assert main(["inspect", f"run={run_of('series/csv')}", "input=wave.csv", "output=-"]) == 0
    out, _ = capfd.readouterr()
    assert out.startswith("<!DOCTYPE html>")
    assert out.endswith("</html>\n")


def test_what_has_no_room_on_the_page_is_in_a_file_beside_it(monkeypatch, capsys):
    monkeypatch.setattr("gatewise.inspection.look.units_that_fit", lambda *_: 2)
    assert main(["inspect", f"run={run_of('series/csv')}", "input=wave.csv"]) == 0
    assert "Arrays inspect.npz" in capsys.readouterr().out
    (model,) = payload()["models"]
    with np.load("inspect.npz") as arrays:
        assert arrays["h"].shape[-1] == model["hidden"] > 2


MISTAKES = [
    (["run=nosuch", "input=tones.ts"], "run=nosuch"),
    (["run={speech}", "input=tones.tz"], "input=tones.tz: there is no such file"),
    (["run={speech}", "input=wave.csv"], "wave.csv"),
    (["run={speech}", "input="], "input=: there is no such file"),
    (["run={speech}", "input=runs"], "input=runs: is a folder: give a file in it"),
    (["run={text}", "input=runs/text"], "input=runs/text: is a folder: give a file in it"),
    (["run={text}", "input=the", "input2="], "input2: the text '' holds no token: give at least one word"),
    (["run={text}", "input=the", "run2={speech}"], "give it an input of its own with input2=..."),
    (["run={text}", "checkpoint=last", "input="], "holds no token: give at least one word"),
    (["run={speech}", "input=tones.ts", "sequence=999"], "sequence=999: 'tones.ts' has "),
    (["run={speech}", "input=tones.ts", "sequence=0"], "sequence must be a whole number of at least 1"),
    (["run={speech}", "input=tones.ts", "sequence2=x"], "sequence2 must be a whole number"),
    (["run={speech}", "input=tones.ts", "run2={series}"], "give it an input of its own with input2=..."),
    (["run={speech}", "input=tones.ts", "run2=nosuch"], "run2=nosuch"),
    (["run={speech}", "input=tones.ts", "input2=none.ts"], "input2=none.ts: there is no such file"),
    (["run={speech}", "input=tones.ts", "output=x.pdf"], "is written as HTML"),
    (["run={speech}", "input=tones.ts", "output=x.txt"], "is written as HTML: name it x.html"),
    (["run={speech}", "input=tones.ts", "output=v1.2"], "is written as HTML: name it v1.2.html"),
    (["run={speech}", "input=tones.ts", "arrays=x.csv"], "is written as NPZ"),
    (["run={text}", "input=text.html", "output=text.html"], "is the input: name another file"),
    (["run={speech}", "input=tones.ts", "checkpoint=first"], "checkpoint"),
    (["run={speech}", "inptu=tones.ts"], "did you mean input?"),
    (["run={speech}"], "input"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_a_mistake_is_one_line(words, message, capsys):
    runs = {
        kind: run_of(f"{kind}/{name}")
        for kind, name in (("speech", "files"), ("series", "csv"), ("text", "files"))
    }
    Path("text.html").write_text("the")
    assert main(["inspect", *(word.format(**runs) for word in words)]) != 0
    out, err = capsys.readouterr()
    (line,) = [each for each in err.splitlines() if each.startswith("gatewise: error: ")]
    assert message in line
    assert err.count("\n") == 1
    assert out == ""
    assert not Path("inspect.html").exists()


def test_an_input_longer_than_the_memory(monkeypatch, capsys):
    monkeypatch.setattr("gatewise.inspection.look.memory", lambda: 1000)
    assert main(["inspect", f"run={run_of('speech/files')}", "input=tones.ts"]) != 0
    err = capsys.readouterr().err
    assert re.search(r"error: input=tones.ts: \d+ steps × .* give at most \d+ steps", err)


def test_a_run_without_a_checkpoint(trained, capsys):
    run = trained / "runs" / "copies" / "1"
    shutil.copytree(run_of("speech/files"), run)
    shutil.rmtree(run / "checkpoints")
    try:
        assert main(["inspect", f"run={run}", "input=tones.ts"]) != 0
    finally:
        shutil.rmtree(run.parent)
    assert "has no checkpoint 'best' (found: none)" in capsys.readouterr().err


def test_only_what_is_given_is_put_beside():
    from omegaconf import OmegaConf

    config = {"run": "a", "input": "x", "sequence": 1, "run2": None, "input2": None, "sequence2": None}
    assert len(looked_at(OmegaConf.create(config))) == 1
    _, second = looked_at(OmegaConf.create({**config, "input2": "y"}))
    assert second == ("a", "y", 1, ("run", "input2", "sequence"))


def test_nothing_is_imported_for_a_table_that_no_page_has():
    """pandas takes three tenths of a second, and an inspection of a few seconds has no use for it."""
    code = (
        "import sys, gatewise.cli.inspect, gatewise.tasks.language_modelling; print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
