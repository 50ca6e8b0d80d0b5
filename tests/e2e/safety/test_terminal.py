"""Names with escape codes and line breaks, in data, in settings and in a run: the terminal obeys none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from workplace import Place

CODES = "\x1b[31mred\x1b[2J\nFORGED: all is well\u202e"
FAST = (
    "logger=none",
    "threads=1",
    "model.hidden_size=2",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
)


def check(*texts: str) -> None:
    for text in texts:
        shown = text.replace("\n", "")
        assert shown.isprintable(), [c for c in shown if not c.isprintable()]
        assert not [line for line in text.splitlines() if line.startswith("FORGED")]


def write_files(folder: Path, name: str) -> None:
    """``odd.npz`` of two classes, ``odd.csv`` of a column and ``odd.txt``, with ``name`` in each."""
    draw = np.random.default_rng(0)
    labels = np.array([f"{name} {i}" for i in range(2)])[np.arange(40) % 2]
    lengths = np.full(40, 5)
    np.savez(folder / "odd.npz", values=draw.normal(size=(200, 2)), lengths=lengths, labels=labels)
    rows = [f"2024-{1 + day // 28:02}-{1 + day % 28:02},{draw.normal():.3f}" for day in range(200)]
    (folder / "odd.csv").write_text(f'date,"{name}"\n' + "\n".join(rows) + "\n")
    (folder / "odd.txt").write_text(f"the king saw {name} and the prophet\n" * 200)


SERIES = ("data.file=odd.csv", "data.time_column=date", "data.lookback=8", "data.horizon=2")
TRAININGS = {
    "classes": (("experiment=speech/features", "data.train_file=odd.npz"), "odd.npz"),
    "columns": (("experiment=series/csv", *SERIES), "odd.csv"),
    "words": (
        ("experiment=text/files", "data.files=[odd.txt]", "data.tokenizer=char", "task.embedding_size=2"),
        "the king",
    ),
}
PLAIN = "calm"


SLOW = [pytest.param(what, marks=pytest.mark.slow) for what in ("columns", "words")]


@pytest.mark.slow
@pytest.mark.parametrize("what", TRAININGS)
def test_names_in_data(place: Place, what: str) -> None:
    write_files(place.folder, CODES)
    trained = place("train", *FAST, *TRAININGS[what][0])
    check(trained.out, trained.err)
    assert what == "words" or trained.err.count("\n") == 1


@pytest.mark.parametrize("what", ["classes", *SLOW])
def test_names_in_the_run_of_a_stranger(place: Place, what: str) -> None:
    write_files(place.folder, PLAIN)
    settings, given = TRAININGS[what]
    place.ok("train", *FAST, *settings)
    run = place.last()
    for name in (
        "facts.json",
        "test_report.json",
        "config.yaml",
        "overrides.yaml",
        "metrics.csv",
        "summary.json",
    ):
        path = run.folder / name
        text = path.read_text()
        other = json.dumps(CODES)[1:-1] if name.endswith(".json") else CODES.replace("\n", "")
        path.write_text(text.replace(PLAIN, other).replace('"e"', f'"{other}"').replace("japan", other))
    for words in (
        (
            "predict",
            "run=last",
            f"input={given}",
            "output=answer.csv",
            *(["task.length=9"] * (what == "words")),
        ),
        ("evaluate", "run=last"),
        ("train", "resume=last", "trainer.max_epochs=2"),
    ):
        result = place(*words)
        check(result.out, result.err, run.log_file.read_text(encoding="utf-8"))
        assert result.code == 0 or result.err.count("\n") == 1, result.err


REFUSED = [
    ("train", "experiment=series/csv", "data.file=odd.csv", "data.time_column=t"),
    ("train", "experiment=series/csv", f"data.file='{CODES}.csv'"),
    ("train", f"name={CODES}"),
    ("train", f"model={CODES}"),
    ("train", f"{CODES}=3"),
    ("train", f"--{CODES}"),
    ("train", "--config-dir", CODES),
    ("train", f"optimizer.lr={CODES}"),
    ("evaluate", f"run={CODES}"),
    ("predict", f"run={CODES}", f"input={CODES}"),
    ("sync", f"run={CODES}"),
    ("data", "show", CODES),
    ("completion", CODES),
    ("bench", CODES),
    (CODES,),
]


@pytest.mark.parametrize("words", REFUSED, ids=lambda words: repr(" ".join(words))[:50])
def test_words_of_a_command_that_is_refused(place: Place, words: tuple[str, ...]) -> None:
    write_files(place.folder, PLAIN)
    result = place(*words)
    assert result.code in (1, 2)
    assert result.err.count("\n") == 1, result.err
    check(result.out, result.err)


def test_config_files_and_listings(place: Place) -> None:
    mine = place.folder / "conf" / "model"
    mine.mkdir(parents=True)
    (mine / f"{CODES}.yaml").write_text("hidden_size: 3\n")
    local = place.folder / "conf" / "local"
    local.mkdir()
    (local / "default.yaml").write_text('"name": "\\e[31mred\\n\\u202e"  # \u202eodd\n')
    results = [
        place.ok("train", "--help"),
        place.ok("train", "--cfg", "job"),
        place.ok("train", "--cfg", "job", "--package", "name"),
        place.ok("train", "--info", "defaults"),
        place.ok("train", "--info", "searchpath"),
    ]
    check(*(result.out for result in results))
    assert "FORGED" in results[0].out
    import yaml

    assert yaml.safe_load(results[1].out)["name"] == "\x1b[31mred\n\u202e", "still the YAML of the config"


@pytest.mark.slow
def test_a_sweep(place: Place) -> None:
    write_files(place.folder, PLAIN)
    settings, _ = TRAININGS["columns"]
    notes = "+wandb.notes='\x1b[31mred','\x1b[32mgreen'"
    sweep = place("train", "-m", *FAST, *settings, notes)
    assert sweep.code == 0, sweep.err
    check(sweep.out, sweep.err)
    assert "x1b[31mred" in sweep.out


@pytest.mark.slow
def test_a_run_with_such_a_path(place: Place) -> None:
    write_files(place.folder, PLAIN)
    place.ok("train", *FAST, *TRAININGS["columns"][0])
    run = place.last()
    other = run.folder.with_name("x\x1b[31mx\nFORGED")
    run.folder.rename(other)
    for words in (
        ("predict", f"run={other}", "input=odd.csv"),
        ("evaluate", f"run={other}"),
        ("train", f"resume={other}"),
        ("train", f"resume={other}", "trainer.max_epochs=2"),
        ("sync",),
    ):
        result = place(*words)
        check(result.out, result.err)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("script") is None, reason="no program `script` here, which makes a terminal")
def test_on_a_terminal(place: Place) -> None:
    write_files(place.folder, PLAIN)
    place.ok("train", *FAST, *TRAININGS["classes"][0])
    facts = place.last().folder / "facts.json"
    facts.write_text(facts.read_text().replace(PLAIN, "\\u001b[31mred\\u001b[2J"))
    for line in ("predict run=last input=odd.npz", "train " + " ".join([*FAST, *TRAININGS["columns"][0]])):
        done = subprocess.run(
            ["script", "-qec", f"{sys.executable} -m gatewise {line}", "/dev/null"],
            cwd=place.folder,
            capture_output=True,
            timeout=300,
            check=True,
        )
        text = done.stdout.decode()
        assert "\x1b[" in text, "this is a terminal, with colours and a bar"
        assert "\x1b[31mred" not in text
        assert "\x1b[2J" not in text
        assert ("\\x1b[31mred" in text) == line.startswith("predict")
