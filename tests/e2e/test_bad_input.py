"""What a user gets wrong is one line: the value, where it stands and what to do; nothing is left behind."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from workplace import Place, write_user_files

HEAD = "@dimensions 2\n@classLabel true a b\n@data\n"
SPEECH, SERIES, TEXT = (
    ("experiment=speech/features", "data.train_file=bad.ts"),
    ("experiment=series/csv", "data.file=bad.csv", "data.time_column=time"),
    ("experiment=text/files", "data.files=[bad.txt]"),
)
FLAGS = "must be true or false, got"

SETTINGS = {
    "betas": (["optimizer.betas=3"], ["optimizer.betas must be two numbers", "got 3"]),
    "weight decay": (["optimizer.weight_decay=abc"], ["optimizer.weight_decay must be a number", "'abc'"]),
    "dropout text": (["task.dropout=abc"], ["dropout", "'abc'"]),
    "dropout": (["task.dropout=1"], ["task.dropout must be a probability of 0 or more and below 1, got 1"]),
    "smoothing": (["task.label_smoothing=5"], ["task.label_smoothing must be a share", "got 5"]),
    "T_max": (["scheduler=cosine", "scheduler.T_max=0"], ["scheduler.T_max", "at least 1, got 0"]),
    "gamma": (["scheduler=step", "scheduler.gamma=x"], ["scheduler.gamma must be a number, got 'x'"]),
    "accumulate": (
        ["trainer.accumulate_grad_batches=0"],
        ["trainer.accumulate_grad_batches must be a whole number of at least 1, got 0"],
    ),
    "patience": (
        ["callbacks.early_stopping.patience=abc"],
        ["callbacks.early_stopping.patience", "'abc'"],
    ),
    "no task": (["~task"], ["task: choose one with task=..."]),
    "null": (["optimizer=null"], ["optimizer=null: choose one of adam, adamw, sgd"]),
    "null scheduler": (["scheduler=null"], ["scheduler=null: choose one of", "~scheduler"]),
    "bidirectional": (["model.bidirectional=no"], ["model.bidirectional", f"{FLAGS} 'no'"]),
    "bias": (["model.bias=3"], ["model.bias", f"{FLAGS} 3"]),
    "initial state": (["model.learn_initial_state=maybe"], ["learn_initial_state", f"{FLAGS} 'maybe'"]),
    "tie weights": (
        ["experiment=text/files", "data.files=[mine.txt]", "task.tie_weights=no"],
        ["task.tie_weights", f"{FLAGS} 'no'"],
    ),
    "center": (
        ["experiment=series/csv", "data.file=mine.csv", "data.time_column=date", "task.center=no"],
        ["task.center", f"{FLAGS} 'no'"],
    ),
    "package": (["data.package=sktim"], ["no package 'sktim' is installed here", "data.package"]),
}

FILES = {
    "ts row": (SPEECH, HEAD + "1,2:3,4:a\n1,x:3,4:b\n", ["bad.ts:5", "'x'", "finite number"]),
    "ts lengths": (SPEECH, HEAD + "1,2:3:a\n", ["bad.ts:4", "equally long"]),
    "ts nan": (SPEECH, HEAD + "1,NaN:3,4:a\n", ["bad.ts:4", "finite number"]),
    "ts inf": (SPEECH, HEAD + "1,inf:3,4:a\n", ["bad.ts:4", "'inf'"]),
    "ts label": (SPEECH, HEAD + "1,2:3,4:c\n", ["bad.ts:4", "label 'c'", "@classLabel"]),
    "ts bytes": (SPEECH, HEAD.encode() + b"1,\xff:3,4:a\n", ["bad.ts:4", "UTF-8"]),
    "ts empty": (SPEECH, "", ["bad.ts", "no sequence"]),
    "ts too large": (
        SPEECH,
        HEAD
        + "".join(f"{value},0:3,4:{label}\n" for label in "ab" for value in ("-1.7e308", *["1.7e308"] * 9)),
        ["bad.ts:", "feature 1", "too large to scale"],
    ),
    "ts folder": (SPEECH, None, ["data.train_file=bad.ts is a folder"]),
    "csv bytes": (SERIES, b"time,x\n1,\xff\n", ["bad.csv:2", "UTF-8"]),
    "csv folder": (SERIES, None, ["data.file=bad.csv is a folder"]),
    "csv empty": (SERIES, "", ["bad.csv is empty"]),
    "csv header only": (SERIES, "time,x\n", ["bad.csv holds no row"]),
    "csv unsorted": (SERIES, "time,x\n1,2\n3,3\n2,4\n", ["bad.csv:4", "sort the rows"]),
    "csv twice": (SERIES, "time,x\n1,2\n1,3\n", ["bad.csv:3", "appears twice"]),
    "csv few": (SERIES, "time,x\n1,2\n2,3\n", ["bad.csv: rows", "too few"]),
    "csv no column": (
        (*SERIES, "data.columns=[y]"),
        "time,x\n1,2\n2,3\n",
        ["bad.csv:1", "'y'", "data.columns"],
    ),
    "csv no time": (SERIES, "date,x\n1,2\n2,3\n", ["bad.csv:1", "'time'", "data.time_column"]),
    "csv word": (SERIES, "time,x\n1,2\n2,3\n3,abc\n", ["bad.csv:4", "'abc'"]),
    "csv gap": (SERIES, "time,x\n1,2\n2,\n3,4\n", ["bad.csv:3", "missing"]),
    "csv header twice": (SERIES, "time,x,x\n1,2,3\n", ["bad.csv:1", "'x' twice"]),
    "csv too large": (
        (*SERIES, "data.lookback=2", "data.horizon=1"),
        "time,x\n" + "".join(f"{i},{'1e308' if i in (3, 5) else i}\n" for i in range(40)),
        ["bad.csv", "'x'", "too large to scale"],
    ),
    "csv too large later": (
        (*SERIES, "data.lookback=2", "data.horizon=1"),
        "time,x\n" + "".join(f"{i},{'1e308' if i == 38 else i}\n" for i in range(40)),
        ["bad.csv", "'x' at 38", "too large compared with the training data"],
    ),
    "text bytes": (TEXT, b"a b\n\xff\n", ["bad.txt:2", "UTF-8"]),
    "text folder": (TEXT, None, ["data.files=bad.txt is a folder"]),
    "text empty": (TEXT, "", ["bad.txt holds no text", "data.files"]),
    "text short": (TEXT, "a b c\n", ["training text", "token(s)"]),
}
CASES = {
    **{name: ((), argv, bits) for name, (argv, bits) in SETTINGS.items()},
    **{name: (content, argv, bits) for name, (argv, content, bits) in FILES.items()},
}


QUICK = {
    "dropout",
    "no task",
    "center",
    "package",
    "ts nan",
    "ts folder",
    "csv gap",
    "csv too large",
    "text bytes",
}


@pytest.mark.parametrize(
    ("content", "argv", "bits"),
    [
        pytest.param(*case, id=name, marks=[] if name in QUICK else [pytest.mark.slow])
        for name, case in CASES.items()
    ],
)
def test_a_mistake_is_one_line(place: Place, content, argv: list[str], bits: list[str]) -> None:
    write_user_files(place.folder)
    if content != ():
        name = next(word for setting in argv for word in ("bad.ts", "bad.csv", "bad.txt") if word in setting)
        path = place.folder / name
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = place("train", "wandb.mode=disabled", *argv)
    assert result.code == 1, result.err
    line = result.line()
    assert line.startswith("gatewise: error: ")
    for bit in bits:
        assert bit in line, line
    assert not (place.folder / "runs").exists()


@pytest.mark.parametrize(
    ("argv", "bits"),
    [
        (["run=123"], ["run=123", "not a run directory"]),
        (["run=123", "output=nodir/x.csv"], ["output=nodir/x.csv: there is no folder nodir"]),
        (["run=123", "output=."], ["output=.: is a folder"]),
    ],
)
@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_a_run_or_an_output_that_is_not_there(
    place: Place, verb: str, argv: list[str], bits: list[str]
) -> None:
    result = place(verb, *argv, *(["input=x"] if verb == "predict" else []))
    assert result.code == 1
    for bit in bits:
        assert bit in result.line()


TINY = ("trainer.max_epochs=1", "model.hidden_size=4")


@pytest.mark.slow
def test_other_text_is_scored_whole_and_prompts_are_shown_as_they_are(place: Place) -> None:
    write_user_files(place.folder)
    (place.folder / "other.txt").write_text("And the king saw [/INST] the [bold] city.\n" * 20)
    tokens = "and the king saw [/INST] [bold] :smile:\n" * 200
    (place.folder / "odd.txt").write_text(tokens)
    place.train(
        "experiment=text/files",
        "data.files=[odd.txt]",
        "data.tokenizer=whitespace",
        "data.lowercase=false",
        "data.min_count=1",
        *TINY,
    )
    out = place.ok("predict", "run=last", "input=and the king saw", "task.top_k=20").out
    for token in ("[/INST]", "[bold]", ":smile:"):
        assert token in out
    wrong = place("predict", "run=last", "input=the king", "task.top_k=0").line()
    assert wrong.endswith("task.top_k must be a whole number of at least 1, got 0")
    wrong = place("predict", "run=last", "input=the king", "task.embedding_size=4").line()
    assert "task.embedding_size: no such setting of a prediction. It has: top_k, length" in wrong
    assert "not in the vocabulary, read as <unk>: queen" in place.ok("predict", "input=the queen").out
    for name in ("nonexist.txt", "sub/no.md"):
        assert place("predict", f"input={name}").line().endswith(f"input={name}: there is no such file")
    place.ok("evaluate", "+data.test_files=[other.txt]", "output=scores.json")
    assert "perplexity" in (place.folder / "scores.json").read_text()
    assert "no text" in _fail_on_empty(place, "+data.test_files=[empty.txt]", "empty.txt")
    other = place("evaluate", "data.tokenizer=char").line()
    assert "data.tokenizer: got 'char', but the run was trained with 'word'" in other


def _fail_on_empty(place: Place, setting: str, name: str) -> str:
    (place.folder / name).write_text("")
    return place("evaluate", setting).line()


@pytest.mark.slow
def test_other_series_are_scored_whole(place: Place) -> None:
    write_user_files(place.folder)
    small = ("data.lookback=12", "data.horizon=3", *TINY)
    place.train("experiment=series/sunspots", "data.max_rows=400", *small)
    missing = place("evaluate", "+data.test_file=mine.csv")
    assert "no column 'month'" in missing.line()
    assert "data.time_column" in missing.line()
    days = "month,sunspots\n" + "".join(
        f"2001-{1 + i // 28:02d}-{1 + i % 28:02d},{i % 9}\n" for i in range(60)
    )
    (place.folder / "spots.csv").write_text(days)
    first = place.ok("evaluate", "+data.test_file=spots.csv").out
    (place.folder / "named.csv").write_text(days.replace("month", "day", 1))
    assert place.ok("evaluate", "+data.test_file=named.csv", "+data.time_column=day").out == first
    assert "test_file=no.csv was not found" in place("evaluate", "+data.test_file=no.csv").line()


def test_other_features_are_looked_for_in_the_working_folder_first(place: Place) -> None:
    draw = np.random.default_rng(0)
    labels = np.array(["1", "2", "3"])
    np.savez(place.folder / "mine.npz", sequences=draw.normal(size=(3, 5, 12)), labels=labels)
    place.train("trainer.max_epochs=1", "model.hidden_size=4")
    assert "accuracy" in place.ok("evaluate", "run=last", "+data.test_file=mine.npz").out
    line = place("evaluate", "+data.test_file=nosuch.ts").line()
    assert str(Path(place.folder)) in line
    assert "sktime holds no file nosuch.ts" in line


SUNSPOTS, BIBLE = "experiment=series/sunspots", "experiment=text/king_james"
PROBABILITY = "must be a probability of 0 or more and below 1, got"
BEFORE_TORCH = [
    (["model.hidden_size=abc"], "model.hidden_size must be a whole number, got 'abc'"),
    (["seed=one"], "seed must be a whole number, got 'one'"),
    (["optimizer.lr=fast"], "optimizer.lr must be a number, got 'fast'"),
    (["model.bidirectional=yep"], "model.bidirectional must be true or false, got 'yep'"),
    (["model.hidden_size=0"], "model.hidden_size must be a whole number of at least 1, got 0"),
    (["model.dropout=1.5"], f"model.dropout {PROBABILITY} 1.5"),
    (
        ["model=rnn", "model.cell.nonlinearity=rele"],
        "model.cell.nonlinearity='rele' is unknown (did you mean 'r",
    ),
    (
        ["model.engine=nativ"],
        "model.engine='nativ' is unknown (did you mean 'native'?); choose one of: auto, ",
    ),
    (["optimizer.lr=-1"], "optimizer.lr must be a number of 0 or more, got -1"),
    (
        ["optimizer=sgd", "optimizer.momentum=-0.1"],
        "optimizer.momentum must be a number of 0 or more, got -0.1",
    ),
    (["data.batch_size=0"], "data.batch_size must be a whole number of at least 1, got 0"),
    (["data.validation_fraction=1.0"], "data.validation_fraction must be a number between 0 and 1 (both"),
    (["data.train_file=no.ts"], "data.train_file=no.ts: the installed package sktime holds no file no.ts"),
    (
        ["experiment=series/csv", "data.time_column=t", "data.file=no.csv"],
        "data.file=no.csv was not found in ",
    ),
    (["experiment=series/csv", "data.time_column=t"], "data.file: a value is required, e.g. data.file=..."),
    (["experiment=text/files", "data.files=[no.txt]"], "data.files=no.txt was not found in "),
    (
        [SUNSPOTS, "data.dataset=null"],
        "data: give one of data.file and data.dataset (sunspots_monthly, m1_yearly, generated), got",
    ),
    ([SUNSPOTS, "data.train_fraction=0.95"], "data: train_fraction=0.95 and validation_fraction=0.1 leave"),
    (
        [SUNSPOTS, "task.output=quantiles", "task.loss=mae"],
        "loss=mae is for output=point, and output=quantiles has the pinball loss: set loss=null",
    ),
    (
        [SUNSPOTS, "task.loss=rmse"],
        "task.loss='rmse' is unknown (did you mean 'mse'?); choose one of: mse, mae",
    ),
    ([BIBLE, "data.files=[a.txt]"], "data: give either corpus (king_james), or files, or all of"),
    ([BIBLE, "model=bilstm"], "task: a bidirectional encoder sees the next token before predicting it"),
    (
        [BIBLE, "task.tie_weights=true", "model.hidden_size=8"],
        "task: tie_weights needs task.embedding_size = mo",
    ),
    (
        ["task=forecasting"],
        "task=forecasting takes time-series windows with lookback and horizon, but data=japanese_vowels "
        "gives labelled",
    ),
    (["task.mode=mix"], "task.mode='mix' is unknown (did you mean 'min'?); choose one of: min, max"),
    (
        ["scheduler=step", "scheduler.step_size=0"],
        "scheduler.step_size must be a whole number of at least 1, got 0",
    ),
    (["scheduler=step", "scheduler.gamma=-1"], "scheduler.gamma must be a number of 0 or more, got -1"),
    (["trainer.max_epochs=-2"], "trainer.max_epochs must be a whole number of at least -1 or null, got -2"),
    (
        ["trainer.limit_train_batches=1.5"],
        "trainer.limit_train_batches must be a share from 0.0 to 1.0 or a ",
    ),
    (
        ["trainer.gradient_clip_val=-1"],
        "trainer.gradient_clip_val must be a number of 0 or more or null, got -1",
    ),
    (
        ["trainer.accelerator=gpuu"],
        "trainer.accelerator='gpuu' is unknown (did you mean 'gpu'?); choose one of: cpu, gpu",
    ),
    (["trainer.devices=0"], "trainer.devices=0: give a whole number of at least 1"),
    (
        ["callbacks.early_stopping.patience=-1"],
        "callbacks.early_stopping.patience must be a whole number of at",
    ),
    (
        ["wandb.mode=offlin"],
        "wandb.mode='offlin' is unknown (did you mean 'offline'?); choose one of: offline, online",
    ),
    (["threads=0"], "threads must be a whole number of at least 1 or null, got 0"),
    (["name=../x"], "name must be a folder such as text/mine, got '../x'"),
    (["~model"], "model: choose one with model=..."),
    (
        ["resume=123"],
        "resume=123: not a run directory (there is no such folder); give a run directory or last",
    ),
]
OTHER_VERBS = [
    (["bench", "training", "optimizer.lr=-1"], "optimizer.lr must be a number of 0 or more, got -1"),
    (
        ["evaluate", "split=tset"],
        "split='tset' is unknown (did you mean 'test'?); choose one of: test, valid",
    ),
    (["evaluate", "run=123"], "run=123: not a run directory"),
    (["predict", "input=x", "output=."], "output=.: is a folder"),
]


WITHOUT_TORCH = [*((["train", *argv], line) for argv, line in BEFORE_TORCH), *OTHER_VERBS]


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(WITHOUT_TORCH[::4], id="some"),
        pytest.param(
            [case for i, case in enumerate(WITHOUT_TORCH) if i % 4], id="others", marks=pytest.mark.slow
        ),
    ],
)
def test_what_is_known_without_torch_does_not_wait_for_it(
    place: Place, cases: list[tuple[list[str], str]]
) -> None:
    # All in one process, which would have imported torch for any of them.
    code = (
        "import json, sys; from gatewise.cli.main import main;"
        "print([main(argv) for argv in json.loads(sys.argv[1])]);"
        "print(sorted({'torch', 'pytorch_lightning', 'pandas', 'wandb'} & set(sys.modules)))"
    )
    argv = [sys.executable, "-c", code, json.dumps([argv for argv, _ in cases])]
    result = subprocess.run(argv, cwd=place.folder, capture_output=True, text=True)
    for said, (_, line) in zip(result.stderr.splitlines(), cases, strict=True):
        assert said.startswith(f"gatewise: error: {line}")
    assert result.stdout == f"{[1] * len(cases)}\n[]\n"
    assert list(place.folder.iterdir()) == []


def processor_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_wrong_setting_takes_no_time(place: Place) -> None:
    argv = [sys.executable, "-m", "gatewise", "train", "optimizer.lr=-1"]
    before = processor_seconds_of_children()
    result = subprocess.run(argv, cwd=place.folder, capture_output=True, text=True)
    assert result.returncode == 1
    # 0.65 s measured; the promise is 2 s. Other tests run on this machine, so not by the clock.
    assert processor_seconds_of_children() - before < 2


def test_words_are_fine_where_the_setting_takes_them(place: Place) -> None:
    place.train("trainer.devices=auto", "trainer.deterministic=warn", "debug=one_batch")
