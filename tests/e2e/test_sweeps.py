"""Sweeps: grids, seeds and searches, what fails in them, and what they leave on disk."""

from __future__ import annotations

import csv
import os
import re
import signal
import sys
from pathlib import Path

import optuna
import pytest
import torch
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.plugins import Plugins
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from workplace import Place, finish, read_json, wait_until

from gatewise.runs.metrics import read_metrics
from gatewise.runs.run import Run
from gatewise.training.mid_epoch import is_mid_epoch

TINY = ["debug=one_batch", "test=false", "~callbacks.learning_curves", "model.hidden_size=4"]
SEARCH = [*TINY[:3], "trainer.limit_train_batches=2", "sweep.trials=6"]


def last(place: Place) -> Path:
    return (place.folder / "sweeps" / "last").resolve()


def table(place: Place, name: str = "trials") -> list[dict[str, str]]:
    with (last(place) / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def run_of(place: Place, row: dict[str, str]) -> Run:
    return Run((last(place) / row["run"]).resolve())


def test_a_grid_leaves_a_run_per_training_and_a_table(place: Place) -> None:
    result = place.ok("train", "-m", *TINY, "model=lstm,gru", "model.num_layers=1,2", "trainer.max_epochs=2")
    points = [("lstm", "1"), ("lstm", "2"), ("gru", "1"), ("gru", "2")]
    rows = table(place)
    assert [(row["model"], row["model.num_layers"]) for row in rows] == points
    assert {row["state"] for row in rows} == {"done"}
    values = [float(row["val/loss"]) for row in rows]
    assert [int(row["rank"]) for row in rows] == [1 + sum(v < value for v in values) for value in values]

    runs = [run_of(place, row) for row in table(place, "runs")]
    assert sorted(run.folder for run in runs) == place.runs()
    epochs: list[tuple[int, int]] = []
    for run, (model, layers), value in zip(runs, points, values, strict=True):
        assert run.choices()["model"] == model
        assert (run.config().model.num_layers, run.state()) == (int(layers), "done")
        # How the sweep went about it is nothing of the run's.
        assert "sweep" not in run.config()
        losses = [row["val/loss"] for row in read_metrics(run.metrics_file)]
        assert min(losses) == value
        epochs.append((1 + losses.index(value), len(losses)))
    assert [(int(row["best_epoch"]), int(row["epochs"])) for row in table(place, "runs")] == epochs

    best = read_json(last(place) / "summary.json")["best"][0]
    assert best["values"] == {"val/loss": min(values)}
    assert best["best_epochs"] == [epochs[values.index(min(values))][0]]
    assert f"Best run       {os.path.relpath(best['runs'][0], place.folder)}" in result.out
    assert {path.name for path in (last(place) / "plots").iterdir()} == {
        "trials.png",
        "parallel_coordinates.png",
        "importance.png",
    }
    # Whatever reads a study of Optuna's reads this one.
    storage = JournalStorage(JournalFileBackend(str(last(place) / "study.journal")))
    study = optuna.load_study(study_name=last(place).name, storage=storage)
    assert [trial.value for trial in study.trials] == values
    assert [list(trial.intermediate_values) for trial in study.trials] == [[0, 1]] * 4


@pytest.mark.slow
def test_every_configuration_with_every_seed(place: Place) -> None:
    result = place.ok("train", "-m", *TINY, "model=lstm,gru", "seed=1,2")
    runs = [run_of(place, row) for row in table(place, "runs")]
    assert [(run.choices()["model"], run.config().seed) for run in runs] == [
        ("lstm", 1), ("lstm", 2), ("gru", 1), ("gru", 2),
    ]  # fmt: skip
    for row in table(place):
        first, second = float(row["val/loss seed 1"]), float(row["val/loss seed 2"])
        assert float(row["val/loss"]) == pytest.approx((first + second) / 2)
        assert float(row["val/loss standard error"]) == pytest.approx(abs(first - second) / 2)
    assert "Two seeds each: too few to tell configurations apart or to call them tied" in result.out
    assert {row["p against best"] for row in table(place)} == {""}


@pytest.mark.slow
def test_the_code_is_read_once_and_kept_with_every_training(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gatewise.training import session as train

    read: list[Path] = []
    monkeypatch.setattr(
        train, "read_code", lambda folder, _: read.append(folder) or b"commit 1a2b and no changes"
    )
    result = place.ok("train", "-m", *TINY, "seed=1,2")
    assert ": 1 trial × 2 seeds\n" in result.out
    assert read == [place.folder]
    assert [Run(run).commit() for run in place.runs()] == ["1a2b"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["models", pytest.param("seeds", marks=pytest.mark.slow)])
def test_presets_of_grids(place: Place, preset: str) -> None:
    place.ok("train", f"sweep={preset}", *TINY)
    found = [(run.choices()["model"], run.config().seed) for run in map(Run, place.runs())]
    assert (
        sorted(found)
        == {
            "models": [("gru", 1), ("lstm", 1), ("rnn", 1)],
            "seeds": [("bilstm", seed) for seed in range(1, 6)],
        }[preset]
    )


@pytest.mark.slow
def test_a_search_for_two_objectives(place: Place) -> None:
    result = place.ok("train", "sweep=multi_objective", *TINY[:3], "sweep.trials=3")
    rows = table(place)
    points = [(float(row["val/loss"]), float(row["parameters"])) for row in rows]
    runs = [run_of(place, row) for row in table(place, "runs")]
    assert [p for _, p in points] == [run.summary()["parameters"] for run in runs]
    for row, (loss, size) in zip(rows, points, strict=True):
        beaten = any(a <= loss and b <= size and (a, b) != (loss, size) for a, b in points)
        assert (row["rank"], row["front"]) == (("", "no") if beaten else ("1", "yes"))
    # No point of the front is called the best, and each can be trained again.
    front = [row["trial"] for row in rows if row["front"] == "yes"]
    summary = read_json(last(place) / "summary.json")
    assert "best" not in summary
    assert [str(c["trial"]) for c in summary["front"]] == front
    assert "Best run" not in result.out
    assert [
        line.split()[1].strip(":") for line in result.out.splitlines() if line.startswith("Trial ")
    ] == front
    assert result.out.count("Train it again") == len(front)
    assert (last(place) / "plots" / "front.png").is_file()


@pytest.mark.slow  # a sweep that is killed and one that is not, with one job and two, are compared elsewhere
def test_a_search_side_by_side_is_the_one_one_after_the_other(tmp_path: Path) -> None:
    # A warm-up of one epoch lets the pruner stop trainings of three.
    argv = ["sweep=tpe", *SEARCH, "trainer.max_epochs=3", "sweep.pruner.n_startup_trials=2"]
    argv += ["sweep.pruner.n_warmup_steps=0", "sweep.sampler.n_startup_trials=2", "sweep.lag=2"]
    one, two = Place(tmp_path / "one"), Place(tmp_path / "two")
    one.ok("train", *argv)
    two.ok("train", *argv, "sweep.jobs=2")
    assert (last(one) / "trials.csv").read_bytes() == (last(two) / "trials.csv").read_bytes()
    rows = table(one)
    assert {row["state"] for row in rows} == {"done", "pruned"}
    assert len({row["optimizer.lr"] for row in rows}) == 6
    for row, of_run in zip(rows, table(one, "runs"), strict=True):
        run = run_of(one, of_run)
        assert run.state() == row["state"]
        if row["state"] == "pruned":
            assert row["reason"].startswith(f"worse than earlier trials after epoch {of_run['epochs']}: ")
            assert run.reason() == row["reason"]


BREAKS = """
import os, signal
from pathlib import Path
import torch
import pytorch_lightning as pl

class Breaks(pl.Callback):
    def __init__(self, how):
        self.how = how

    def on_train_epoch_end(self, trainer, task):
        if self.how == "memory":
            raise MemoryError("cannot allocate 9 GiB")
        if self.how == "gpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        if self.how == "bug":
            raise ZeroDivisionError("division by zero")
        if self.how == "stopped":
            os.kill(os.getpid(), signal.SIGINT)
        if self.how == "killed" or (self.how == "killed_once" and not Path("killed").exists()):
            Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def breaking(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    (place.folder / "breaking.py").write_text(BREAKS)
    monkeypatch.syspath_prepend(place.folder)
    monkeypatch.setenv("PYTHONPATH", f"{place.folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return place


def test_what_fails_is_recorded_with_its_reason_and_the_sweep_goes_on(breaking: Place) -> None:
    how = "+callbacks.mine={_target_:breaking.Breaks,how:memory},{_target_:breaking.Breaks,how:gpu},"
    how += "{_target_:breaking.Breaks,how:bug},{_target_:breaking.Breaks,how:fine}"
    result = breaking("train", "-m", *TINY, how)
    assert result.code == 0
    rows = table(breaking)
    assert [row["state"] for row in rows] == ["failed", "failed", "failed", "done"]
    reasons = [
        "out of memory: cannot allocate 9 GiB",
        "out of memory: CUDA out of memory. Tried to allocate 9 GiB",
        "ZeroDivisionError: division by zero",
    ]
    assert [row["reason"] for row in rows] == [*reasons, ""]
    assert [run_of(breaking, row).state() for row in table(breaking, "runs")] == ["failed"] * 3 + ["done"]
    lines = result.err.splitlines()
    assert [line.rpartition("}): ")[2] for line in lines] == reasons
    assert all(
        line.startswith(f"gatewise: error: trial {i} (+callbacks.mine=") for i, line in enumerate(lines)
    )
    # The traceback of a bug is kept.
    assert "ZeroDivisionError" in (last(breaking) / "output" / "0002.txt").read_text()
    best = read_json(last(breaking) / "summary.json")
    assert (best["trials_failed"], best["best"][0]["trial"]) == (3, 3)


@pytest.mark.slow
def test_a_loss_that_is_no_number_and_a_setting_that_is_wrong(place: Place) -> None:
    argv = [
        *TINY[:3],
        "trainer.limit_train_batches=4",
        "trainer.max_epochs=2",
        "trainer.gradient_clip_val=null",
    ]
    result = place("train", "-m", *argv, "optimizer=sgd", "model.hidden_size=4,0", "optimizer.lr=1e38,0.1")
    assert result.code == 0
    rows = table(place)
    assert [row["state"] for row in rows] == ["failed", "done", "failed", "failed"]
    assert re.match("(the loss|val/loss) is (nan|inf)", rows[0]["reason"])
    assert rows[2]["reason"].startswith("model.hidden_size must be a whole number of at least 1, got 0")


@pytest.mark.slow
def test_where_all_fail_there_is_one_clear_message(place: Place) -> None:
    result = place("train", "-m", *TINY[:3], "model.hidden_size=0,-1")
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith(
        "gatewise: error: all 2 trials failed, the first one: model.hidden_size must be a whole number of "
        "at least 1, got 0 (all reasons: sweeps/debug/speech/japanese_vowels/"
    )
    assert read_json(last(place) / "summary.json")["best"] == []


@pytest.mark.slow
def test_a_training_whose_process_is_killed_is_taken_up_again_once(breaking: Place) -> None:
    how = [f"{{_target_:breaking.Breaks,how:{how}}}" for how in ("killed_once", "killed", "fine")]
    result = breaking("train", "-m", *TINY, f"+callbacks.mine={','.join(how)}", "sweep.jobs=2")
    assert result.code == 0
    rows = table(breaking)
    assert [row["state"] for row in rows] == ["done", "failed", "done"]
    assert "killed (SIGKILL: by someone, or by the system as memory ran out), 2 times" in rows[1]["reason"]


REFUSED: list[tuple[list[str], str]] = [
    (["sweep.jobs=2"], "sweep.jobs=2: this is one training and no sweep: add -m"),
    (["-m", "sweep.jobs=0"], "sweep.jobs must be a whole number of at least 1, got 0"),
    (
        ["-m", "seed=1,2", "sweep.job=2"],
        "sweep.job=2 is what a sweep tells its trainings; did you mean sweep.j",
    ),
    (["-m", "sweep.objectives=[test/loss]"], "sweep.objectives: test/loss: to choose by the test data"),
    (
        ["-m", "sweep.objectives=[val/loss,parameters]", "sweep.directions=[min]"],
        "sweep.directions=['min']: give",
    ),
    (
        ["-m", "sweep.objectives=[val/loss]", "sweep.directions=[mni]"],
        "sweep.directions='mni' is unknown (did",
    ),
    (["sweep=tpe", "sweep.params=null"], "sweep.params: there is nothing to search"),
    (["sweep=tpe", "sweep.trials=0"], "sweep.trials must be a whole number of at least 1, got 0"),
    (
        ["sweep=multi_objective", "+sweep.pruner._target_=optuna.pruners.MedianPruner"],
        "sweep.pruner: several",
    ),
    (["-m", "model=lstm,gruu"], "model=gruu: no such choice; did you mean gru?"),
    (["-m", "optimizer.lrr=1,2"], "optimizer.lrr: no such setting; did you mean optimizer.lr?"),
    (["-m", "seed=1,2", "trainer.max_epochs=few"], "trainer.max_epochs must be a whole number, got 'few'"),
    (["-m", "optimizer.lr=interval(0,1)"], "optimizer.lr: a grid tries every value"),
    (["sweep.resume=last"], "sweep.resume=last: no sweep has been started in"),
    (["sweep.resume=nosuch"], "sweep.resume=nosuch: not a sweep (there is no such folder)"),
]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        pytest.param(*case, id=" ".join(case[0]), marks=[] if place % 4 == 0 else [pytest.mark.slow])
        for place, case in enumerate(REFUSED)
    ],
)
def test_a_mistake_is_one_line_before_anything_is_trained(place: Place, argv: list[str], line: str) -> None:
    result = place("train", *TINY[:3], *argv)
    assert result.code == 1
    assert result.line().startswith(f"gatewise: error: {line}")
    assert place.runs() == []


def test_an_objective_that_is_not_measured_is_named(place: Place) -> None:
    result = place("train", "-m", *TINY, "seed=1", "sweep.objectives=[val/acuracy]", "sweep.directions=[max]")
    assert result.code == 1
    assert "sweep.objectives=val/acuracy: is not measured; did you mean val/accuracy?" in result.err


@pytest.mark.slow
def test_what_is_done_stays_done_and_the_best_is_found_by_max(place: Place) -> None:
    objective = ["sweep.objectives=[val/accuracy]", "sweep.directions=[max]"]
    place.ok("train", "-m", *TINY, "model=lstm,gru", *objective)
    rows = table(place)
    before = (last(place) / "trials.csv").read_bytes()
    best = max(rows, key=lambda row: float(row["val/accuracy"]))
    assert best["rank"] == "1"
    runs = place.runs()
    result = place.ok("train", "sweep.resume=last", "sweep.jobs=1")
    assert "2 of them ended before" in result.out
    assert place.runs() == runs
    assert (last(place) / "trials.csv").read_bytes() == before
    changed = place("train", "-m", "optimizer.lr=1", "sweep.resume=last")
    assert changed.code == 1
    assert changed.line().startswith("gatewise: error: optimizer.lr=1: the sweep ")


@pytest.mark.slow
def test_a_search_is_given_more_trials(place: Place) -> None:
    argv = ["sweep=random", *TINY[:3]]
    place.ok("train", *argv, "sweep.trials=2")
    two = table(place)
    place.ok("train", "sweep.resume=last", "sweep.trials=3")
    three = table(place)
    assert [row["optimizer.lr"] for row in three[:2]] == [row["optimizer.lr"] for row in two]
    assert len(three) == 3


def test_ctrl_c_stops_a_sweep_and_it_says_how_to_go_on(breaking: Place) -> None:
    how = "{_target_:breaking.Breaks,how:fine},{_target_:breaking.Breaks,how:stopped}"
    result = breaking("train", "-m", *TINY, f"+callbacks.mine={how}", "seed=1,2")
    assert result.code == 130
    folder = os.path.relpath(last(breaking), breaking.folder)
    assert f"Interrupted. Go on with: python -m gatewise train sweep.resume={folder}" in result.out
    assert "Traceback" not in result.out + result.err
    # Both seeds of the first trial, and no more than one of the second.
    ends = sorted((run.state(), run.reason() or "") for run in map(Run, breaking.runs()))
    assert ends == [("done", ""), ("done", ""), ("interrupted", "stopped by the user")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("jobs", "number", "code", "by"),
    [
        (2, signal.SIGINT, 130, "the user"),
        (1, signal.SIGTERM, 143, "SIGTERM"),
    ],
)
def test_a_sweep_that_is_asked_to_stop_says_how_to_go_on(
    place: Place, jobs: int, number: signal.Signals, code: int, by: str
) -> None:
    argv = ["train", "-m", "wandb.mode=disabled", "test=false", "trainer.limit_train_batches=4"]
    argv += [
        "trainer.max_epochs=400",
        "callbacks.early_stopping.patience=400",
        "seed=1,2",
        f"sweep.jobs={jobs}",
    ]
    process = place.start(*argv)
    try:
        begun = "runs/speech/*/*/checkpoints/last.ckpt"
        wait_until(lambda: len(list(place.folder.glob(begun))) == jobs, process=process)
        process.send_signal(number)
        out = finish(process)
    finally:
        process.kill()
    assert process.returncode == code
    folder = os.path.relpath(last(place), place.folder)
    assert f"Interrupted. Go on with: python -m gatewise train sweep.resume={folder}" in out
    assert "Traceback" not in out
    assert [Run(folder).reason() for folder in place.runs()] == [f"stopped by {by}"] * jobs


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_sweep_that_is_asked_to_stop_in_mid_epoch_ends_in_the_table_of_the_unbroken_one(
    tmp_path: Path, jobs: int
) -> None:
    argv = ["train", "-m", "wandb.mode=disabled", "trainer.max_epochs=30", "seed=1,2", f"sweep.jobs={jobs}"]
    argv.append("callbacks.early_stopping.patience=30")
    broken, whole = Place(tmp_path / "broken"), Place(tmp_path / "whole")
    process = broken.start(*argv)
    try:
        begun = "runs/speech/*/*/checkpoints/last.ckpt"
        wait_until(lambda: len(list(broken.folder.glob(begun))) == jobs, process=process)
        process.send_signal(signal.SIGINT)
        finish(process)
    finally:
        process.kill()
    left = [torch.load(Run(folder).checkpoint("last"), weights_only=True) for folder in broken.runs()]
    assert [is_mid_epoch(checkpoint) for checkpoint in left] == [True] * jobs
    broken.ok("train", "sweep.resume=last")
    whole.ok(*argv)
    for found, expected in zip(table(broken), table(whole), strict=True):
        differing = {name for name in expected if found[name] != expected[name]}
        assert differing <= {"run", "seconds"}
    rows = [
        {Run(run).config().seed: read_metrics(Run(run).metrics_file) for run in p.runs()}
        for p in (broken, whole)
    ]
    assert rows[0] == rows[1]


class Batches(BasicLauncher):
    """As a launcher of a cluster gets them: many at once, and back when all have ended."""

    __module__ = "hydra_plugins.batches"
    seen: list[int] = []  # noqa: RUF012

    def launch(self, job_overrides, initial_job_idx):  # type: ignore[no-untyped-def]
        self.seen.append(len(job_overrides))
        return super().launch(job_overrides, initial_job_idx)


@pytest.mark.slow
def test_a_launcher_of_hydras_gets_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, Batches.__module__, sys.modules[__name__])
    Plugins.instance().register(Batches)
    launcher = "hydra.launcher._target_=hydra_plugins.batches.Batches"
    argv = [
        "train",
        "sweep=tpe",
        *TINY[:3],
        "sweep.trials=3",
        "sweep.lag=2",
        "sweep.sampler.n_startup_trials=1",
        "optimizer.lr=interval(0.001,0.01)",
    ]
    # One that has no hidden units: it fails, and the others go on.
    argv.append("model.hidden_size=0,8")
    one, two = Place(tmp_path / "one"), Place(tmp_path / "two")
    one(*argv)
    result = two(*argv, launcher)
    assert result.code == 0, result.err
    assert (last(one) / "trials.csv").read_bytes() == (last(two) / "trials.csv").read_bytes()
    assert {row["state"] for row in table(two)} == {"done", "failed"}
    # Trial 2 waits for trial 0.
    assert Batches.seen == [2, 1]
