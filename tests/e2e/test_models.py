"""Every model on every kind of data; and what is refused leaves one clear line and nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from workplace import Place, write_user_files

from gatewise.runs.metrics import read_metrics

QUICK = {
    "speech/japanese_vowels": [],
    "series/sunspots": ["data.max_rows=1500"],
    "text/king_james": ["data.max_tokens=5000", "data.validation_fraction=0.003", "data.test_fraction=0.003"],
}
MODELS = {
    "lstm": "LSTM",
    "bilstm": "LSTM",
    "gru": "GRU",
    "rnn": "RNN",
    "peephole_lstm": "PeepholeLSTM",
    "capped_lstm": "CappedLSTM",
    "coupled_lstm": "CoupledLSTM",
    "layer_norm_lstm": "LayerNormLSTM",
    "lstm_1997": "LSTM1997",
    "projected_lstm": "ProjectedLSTM",
    "stacked_lstm": "LSTM",
    "min_gru": "MinGRU",
    "min_lstm": "MinLSTM",
}


def test_every_model_of_conf_is_tried() -> None:
    from gatewise.config.compose import conf_folder

    names = {path.stem for path in (conf_folder() / "model").glob("*.yaml")}
    assert names - {"base"} == set(MODELS)  # what the others stand on, without a cell


# Each model meets one kind of data in the quick tests, and each kind meets several models.
PAIRS = [
    pytest.param(model, experiment, marks=[] if index % len(QUICK) == turn else [pytest.mark.slow])
    for index, model in enumerate(MODELS)
    for turn, experiment in enumerate(QUICK)
    if (model, experiment) != ("bilstm", "text/king_james")  # refused: test_bad_input.py
]


@pytest.mark.parametrize(("model", "experiment"), PAIRS)
def test_a_model_trains(place: Place, experiment: str, model: str) -> None:
    argv = [f"experiment={experiment}", f"model={model}", "debug=one_batch", *QUICK[experiment]]
    run = place.train(*argv, "callbacks.learning_curves=null")
    assert (run.choices()["model"], run.state()) == (model, "done")
    config = run.config().model
    assert config.cell["_target_"] == f"gatewise.cells.{MODELS[model]}"
    assert config.bidirectional == (model == "bilstm")
    assert len(read_metrics(run.metrics_file)) == 1


@pytest.mark.slow
def test_zoneout_of_each_state_from_the_command_line(place: Place) -> None:
    run = place.train("debug=one_batch", "model.zoneout={h: 0.05, c: 0.5}", "callbacks.learning_curves=null")
    assert run.config().model.zoneout == {"h": 0.05, "c": 0.5}
    assert place("evaluate", f"run={run.folder}").code == 0


@pytest.mark.parametrize(
    "experiment",
    [
        "series/sunspots",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("speech/japanese_vowels", "text/king_james")
        ),
    ],
)
@pytest.mark.parametrize("precision", ["bf16-mixed", pytest.param("bf16-true", marks=pytest.mark.slow)])
def test_a_run_in_bfloat16_is_whole(place: Place, experiment: str, precision: str) -> None:
    short = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "model.hidden_size=8"]
    run = place.train(
        f"experiment={experiment}", f"trainer.precision={precision}", *QUICK[experiment], *short
    )
    assert run.state() == "done"
    place.ok("evaluate", "run=last")
    examples = [str(path) for path in run.folder.glob("example.*")]
    place.ok("predict", "run=last", f"input={(examples or ['and the king'])[0]}")


# Beside what test_bad_input.py has.
WRONG = [
    # What does not fit together is named on both sides.
    (["data=sunspots"], "task=classification takes labelled", "data=sunspots gives time-series windows"),
    (["data=king_james"], "task=classification takes labelled", "data=king_james gives running text"),
    (["task=language_modelling"], "task=language_modelling takes running text", "data=japanese_vowels gives"),
    # What is required.
    (["experiment=series/csv", "data.file=mine.csv"], "data.time_column: a value is required", ""),
    (["experiment=speech/features"], "data.train_file: a value is required", ""),
    (["experiment=text/files"], "data.files: a value is required", ""),
    # Files that are not there, or not what they should be.
    (
        ["experiment=speech/features", "data.train_file=mne.ts"],
        "data.train_file=mne.ts was not found in",
        "mine.ts",
    ),
    (
        ["experiment=series/csv", "data.file=mine.csv", "data.time_column=dat"],
        "mine.csv:1: no column 'dat' (did you mean 'date'?)",
        "data.time_column",
    ),
    # A setting without a home, of every part that is built.
    (["+task.nosuch=1"], "task.nosuch: no such setting of SequenceClassification", ""),
    (["+data.nosuch=1"], "data.nosuch: no such setting of FeatureSequences", ""),
    (["+model.nosuch=1"], "model.nosuch: no such setting of Recurrent", ""),
    (["+model.cell.nosuch=1"], "model.cell.nosuch: no such setting of LSTM", ""),
    (["+optimizer.nosuch=1"], "optimizer.nosuch: no such setting of Adam", ""),
    (["scheduler=step", "+scheduler.nosuch=1"], "scheduler.nosuch: no such setting of StepLR", ""),
    (["+trainer.nosuch=1"], "trainer.nosuch: no such setting of Trainer", ""),
    (["+callbacks.timer.nosuch=1"], "callbacks.timer.nosuch: no such setting of Timer", ""),
    (["+logger.wandb.nosuch=1"], "logger.wandb.nosuch: no such setting of make_logger", ""),
    # A value that cannot be, of every part.
    (["task.pooling=sum"], "task.pooling='sum' is unknown; choose one of: last, mean, max", ""),
    (["model.weight_dropout=1"], "model.weight_dropout must be a probability of 0 or more", "got 1"),
    (["model.zoneout=1"], "model.zoneout must be a probability of 0 or more and below 1, got 1", ""),
    (["model.zoneout={c: much}"], "model.zoneout.c must be a probability", "got 'much'"),
    (["model.zoneout={C: 0.1}"], "model: zoneout='C' is unknown (did you mean 'c'?)", "choose one of: h, c"),
    (["model=projected_lstm", "model.zoneout=0.1"], "model: zoneout=0.1 would keep h", "zoneout={c: 0.1}"),
    (["model=projected_lstm", "model.cell.projection_size=0"], "model.cell.projection_size must be a", ""),
    (["model.cell=gatewise.cells.LSTM"], "cell", ""),
    (["scheduler=plateau", "scheduler.factor=2"], "scheduler: Factor should be < 1.0", ""),
    (["trainer.precision=half"], "trainer.precision='half' is unknown; choose one of: 32-true, 16-mixed", ""),
    (["trainer.max_epochs=many"], "trainer.max_epochs must be a whole number", "got 'many'"),
    (["trainer=gpu"], "trainer.accelerator=gpu: no CUDA GPU is visible here; use trainer=cpu", ""),
    (["callbacks.early_stopping.mode=up"], "callbacks.early_stopping.mode='up' is unknown", "min, max"),
    (["+logger.mine._target_=nosuch.Logger"], "logger.mine._target_=nosuch.Logger: No module named", ""),
    (["seed=-1"], "seed must be a whole number of at least 0, got -1", ""),
    (["name=null"], "name must be a folder such as text/mine, got None", ""),
    (["name=../elsewhere"], "name must be a folder such as text/mine, got '../elsewhere'", ""),
    (["resume=last"], "no run has been started in", "train one first"),
]


@pytest.fixture(scope="module")
def with_files(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("user") / "work")
    write_user_files(place.folder)
    return place


@pytest.mark.parametrize(
    ("argv", "start", "also"),
    [
        pytest.param(*case, id=" ".join(case[0]), marks=[] if place % 6 == 0 else [pytest.mark.slow])
        for place, case in enumerate(WRONG)
    ],
)
def test_what_a_user_got_wrong_is_one_line_and_no_run(
    with_files: Place, argv: list[str], start: str, also: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if argv == ["trainer=gpu"]:
        monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    result = with_files("train", "debug=one_batch", *argv)
    assert result.code == 1
    assert start in result.line()
    assert also in result.line()
    assert with_files.runs() == []
    assert not (with_files.folder / "runs").exists()
    assert not Path(with_files.folder.parent, "elsewhere").exists()


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (
            ["evaluate", "run=last", "split=train"],
            "split='train' is unknown; choose one of: test, validation",
        ),
        (
            ["evaluate", "run=last", "checkpoint=first"],
            "checkpoint='first' is unknown; choose one of: best, last",
        ),
        (["evaluate", "run=last", "accelerator=abacus"], "abacus"),
        (["evaluate", "run=last", "+data.nosuch=1"], "data.nosuch: no such setting of FeatureSequences"),
        (["evaluate", "run=runs"], "run=runs: not a run directory (holds no config.yaml)"),
        (["predict", "run=last"], "input: a value is required"),
        (["predict", "run=last", "input=nosuch.npy"], "input=nosuch.npy: there is no such file"),
        (["predict", "run=last", "input=mine.csv"], "mine.csv:1: no column 'sequence'"),
        (["predict", "run=last", "input=mine.ts"], "3 features, but"),
    ],
)
def test_what_is_wrong_with_evaluate_and_predict_is_one_line(
    trained_once: Place, argv: list[str], line: str
) -> None:
    result = trained_once(*argv)
    assert result.code == 1
    assert line in result.line()


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("trained") / "work")
    write_user_files(place.folder)
    place.train("trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.limit_test_batches=1")
    return place


def test_a_monitored_metric_that_is_not_there_is_named(place: Place) -> None:
    result = place("train", "debug=one_batch", "task.monitor=val/acuracy")
    assert result.code == 1
    assert "task.monitor=val/acuracy: is not measured; did you mean val/accuracy?" in result.line()
    assert place.runs() == []
