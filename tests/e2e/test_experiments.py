"""Every experiment trains, and its run directory alone is enough to evaluate and to predict."""

from __future__ import annotations

import contextlib
import csv
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from workplace import Place, read_json, test_metrics, write_user_files

from gatewise.config.compose import conf_folder
from gatewise.data.files import installed_file
from gatewise.runs.metrics import read_metrics
from gatewise.runs.run import Run


class Short(NamedTuple):
    """How an experiment is cut short, and what its run then predicts for: input → rows of the answer."""

    overrides: list[str]
    inputs: dict[str, int]


NAMES = (
    *("token", "class", "label", "date", "month", "continuation", "text", "attention", "translation", "word"),
    *("transcript", "file", "starts"),
    *("caption", "picture"),
    *("tag", "tag in the file", "predicted label", "predicted sea", "sea", "unique_id", "ds"),
)
"""Columns of an answer that hold no numbers."""
VOWELS = "datasets/data/JapaneseVowels/JapaneseVowels_TEST.ts"
TEXTS = {
    "and it was": 10,
    'In the beginning, God said: "Let there be light", and it\'s [so]': 10,
    "'quoted' and ${not.a.setting} = {all, of: it}\\": 10,
    "{work}/prompt.txt": 10,
}
EXPERIMENTS = {
    "speech/japanese_vowels": Short(
        ["trainer.limit_train_batches=3"], {"{run}/example.npy": 1, "{vowels}": 370}
    ),
    "speech/features": Short(
        ["data.train_file=mine.ts"], {"{work}/mine.ts": 60, "{work}/mine.npz": 60, "{run}/example.npy": 1}
    ),
    "series/sunspots": Short(["data.stride=40", "data.max_rows=1500"], {"{run}/example.csv": 12}),
    "series/csv": Short(
        ["data.file=mine.csv", "data.time_column=date", "data.lookback=14", "data.horizon=5"],
        {"{work}/mine.csv": 5, "{run}/example.csv": 5},
    ),
    "text/king_james": Short(
        ["data.max_tokens=8000", "data.validation_fraction=0.003", "data.test_fraction=0.003"], TEXTS
    ),
    "text/files": Short(["data.files=[mine.txt]", "model.hidden_size=16"], TEXTS),
    "text/labels": Short(
        ["data.files=[mine.jsonl]", "task.pooling=attention"],
        {"and it was": 1, "{work}/mine.jsonl": 90, "{work}/prompt.txt": 2, "{work}/mine.calm": 30},
    ),
    "text/several_labels": Short(
        ["data.files=[mine.jsonl]", "data.label_columns=[label,sea]"],
        {"and it was": 1, "{work}/mine.jsonl": 90, "{work}/prompt.txt": 2},
    ),
    "text/mr": Short(
        ["data.files=[mine.calm,mine.storm]", "model.hidden_size=8", "task.embedding_size=8"],
        {"and it was": 1, "{work}/prompt.txt": 2},
    ),
    # Of tags, a row for every word.
    "text/conll": Short(
        [
            *("data.files=[mine.iob1]", "model.hidden_size=8", "model.num_layers=1", "task.embedding_size=8"),
            "model.state_dropout=0",  # else another form of the cell has to be compiled
        ],
        {"Ann left New York": 4, "{work}/mine.conll": 281, "{work}/prompt.txt": 10},
    ),
}
EXPERIMENTS["captions/files"] = Short(
    [
        *("data.files=[mine.json]", "data.images=pictures", "data.height=16", "data.width=16"),
        *("task.encoder_sizes=[8,8]", "task.embedding_size=8", "model.hidden_size=16", "threads=1"),
        "task.beam=1",  # as a validation has it
    ],
    {"{run}/example.png": 1, "{work}/pictures/0.png": 1},
)
PAIRS = ("pairs", "multi30k", "multi30k_quick")
"""Translations whose test part is whole, so that its first texts are drawn."""
OWN_PAIRS = ["data.source_files=[mine.txt]", "data.target_files=[mine.txt]", "data.vocabulary_size=300"]
OWN_PAIRS += ["model.hidden_size=16", "task.embedding_size=16"]
EXPERIMENTS["text/pairs"] = Short(
    [*OWN_PAIRS, "data.lowercase=true"], {"and it was": 1, "{work}/prompt.txt": 2, "{work}/mine.calm": 30}
)
THREE_FILES = [f"data.{part}_files=[mine.txt]" for part in ("train", "validation", "test")]
SMALL = ["model.hidden_size=16", "task.embedding_size=16"]
ONE_INPUT = {"and it was": 10}
RECIPES = {
    **{
        f"text/lm_{name}": Short([*THREE_FILES, *SMALL], ONE_INPUT)
        for name in ("zaremba_small", "zaremba_medium", "zaremba_large", "tied_512", "melis_24m")
    },
    "text/lm_awd": Short([*THREE_FILES, "model.hidden_size=[24,24,16]", "task.embedding_size=16"], ONE_INPUT),
    "text/king_james_rnn": Short(
        ["data.max_tokens=8000", "data.validation_fraction=0.003", "data.test_fraction=0.003"], ONE_INPUT
    ),
    **{
        f"text/char_{size}": Short(
            ["data.files=[mine.txt]", "model.hidden_size=16", "trainer.check_val_every_n_epoch=1"], ONE_INPUT
        )
        for size in ("small", "large")
    },
    # An evaluation scores all of the test, so the texts are few; a validation decodes greedily.
    **{
        f"text/{name}": Short([*OWN_PAIRS, "data.corpus=null", "task.beam=1"], {"and it was": 1})
        for name in ("kjv_bbe", "cmudict")
    },
    **{
        f"text/multi30k{size}": Short(
            [
                *OWN_PAIRS,
                *(
                    f"data.{part}_{side}_files=null"
                    for part in ("validation", "test")
                    for side in ("source", "target")
                ),
            ],
            {"and it was": 1},
        )
        for size in ("", "_quick")
    },
    **{
        f"series/{name}": Short(
            [
                *("data.file=mine.csv", "data.split_rows=null", "data.lookback=14", "data.horizon=5"),
                *("data.season=1", "task.segment_length=7", "model.hidden_size=16"),
            ],
            {"{run}/example.csv": 5},
        )
        for name in ("etth1", "etth1_720")
    },
    "text/wnut17": Short(
        [
            *(f"data.{part}files=[mine.conll]" for part in ("", "validation_", "test_")),
            *("data.separator=space", "model.hidden_size=8", "task.embedding_size=8"),
        ],
        {"Ann left New York": 4},
    ),
    "text/verses": Short(
        ["trainer.limit_train_batches=3", "data.linear_baseline=false"],
        {"and it was": 1, "{work}/prompt.txt": 2},
    ),
    "text/greek_tags": Short(["trainer.limit_train_batches=3"], {"Ἐν ἀρχῇ ἦν ὁ λόγος,": 5}),
    "series/archive": Short(["data.dataset=UnitTest"], {"{run}/example.npy": 1}),
}
PEN = ["data.train_file=mine.pen", "data.test_file=null", "model.hidden_size=8"]
RECIPES |= {
    "captions/scenes": Short(
        [
            *(f"data.{part}_size={size}" for part, size in (("train", 60), ("validation", 20), ("test", 20))),
            "task.beam=1",  # as a validation has it
        ],
        {"{run}/example.png": 1},
    ),
    "strokes/files": Short(PEN, {"{work}/mine.pen": 60, "{run}/example.jsonl": 1}),
    "strokes/pendigits": Short(PEN, {"{work}/mine.pen": 60, "{run}/example.jsonl": 1}),
    "strokes/line_ctc": Short(
        # A beam of 1, or an evaluation would search where a validation takes the best path.
        [*PEN, "task.beam=1", *(f"data.{part}_lines=20" for part in ("train", "validation", "test"))],
        {"{work}/mine.pen": 60, "{run}/example.jsonl": 1},
    ),
    # Predicted are the series of the example, which has three of several.
    "series/long": Short(
        ["data.file=mine.long.csv", "data.lookback=8", "data.horizon=4"],
        {"{work}/mine.long.csv": 20, "{run}/example.csv": 12},
    ),
    "series/generated": Short(["data.stride=100", "data.max_series=20"], {"{run}/example.csv": 36}),
    # Its own series need a package that is an extra.
    "series/m1_yearly": Short(
        ["data.dataset=null", "data.file=mine.long.csv", "data.time_column=ds"],
        {"{work}/mine.long.csv": 30, "{run}/example.csv": 18},
    ),
}
DIGITS = ["data.dataset=null", "data.files=[mine.tsv]", "data.text_column=label", "data.test_strings=4"]
DIGITS += ["data.train_strings=8", "data.validation_strings=4", "model.hidden_size=8", "task.beam=1"]
RECIPES |= {
    f"speech/{name}": Short(DIGITS, {"{run}/example.wav": 1})
    for name in ("digits_ctc", "digits_ctc_streaming")
}
RECIPES["speech/transcripts"] = Short(
    ["data.files=[mine.tsv]", "data.sample_rate=8000", "model.hidden_size=8", "task.beam=1"],
    {"{work}/spoken/3.wav": 1, "{run}/example.wav": 1},
)
SPOKEN = ["data.dataset=null", "data.files=[mine.tsv]", "data.sample_rate=8000", "model.hidden_size=8"]
RECIPES |= {
    "speech/files": Short(SPOKEN, {"{work}/spoken/3.wav": 1, "{work}/mine.tsv": 24, "{work}/spoken": 24}),
    "speech/fsdd": Short(SPOKEN, {"{work}/spoken/3.wav": 1, "{run}/example.wav": 1}),
    "speech/fsdd_unseen": Short([*SPOKEN, "data.test_speakers=[s2]"], {"{run}/example.wav": 1}),
    "speech/japanese_vowels_tuned": Short(["trainer.limit_train_batches=3"], {"{run}/example.npy": 1}),
}
"""Recipes of models that others of these also are, at other sizes: all of them slow tests."""
EXPERIMENTS |= RECIPES


# Evaluating and predicting in every way is tried with one experiment of each kind of data; with the others,
# which differ in their data alone, in the slow tests.
ONE_OF_EACH_KIND = {
    "speech/features",
    "series/csv",
    "captions/files",
    *(f"text/{of}" for of in ("files", "labels", "pairs", "conll")),
}
one_of_each_kind = pytest.mark.parametrize(
    "trained",
    [
        pytest.param(name, marks=[] if name in ONE_OF_EACH_KIND else [pytest.mark.slow])
        for name in EXPERIMENTS
    ],
    indirect=True,
    scope="module",
)


def test_every_experiment_has_a_run_here() -> None:
    folder = conf_folder() / "experiment"
    files = {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml")}
    assert files == set(EXPERIMENTS), "add the new experiment to the table above, cut short to seconds"


@dataclass
class Trained:
    place: Place
    run: Run
    experiment: str
    screen: str

    @property
    def name(self) -> str:
        """What its runs are called: a file of the user's own shows."""
        more = "+1" if self.experiment == "text/mr" else ""
        overrides = EXPERIMENTS[self.experiment].overrides
        own = any("mine." in setting for setting in overrides)
        more += ".long" if "data.file=mine.long.csv" in overrides else ""
        return f"{self.experiment}/mine{more}" if own else self.experiment

    def inputs(self, work: Path, run: Path) -> list[tuple[str, int]]:
        names = {
            "{work}": str(work),
            "{run}": str(run),
            "{vowels}": str(installed_file("sktime", VOWELS, "")),
        }
        found = []
        for text, rows in EXPERIMENTS[self.experiment].inputs.items():
            for name, value in names.items():
                text = text.replace(name, value)
            found.append((text, rows))
        return found


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.slow] if name in RECIPES else []) for name in EXPERIMENTS],
)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    place = Place(tmp_path_factory.mktemp("user") / "work")
    write_user_files(place.folder)
    (place.folder / "prompt.txt").write_text('He said, "the king\nsaw the city"')
    overrides = EXPERIMENTS[request.param].overrides
    argv = [f"experiment={request.param}", "trainer.max_epochs=1", "wandb.mode=disabled", *overrides]
    screen = place.ok("train", *argv).out
    return Trained(place, place.last(), request.param, screen)


WHOLE = [
    "config.yaml", "overrides.yaml", "facts.json", "status.json", "metrics.csv", "summary.json", "log.txt",
    "test_report.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "plots/learning_curves.png",
]  # fmt: skip
CLASSES = ["confusion_matrix.png", "mistakes.png"]
PICTURES = {
    "speech": ["confusion_matrix.png"], "series": ["forecasts.png"],
    "series/archive": ["confusion_matrix.png"],
    **{f"speech/{name}": ["alignment.png"] for name in ("transcripts", "digits_ctc", "digits_ctc_streaming")},
    "strokes": ["confusion_matrix.png"], "strokes/line_ctc": ["alignment.png"],
    "text/labels": CLASSES, "text/mr": CLASSES, "text/verses": CLASSES,
    **{f"text/{name}": ["attention.png"] for name in PAIRS},
    "text/conll": ["span_scores.png"], "captions": ["caption_attention.png"],
}  # fmt: skip


def test_the_run_directory_is_whole(trained: Trained) -> None:
    folder = trained.run.folder
    assert folder.parent == trained.place.folder / "runs" / trained.name
    assert [name for name in WHOLE if not (folder / name).is_file()] == []
    # What ran, and not what was asked for, which is auto.
    assert {*trained.run.summary()["engine"].split("+")} <= {"native", "torch", "cuda", "function"}
    kind = trained.experiment.split("/")[0]
    for name in PICTURES.get(trained.experiment, PICTURES.get(kind, [])):
        assert (folder / "plots" / name).is_file()
    for picture in folder.glob("plots/*.png"):
        assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    # Nothing half-written is left, and nothing beside the runs.
    assert [p for p in folder.rglob(".*") if p.name != ".lock"] == []
    assert {p.name for p in (trained.place.folder / "runs").iterdir()} == {
        trained.experiment.split("/")[0],
        "last",
    }


def test_its_files_agree(trained: Trained) -> None:
    run = trained.run
    summary, rows = run.summary(), read_metrics(run.metrics_file)
    assert read_json(run.folder / "status.json")["state"] == "done"
    assert (summary["name"], summary["id"], summary["seed"]) == (trained.name, run.id, 1)
    assert [row["epoch"] for row in rows] == [1]
    assert summary["final"] == rows[-1]
    assert summary["best"][run.config().task.monitor] == rows[0][run.config().task.monitor]
    assert summary["baselines"]
    assert f"experiment={trained.experiment}" in (run.folder / "overrides.yaml").read_text()
    assert "epoch 1/1" in run.log_file.read_text()
    assert torch.load(run.checkpoint("best"), weights_only=True)["epoch"] == 0


@one_of_each_kind
def test_the_screen_says_what_was_done_and_what_to_do_next(trained: Trained) -> None:
    for part in (trained.experiment, "epoch 1/1", "test results", "Run directory", "predict run=last input="):
        assert part in trained.screen
    # The line offered for prediction works as it stands, but for the shell's quotes.
    offered = next(line for line in trained.screen.splitlines() if "predict run=last" in line)
    trained.place.ok("predict", "run=last", offered.split("run=last ")[1].replace('"', ""))


@one_of_each_kind
def test_evaluate_gives_the_metrics_of_the_training(trained: Trained) -> None:
    trained.place.ok("evaluate", "run=last", "output=again.json")
    again = read_json(trained.place.folder / "again.json")
    del again["run"]
    assert again == test_metrics(trained.run)


@one_of_each_kind
def test_evaluate_on_the_validation_split_gives_the_best_epochs(trained: Trained) -> None:
    trained.place.ok("evaluate", "run=last", "split=validation", "output=again.json")
    scores = read_json(trained.place.folder / "again.json")["validation"]
    best = trained.run.summary()["best"]
    assert scores
    # Errors of a single target, as in wave/mae, are of an evaluation alone, and so are most units of a text.
    alone = {"true_seen", "true_unseen"}
    alone |= {"nats_per_character", "bits_per_word", "nats_per_word", "smape", "mase", "crps"}
    alone |= {name for name in scores if name.startswith(("coverage_", "width_"))}
    scores = {name: value for name, value in scores.items() if "/" not in name and name not in alone}
    assert scores
    assert scores == {name: pytest.approx(best[f"val/{name}"], rel=1e-6) for name in scores}


def predicted(place: Place, run: str, given: str, output: Path) -> list[dict[str, str]]:
    place.ok("predict", f"run={run}", f"input={given}", f"output={output}")
    with output.open(newline="") as file:
        return list(csv.DictReader(file))


def test_predict(trained: Trained, tmp_path: Path) -> None:
    for given, rows in trained.inputs(trained.place.folder, trained.run.folder):
        table = predicted(trained.place, "last", given, tmp_path / "answer.csv")
        assert len(table) == rows
        names = [name for name in table[0] if name not in NAMES]
        numbers = np.array([[row[name] for name in names] for row in table], dtype=float)
        assert numbers.size
        assert np.isfinite(numbers).all()
        if "probability" in table[0]:
            assert all(0 < float(row["probability"]) <= 1 for row in table)


@pytest.mark.parametrize("trained", ["speech/features"], indirect=True, scope="module")
def test_predict_is_the_same_in_every_format(trained: Trained, tmp_path: Path) -> None:
    work = trained.place.folder
    tables = [
        predicted(trained.place, "last", str(work / name), tmp_path / "answer.csv")
        for name in ("mine.ts", "mine.npz")
    ]
    for from_ts, from_npz in zip(*tables, strict=True):
        assert (from_ts["class"], from_ts["label"]) == (from_npz["class"], from_npz["label"])
        assert float(from_ts["probability"]) == pytest.approx(float(from_npz["probability"]), abs=1e-3)


@contextlib.contextmanager
def nothing_but_its_run(trained: Trained, to: Path) -> Iterator[Path]:
    """The run directory somewhere else, and nothing at all where it was trained."""
    away = trained.place.folder.with_name("away")
    shutil.copytree(trained.run.folder, to)
    trained.place.folder.rename(away)
    try:
        yield to
    finally:
        away.rename(trained.place.folder)


@one_of_each_kind
def test_a_run_directory_predicts_alone(trained: Trained, tmp_path: Path) -> None:
    given, rows = trained.inputs(trained.place.folder, trained.run.folder)[0]
    if Path(given).is_file():
        given = shutil.copy(given, tmp_path)
    there = predicted(trained.place, "last", given, tmp_path / "there.csv")
    with nothing_but_its_run(trained, tmp_path / "moved") as run:
        here = predicted(Place(tmp_path / "elsewhere"), str(run), given, tmp_path / "here.csv")
    assert here == there
    assert len(here) == rows


@one_of_each_kind
def test_a_moved_run_directory_is_evaluated_from_another_folder(trained: Trained, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(trained.run.folder, moved)
    elsewhere = Place(tmp_path / "elsewhere")
    elsewhere.ok("evaluate", "run=../moved", "output=again.json")
    assert read_json(elsewhere.folder / "again.json")["test"] == test_metrics(trained.run)["test"]


OTHER_FILES = {
    "speech/features": "+data.test_file=mine.npz",
    "series/csv": "+data.file=mine.csv",
    "text/labels": "+data.test_files=[mine.calm,mine.brisk,mine.storm]",
    "captions/files": "+data={test_files: [mine.json], test_images: pictures}",
    "text/pairs": "+data={test_source_files: [mine.txt], test_target_files: [mine.txt]}",
    "text/files": "+data={files: null, train_files: [no], validation_files: [no], test_files: [mine.txt]}",
}


@pytest.mark.parametrize("trained", OTHER_FILES, indirect=True, scope="module")
def test_evaluate_on_other_files_needs_no_training_data(trained: Trained, tmp_path: Path) -> None:
    elsewhere = Place(tmp_path / "elsewhere")
    write_user_files(elsewhere.folder)
    with nothing_but_its_run(trained, tmp_path / "moved") as run:
        elsewhere.ok("evaluate", f"run={run}", OTHER_FILES[trained.experiment], "output=again.json")
    scores = read_json(elsewhere.folder / "again.json")["test"]
    assert scores.keys() == trained.run.summary()["test"].keys()
