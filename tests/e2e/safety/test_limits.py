"""What is nonsense or too large is one line, before there is a directory and before anything is started."""

from __future__ import annotations

import os
import sys
import time

import numpy as np
import pytest
from workplace import Place, write_user_files

slow = pytest.mark.slow
LONG = "z" * 300
SERIES = ("experiment=series/csv", "data.time_column=date")

CASES: dict[str, tuple[list[str], str]] = {
    "threads": (["threads=1000000"], "threads=1000000"),
    "devices": (["trainer=ddp_cpu", "trainer.devices=7000"], "trainer.devices=7000"),
    "layers": (["model.num_layers=1000000"], "model.num_layers"),
    "memory": (["model.hidden_size=10000000"], "of memory here"),
    "seed": (["seed=10000000000"], "seed must be"),
    "cell null": (["model.cell=null"], "model.cell"),
    "empty section": (["model={}"], "says nothing"),
    "no callbacks": (["callbacks=[]"], "~callbacks"),
    "leftover": (["model=gru", "+model.cell.forget_bias=1.0"], "no such setting of GRU"),
    "not a part": (["+callbacks.x._target_=builtins.dict"], "not a callback"),
    "function of the system": (["optimizer._target_=os.system"], "not an optimizer"),
    "another part": (["model.cell._target_=gatewise.tasks.classification.SequenceClassification"], "a cell"),
    "logger": (["+logger.x._target_=pytorch_lightning.callbacks.Timer"], "not a logger"),
    "after torch": (["model._target_=torch.nn.LSTM"], "model"),
    "monitor": (["task.monitor=val/nope"], "did you mean val/loss"),
    "no validation": (["trainer.limit_val_batches=0"], "nothing is validated"),
    "no epoch": (["trainer.max_epochs=0"], "nothing is trained"),
    "no step": (["+trainer.max_steps=0"], "nothing is trained"),
    "no batch": (["trainer.limit_train_batches=0"], "nothing is trained"),
    "epochs": (["+trainer.min_epochs=500"], "trainer.min_epochs"),
    "clipped": (
        ["+optimizer.fused=true", "trainer.precision=bf16"],
        "set it to false, or trainer.gradient_clip",
    ),
    "time": (["+trainer.max_time=00:00:10:00"], "callbacks.timer.duration"),
    "runs": ([f"paths.runs_dir={LONG}"], "paths.runs_dir"),
    "runs is a file": (["paths.runs_dir=mine.csv"], "mine.csv is no folder"),
    "pipe": ([*SERIES, "data.file=pipe"], "is a pipe"),
    "device": ([*SERIES, "data.file=/dev/zero"], "is a device"),
    "link to itself": ([*SERIES, "data.file=loop"], "is a link to itself"),
    "nobody": ([*SERIES, "data.file='~nobodyxx/a.csv'"], "was not found"),
    "long": ([*SERIES, f"data.file={LONG}"], "may have 255 bytes"),
    "resume": ([f"resume={LONG}"], "not a run directory"),
    "grid": (["-m", "seed=range(1000000000)"], "1000000000 values"),
    "combinations": (
        ["-m", "model.hidden_size=range(1,2000)", "data.batch_size=range(1,200)"],
        "at most 100000",
    ),
    "trials": (["sweep=tpe", "sweep.trials=1000000000000"], "sweep.trials"),
    "interval": (["sweep=tpe", "optimizer.lr=interval(0,inf)"], "finite number"),
    "params": (["sweep=random", "sweep.params=5"], "sweep.params must hold"),
    "sampler": (["sweep=tpe", "sweep.sampler._target_=os.getcwd"], "not a sampler"),
    "no such sampler": (["sweep=tpe", "sweep.sampler._target_=optuna.samplers.Nope"], "has no Nope"),
    "jobs": (["-m", "seed=1,2", "sweep.jobs=1000000"], "sweep.jobs"),
    "objective": (
        ["sweep=tpe", "sweep.objectives=[val/nope]", "sweep.directions=[min]", "sweep.pruner=null"],
        "did you mean val/loss",
    ),
    "shared": (["-m", "model=gru,lstm", "optimizer.lr=inf"], "optimizer.lr"),
}
QUICK = ("threads", "devices", "memory", "monitor", "grid", "not a part")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=slow) for name in CASES]
)
def test_nonsense_is_one_line(place: Place, name: str) -> None:
    words, said = CASES[name]
    write_user_files(place.folder)
    os.mkfifo(place.folder / "pipe")
    (place.folder / "loop").symlink_to("loop")
    before = {path.name for path in place.folder.iterdir()}
    started = time.monotonic()
    result = place("train", "logger=none", *words)
    assert result.code == 1, result.out
    line = result.line()
    assert said in line, line
    assert len(line) < 600
    assert time.monotonic() - started < 60
    assert {path.name for path in place.folder.iterdir()} == before


BENCH = {
    "threads=1000000000": "cores",
    "sizes=10x10x10x1000000000": "takes",
    "sizes=1000000000000000000000000000000x1x1x1": "at most",
    "rounds=1000000000000000000": "at most",
    f"file={LONG}.csv": "may have 255 bytes",
}


@pytest.mark.parametrize("word", BENCH, ids=lambda word: word[:20])
def test_a_bench_that_cannot_be(place: Place, word: str) -> None:
    result = place("bench", "engine", "engines=loop", "sizes=2x2x2x2", "rounds=1", word)
    assert result.code == 2
    assert BENCH[word] in result.line()
    assert list(place.folder.iterdir()) == []


@pytest.mark.parametrize("words", [["--package", "x"], ["--config-name", ""], ["--config-dir", LONG]])
def test_an_option_that_would_be_ignored(place: Place, words: list[str]) -> None:
    result = place("train", *words)
    assert result.code == 2
    assert words[0] in result.line()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_link_to_the_newest_run_that_is_none(place: Place, kind: str) -> None:
    (place.folder / "runs").mkdir()
    last = place.folder / "runs" / "last"
    last.mkdir() if kind == "folder" else last.write_text("the user's")
    result = place("train", "logger=none")
    assert result.code == 1
    assert f"is a {kind}" in result.line()
    assert [path.name for path in (place.folder / "runs").iterdir()] == ["last"]


@slow
def test_more_than_memory_is_known_with_the_data(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of one long sequence and many short ones, padded to its length in a batch."""
    import gatewise.training.memory as module

    monkeypatch.setattr(module, "memory", lambda: 50 * 2**20)
    rows = [
        f"{','.join(['1'] * n)}:{','.join(['2'] * n)}:{label}" for label in "ab" for n in [3] * 100 + [20000]
    ]
    header = "@dimensions 2\n@classLabel true a b\n@data\n"
    (place.folder / "d.ts").write_text(header + "\n".join(rows) + "\n")
    words = ["experiment=speech/features", "data.train_file=d.ts", "logger=none", "data.batch_size=200"]
    result = place("train", *words)
    assert result.code == 1
    assert "data.batch_size=200: a training step of" in result.line()
    assert not (place.folder / "runs").exists()


@slow
def test_weights_that_do_not_fit_are_not_made(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    import gatewise.training.memory as module

    monkeypatch.setattr(module, "memory", lambda: 2**20)
    result = place("train", "logger=none", "model.hidden_size=300")
    assert result.code == 1
    assert "of weights or more" in result.line()
    assert not (place.folder / "runs").exists()


def test_numpy_files_with_a_damaged_inside(place: Place) -> None:
    from gatewise.data.sequences.formats import read_sequences

    np.savez(place.folder / "d.npz", values=np.ones((4, 2)), lengths=np.array([2, 2]))
    whole = (place.folder / "d.npz").read_bytes()
    for old, new in ((b"{'descr'", b"{'descr("), (b"(4, 2)", b"(4, -2"), (b"<f8", b"<\x00\x00")):
        (place.folder / "e.npz").write_bytes(whole.replace(old, new))
        with pytest.raises(ValueError, match=r"e\.npz"):
            read_sequences(place.folder / "e.npz")
    assert sys.getsizeof(whole)
