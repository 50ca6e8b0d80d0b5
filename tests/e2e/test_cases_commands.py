"""Names, resumes, a user's config files, streams and printed commands that were once answered wrongly."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from workplace import Place, read_json, write_series

from gatewise.runs.metrics import read_metrics
from gatewise.runs.run import Run

SERIES = [
    *("experiment=series/csv", "data.file=mine.csv", "data.time_column=date", "data.lookback=6"),
    *("data.horizon=2", "model.hidden_size=4", "logger=none", "callbacks.early_stopping=null"),
    *("callbacks.learning_curves=null", "callbacks.result_table=null"),
]


@pytest.fixture
def series(place: Place) -> Place:
    write_series(place.folder)
    return place


@pytest.fixture
def done(series: Place) -> Place:
    """A run of two epochs that is done."""
    series.ok("train", *SERIES, "trainer.max_epochs=2")
    return series


def content(run: Run) -> dict[str, bytes]:
    """Every file of a run directory but the lock and the log, which is only added to."""
    files = [
        path for path in run.folder.rglob("*") if path.is_file() and path.name not in ("log.txt", ".lock")
    ]
    return {str(path.relative_to(run.folder)): path.read_bytes() for path in files}


def write(place: Place, name: str, text: str) -> None:
    path = place.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.slow
def test_a_run_is_filed_under_what_it_is(series: Place) -> None:
    sunspots = ["data.max_rows=600", "data.lookback=12", "model.hidden_size=2", "logger=none", "test=false"]
    series.ok("train", "task=forecasting", "data=sunspots", "trainer.max_epochs=1", *sunspots)
    assert series.last().folder.parent == series.folder / "runs" / "forecasting" / "sunspots"
    assert series.last().config().name == "forecasting/sunspots"
    assert series.last().title.startswith("forecasting/sunspots")


def test_a_users_file_shows_in_the_name_and_debug_runs_are_filed_apart(done: Place) -> None:
    last = done.folder / "runs" / "last"
    assert last.resolve().parent == done.folder / "runs" / "series" / "csv" / "mine"
    result = done.ok("train", *SERIES, "debug=one_batch")
    assert done.last().folder.parent == done.folder / "runs" / "debug" / "series" / "csv" / "mine"
    assert last.resolve() != done.last().folder
    assert f"evaluate run=runs/debug/series/csv/mine/{done.last().id}" in result.out


REFUSED = {
    "of the run": ("data.lookback=9", "data.lookback=9: the run was started with data.lookback=6"),
    "misspelt": ("data.lookbck=9", "without data.lookbck; did you mean data.lookback?"),
    "misspelt trainer": ("trainer.max_epoch=9", "did you mean trainer.max_epochs?"),
    "section": ("trainr.max_epochs=9", "did you mean trainer.max_epochs?"),
    "fewer epochs": ("trainer.max_epochs=1", "trainer.max_epochs=1: the run has 2 epochs already"),
    "as many": ("trainer.max_epochs=2", "is done; train on with"),
    "words": ("trainer.gradient_clip_val=abc", "trainer.gradient_clip_val must be a number, got 'abc'"),
    "interval": ("trainer.val_check_interval=100000", "an epoch has 3 training batches"),
    "no test batch": ("trainer.limit_test_batches=1e-6", "batches of the test split"),
    "no batch to overfit": ("+trainer.overfit_batches=1e-6", "trainer.overfit_batches=1e-06: leaves none"),
    "before a validation": (
        "+trainer.max_steps=1",
        "ends before the first validation, after 3 steps, and callbacks.best_checkpoint.monitor=val/",
    ),
    "no batch": ("trainer.limit_train_batches=1e-6", "leaves none of the 3 training batches"),
    "precision": ("trainer.precision=17", "trainer.precision=17 is unknown"),
    "nothing kept": ("+trainer.fast_dev_run=3", "trainer.fast_dev_run: keeps no metrics"),
    "monitor": (
        "callbacks.early_stopping={_target_:pytorch_lightning.callbacks.EarlyStopping,monitor:val/nope}",
        "callbacks.early_stopping.monitor=val/nope: is not measured",
    ),
    "start": ("resume_from=bst", "resume_from='bst' is unknown"),
}


@pytest.mark.slow
def test_a_refused_resume_leaves_a_finished_run_as_it_was(done: Place) -> None:
    before = content(done.last())
    for override, line in REFUSED.values():
        epochs = [] if override.startswith("trainer.max_epoch") else ["trainer.max_epochs=4"]
        result = done("train", "resume=last", override, *epochs)
        assert result.code == 1, override
        assert line in result.err, override
        assert "Traceback" not in result.err
        assert content(done.last()) == before, override
    assert done.last().state() == "done"


@pytest.mark.slow
def test_a_missing_last_checkpoint_is_said_and_best_is_a_way_out(done: Place) -> None:
    run = done.last()
    (run.checkpoints / "last.ckpt").unlink()
    before = content(run)
    line = done("train", "resume=last", "trainer.max_epochs=4").line()
    assert "last.ckpt is missing" in line
    assert "resume_from=best" in line
    assert content(run) == before
    epochs = [read_metrics(run.metrics_file)[0]]
    # As if the first epoch had been the best one.
    import torch

    best = torch.load(run.checkpoints / "best.ckpt", weights_only=True)
    later = best["epoch"] + 1
    assert done("train", "resume=last", "trainer.max_epochs=4", "resume_from=best").code == 0
    rows = read_metrics(run.metrics_file)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[0] == epochs[0]
    assert f"Resumed from the best checkpoint, best.ckpt, after {later} epoch" in run.log_file.read_text()
    assert run.state() == "done"
    assert not list(run.checkpoints.glob(".*"))


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(done: Place) -> None:
    run = done.last()
    for path in (*run.checkpoints.iterdir(), run.metrics_file, run.folder / "summary.json"):
        path.unlink()
    run.set_status("interrupted")
    done.ok("train", "resume=last")
    assert [row["epoch"] for row in read_metrics(run.metrics_file)] == [1, 2]


ALONE = """
import sys
from gatewise.cli.main import main
series = sys.argv[1:]
codes = [main(["train", *series, "trainer.max_epochs=1"]), main(["evaluate", "run=last"])]
print(codes, main(["predict", "run=last", "input=mine.csv", "output=out.csv"]), file=sys.stderr)
"""


@pytest.mark.slow
def test_one_process_of_srun_does_the_whole_work(series: Place) -> None:
    said = {
        **{"SLURM_PROCID": "1", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "mine"},
        **{"SLURM_LOCALID": "1", "SLURM_NODEID": "0", "SLURM_STEP_NUM_TASKS": "4"},
        **{"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "3"},
    }
    settings = [text for text in SERIES if "result_table" not in text]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *settings],
        cwd=series.folder,
        env={**os.environ, **said},
        capture_output=True,
        text=True,
    )
    warning, codes = done.stderr.splitlines()
    assert "srun has started 4 processes" in warning
    assert codes == "[0, 0] 0"
    assert (series.last().folder / "test_report.json").is_file()
    assert read_json(series.last().folder / "summary.json")["test"]["mse"] > 0
    assert (series.folder / "out.csv").is_file()
    assert "test results" in done.stdout


LOCAL = {
    "a setting": ("trainer:\n  max_epoch: 3\n", ":2: trainer.max_epoch: no such setting of Trainer"),
    "at the top": ("seed: 1\nmax_epoch: 3\n", ":2: max_epoch: no such setting; did you mean trainer.max"),
    "a section": ("trainr:\n  max_epochs: 3\n", ":1: trainr: no such setting; did you mean trainer?"),
    "a callback": ("callbacks:\n  early_stoping: null\n", ":2: callbacks.early_stoping: no such setting"),
    "a value": ("\noptimizer:\n  lr: -1\n", ":3: optimizer.lr must be a number of 0 or more, got -1"),
    "a word": ("hello\n", ":1: must hold settings (key: value), got a word"),
    "a list": ("- seed\n", ":1: must hold settings (key: value), got a list"),
    "a word as section": ("trainer: cpu\n", ":1: trainer holds settings"),
    "no YAML": ("seed: [1\n", ":2: expected ',' or ']'"),
    "a choice": (
        "defaults:\n  - override /model: gruu\n",
        ":2: model=gruu: no such choice; did you mean gru?",
    ),
    "a group": ("defaults:\n  - override /modle: gru\n", ":2: modle: no such group; did you mean model?"),
    "of Hydra's": ("hydra:\n  verbos: true\n", ":2: Key 'verbos' not in 'HydraConf'"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["conf/local/default.yaml", "conf/experiment/mine.yaml"])
def test_what_is_wrong_in_a_users_file_is_said_with_its_line(series: Place, name: str) -> None:
    mine = [] if "local" in name else ["experiment=mine", "task=forecasting", "data=csv"]
    for text, line in LOCAL.values():
        header = "" if "local" in name else "# @package _global_\n"
        write(series, name, header + text)
        number = int(line[1:].partition(":")[0]) + (header != "")
        result = series("train", *SERIES[0 if not mine else 1 :], *mine)
        assert result.code == 1, text
        assert f"{name}:{number}:{line[1:].partition(':')[2]}" in result.line(), text
    assert series.runs() == []


def test_a_local_file_that_is_not_read_is_said(series: Place) -> None:
    write(series, "conf/local/default.yml", "seed: 3\n")
    assert "conf/local/default.yml: is not read" in series("train", *SERIES).line()
    (series.folder / "conf/local/default.yml").unlink()
    (series.folder / "conf/local/default.yaml").write_bytes(b"seed: 3\nname: \xff\n")
    assert "conf/local/default.yaml:2: not UTF-8" in series("train", *SERIES).line()
    for other in ("5\n", "trainer\n", "null\n", "2020-01-01\n"):
        write(series, "conf/local/default.yaml", other)
        line = series("train", *SERIES, "trainer.max_epochs=1").line()
        assert "conf/local/default.yaml:1: must hold settings (key: value), got a word" in line, other
    (series.folder / "conf/local/default.yaml").unlink()
    (series.folder / "conf/local/default.yaml").mkdir()
    assert "conf/local/default.yaml: is no file" in series("train", *SERIES).line()


def test_settings_beside_the_place_of_local_ones_are_said(series: Place) -> None:
    goes = ": the settings of every training go into conf/local/default.yaml"
    conf = series.folder / "conf"
    for name in ("local.yaml", "local.yml", "locale/default.yaml", "Local/default.yaml"):
        write(series, f"conf/{name}", "seed: 3\n")
        line = series("train", *SERIES).line()
        assert line.endswith(f"conf/{name.partition('/')[0]}: is not read{goes}"), line
        shutil.rmtree(conf)
    conf.mkdir()
    (conf / "local").write_text("seed: 3\n")
    assert series("train", *SERIES).line().endswith(f"conf/local: is no folder{goes}")
    (conf / "local").unlink()
    (conf / "local").symlink_to("nowhere")
    line = series("train", *SERIES).line()
    assert line.endswith(f"conf/local: is a link to a folder that is not there{goes}")


def test_what_a_users_file_may_say_is_left_alone(series: Place) -> None:
    write(
        series,
        "conf/local/default.yaml",
        "width: 3\nmodel: {hidden_size: '${width}'}\nwandb: {tags: [a]}\ntrainer: {max_epochs: 7}\n"
        "callbacks: {mine: {_target_: pytorch_lightning.callbacks.Timer}}\n",
    )
    out = series.ok("train", *[text for text in SERIES if "hidden" not in text], "--cfg", "job").out
    assert "max_epochs: 7" in out


NAMES = {
    "x" * 300: "a folder's name may have 255 bytes, this one has 300",
    "/".join(["y" * 200] * 30): "the path of its folder would have",
    "../x": "name must be a folder such as text/mine",
    "a/../b": "name must be a folder such as text/mine",
    "/tmp/x": "name must be a folder such as text/mine",
    "a\tb": "name must be letters, digits and signs that can be shown",
    "last": "last is for Gatewise's own files",
    "mine.csv/x": None,
}


@pytest.mark.slow
def test_long_name(series: Place) -> None:
    for name, line in NAMES.items():
        result = series("train", *SERIES, f"name='{name}'", "trainer.max_epochs=1", "test=false")
        if line is None:
            assert result.code == 0
        else:
            assert (result.code, line in result.line()) == (1, True), result.err
    assert len(series.runs()) == 1
    for argv in (["evaluate", "run="], ["train", "resume="], ["evaluate", "output="], ["predict", "input="]):
        line = series(*argv[:1], argv[1] + "z" * 300).line()
        assert "255 bytes" in line or "File name too long" in line or argv[1] == "input="


def gatewise(place: Place, tail: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """What ``gatewise ...`` does in a shell that ends the line as ``tail`` says."""
    line = f'"$0" -m gatewise "$@" {tail}'
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line, sys.executable, *argv],
        cwd=place.folder,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_stdout_closed(series: Place) -> None:
    result = gatewise(series, ">&- 2>&-", "train", *SERIES, "trainer.max_epochs=1")
    assert (result.returncode, result.stderr, series.last().state()) == (0, "", "done")
    assert gatewise(series, ">&-", "--help").returncode == 0
    # The reader leaves after a line; the training, and what it writes, goes on.
    result = gatewise(series, "| head -1", "train", *SERIES, "trainer.max_epochs=1", "name=piped")
    assert (result.returncode, result.stderr) == (0, "")
    assert series.last().state() == "done"


@pytest.mark.slow
def test_unquoted_next_command(series: Place) -> None:
    out = series.ok("train", *SERIES, "trainer.max_epochs=1", 'name="lr=0.1, b $x\'s"').out
    commands = [line.strip() for line in out.split("Next, try\n")[1].splitlines()]
    assert len(commands) == 3
    words = subprocess.run(
        ["bash", "-c", f"set -- {commands[1]}; printf '%s\\n' \"$@\""], capture_output=True, text=True
    ).stdout.splitlines()
    start = words.index("predict")
    assert words[start + 2].startswith("input=runs/lr=0.1, b $x's/")
    assert series(*words[start:]).code == 0
    # A path that is given as it is, with all its signs, is found as a run.
    run = words[start + 2].partition("=")[2].rpartition("/")[0]
    assert series("evaluate", f"run={run}").code == 0
    assert "is done" in series("train", f"resume={run}").line()


def test_sweep_error_masked(place: Place) -> None:
    assert (
        "model=lstmm: no such choice" in place("train", "sweep=tpe", "sweep.trials=2", "model=lstmm").line()
    )
    line = place("train", "sweep=tpe", "trainer.gradient_clip_val=choice(null,1.0)").line()
    assert "choice(...) takes no null" in line


def test_help_shows_the_comments_of_conf(place: Place) -> None:
    for verb, lines in {
        "train": ["seed: 1  # Every random draw comes from this number.", "lookback: 132  # Months seen."],
        "evaluate": ["split: test  # Which split: test or validation."],
        "predict": ["checkpoint: best  # Which checkpoint: best or last."],
    }.items():
        out = place.ok(verb, "--help", *(["experiment=series/sunspots"] if verb == "train" else [])).out
        assert all(line in [shown.strip() for shown in out.splitlines()] for line in lines)


@pytest.mark.slow
def test_help_shows_the_answer_settings_of_the_run(place: Place) -> None:
    settings = ["experiment=text/files", "data.files=[some.txt]", "trainer.max_epochs=1", "task.length=7"]
    (place.folder / "some.txt").write_text("the dog sees the cat\n" * 60)
    run = place.train(*settings, "wandb.mode=disabled").folder
    out = place.ok("predict", "--help", f"run={run}").out
    assert "  length: 7\n" in out
    assert "  temperature: 0.0\n" in out


README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def own_package(place: Place) -> None:
    """The kind of data and the task of the README, in a package and without what is optional."""
    text = README.split("## Your own data and task\n")[1]
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    data, task = (next(b for b in blocks if f"class {name}(" in b) for name in ("LetterFacts", "Regression"))
    without = re.sub(r"\n    def save_example.*?(?=\n    (?:def|@)|\nclass |\Z)", "\n", data, flags=re.S)
    write(place, "own/__init__.py", "")
    write(place, "scatter.py", next(block for block in blocks if "def draw(" in block))
    write(place, "own/letters.py", without)
    write(place, "own/regression.py", task.replace("from letters", "from own.letters"))
    write(
        place, "strings.csv", "text,value\n" + "".join(f"{'ab' * (n % 4 + 1)}c,{n % 4}\n" for n in range(60))
    )
    write(
        place,
        "conf/data/strings.yaml",
        "_target_: own.letters.LetterStrings\nfile: strings.csv\nbatch_size: 8\nseed: 1\n",
    )
    write(
        place, "conf/task/number.yaml", "_target_: own.regression.Regression\nmonitor: val/mse\nmode: min\n"
    )


@pytest.mark.slow
def test_facts_of_a_users_package(place: Place) -> None:
    own_package(place)
    argv = ["task=number", "data=strings", "logger=none", "model.hidden_size=4", "model=gru"]
    python = [sys.executable, "-c", ALL_VERBS, *argv]
    done = subprocess.run(python, cwd=place.folder, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1:] == ["[0, 0, 0, 0]"], done.stdout + done.stderr
    # Elsewhere the module is not found: that is the cause, and not the file.
    (place.folder / "own").rename(place.folder / "moved")
    done = subprocess.run([*python, "evaluate"], cwd=place.folder, capture_output=True, text=True)
    assert "No module named 'own'; looked in" in done.stderr
    assert "damaged" not in done.stderr


ALL_VERBS = """
import sys
sys.path = [place for place in sys.path if place]  # as the console script has it
from gatewise.cli.main import main
evaluate = ["evaluate", "run=last"]
if sys.argv[-1] == "evaluate":
    sys.exit(main(evaluate))
first = main(["train", *sys.argv[1:], "trainer.max_epochs=1"])
codes = [first, main(evaluate), main(["predict", "run=last", "input=abab"])]
print([*codes, main(["train", "resume=last", "trainer.max_epochs=2"])], file=sys.stderr)
"""


def test_resume_from_of_no_run_is_refused(place: Place) -> None:
    assert place("train", "resume_from=best").line() == (
        "gatewise: error: resume_from=best: say of which run, with resume=DIR"
    )
    assert place.runs() == []
