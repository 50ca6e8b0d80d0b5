"""Bad settings fail at once, by name, with the value and the fix."""

import pytest

from gatewise.data.files import find_file, installed_file
from gatewise.data.module import EpochBatches
from gatewise.data.sequences import FeatureSequences
from gatewise.data.series import SeriesWindows
from gatewise.data.sound import JoinedSound
from gatewise.data.strokes import JoinedStrokes, StrokeLines
from gatewise.data.text import LanguageText

SUNSPOTS = {"dataset": "sunspots_monthly"}
BIBLE = {"corpus": "king_james"}
VOWELS = {"train_file": "a.ts"}

MISTAKES = {
    "batch size": (FeatureSequences, {**VOWELS, "batch_size": 0}, ["batch_size", "at least 1", "got 0"]),
    "batch size true": (FeatureSequences, {**VOWELS, "batch_size": True}, ["batch_size", "got True"]),
    "seed": (FeatureSequences, {**VOWELS, "seed": -1}, ["seed", "at least 0", "got -1"]),
    "scale": (FeatureSequences, {**VOWELS, "scale": "yes"}, ["scale", "true or false", "'yes'"]),
    "fraction": (
        FeatureSequences,
        {**VOWELS, "validation_fraction": 20},
        ["validation_fraction", "between 0 and 1", "got 20"],
    ),
    "fractions": (
        FeatureSequences,
        {**VOWELS, "validation_fraction": 0.5, "test_fraction": 0.5},
        ["validation_fraction=0.5", "test_fraction=0.5", "less than 1"],
    ),
    "fractions of strokes": (
        StrokeLines,
        {**VOWELS, "validation_fraction": 0.5, "test_fraction": 0.5},
        ["validation_fraction=0.5", "test_fraction=0.5", "less than 1"],
    ),
    "sizes of lines": (JoinedStrokes, {**VOWELS, "least": 4, "most": 3}, ["least=4 is more than most=3"]),
    "sizes of strings": (JoinedSound, {"dataset": "fsdd", "least": 8}, ["least=8 is more than most=7"]),
    "lookback": (
        SeriesWindows,
        {**SUNSPOTS, "lookback": "x"},
        ["lookback must be a whole number of at least 1, got 'x'"],
    ),
    "horizon": (SeriesWindows, {**SUNSPOTS, "horizon": 1.5}, ["horizon", "got 1.5"]),
    "max_rows": (SeriesWindows, {**SUNSPOTS, "max_rows": 0}, ["max_rows", "at least 1 or null", "got 0"]),
    "dataset": (
        SeriesWindows,
        {"dataset": "sunspot"},
        ["dataset='sunspot'", "did you mean 'sunspots_monthly'"],
    ),
    "two sources": (
        SeriesWindows,
        {**SUNSPOTS, "file": "a.csv"},
        ["one of data.file and data.dataset", "a.csv"],
    ),
    "no source": (SeriesWindows, {}, ["one of data.file and data.dataset", "sunspots_monthly"]),
    "no time column": (SeriesWindows, {"file": "a.csv"}, ["time_column", "a.csv", "None"]),
    "series fractions": (
        SeriesWindows,
        {**SUNSPOTS, "train_fraction": 0.9},
        ["train_fraction=0.9", "test on"],
    ),
    "columns": (SeriesWindows, {**SUNSPOTS, "columns": []}, ["columns", "[a, b]"]),
    "columns twice": (SeriesWindows, {**SUNSPOTS, "columns": ["a", "a"]}, ["columns", "'a' twice"]),
    "corpus": (LanguageText, {"corpus": "king_jams"}, ["corpus='king_jams'", "did you mean 'king_james'"]),
    "tokenizer": (
        LanguageText,
        {**BIBLE, "tokenizer": "words"},
        ["tokenizer='words'", "did you mean 'word'"],
    ),
    "two texts": (LanguageText, {**BIBLE, "files": ["a.txt"]}, ["either corpus", "got corpus, files"]),
    "no text": (LanguageText, {}, ["either corpus", "none of them"]),
    "half the texts": (LanguageText, {"train_files": ["a.txt"]}, ["all of train_files", "got train_files"]),
    "min_count": (LanguageText, {**BIBLE, "min_count": 0}, ["min_count", "got 0"]),
    "window": (LanguageText, {**BIBLE, "window": None}, ["window", "got None"]),
    "lowercase": (LanguageText, {**BIBLE, "lowercase": 1}, ["lowercase", "true or false", "got 1"]),
    "processes": (
        EpochBatches,
        {"size": 9, "batch_size": 2, "shuffle": True, "seed": 0, "world_size": 3},
        ["data.batch_size=2", "3 processes", "at least 3"],
    ),
    "fewer examples than processes": (
        EpochBatches,
        {"size": 2, "batch_size": 4, "shuffle": False, "seed": 0, "world_size": 3},
        ["2 example(s)", "3 processes", "trainer.devices=2"],
    ),
    "absolute": (
        find_file,
        {"path": "/nowhere/a.csv", "folders": [], "key": "data.file"},
        ["data.file=/nowhere/a.csv", "does not exist"],
    ),
    "no package": (
        installed_file,
        {"package": "no_such_package", "relative": "a.ts", "distribution": "no-such-package"},
        ["a.ts", "pip install no-such-package"],
    ),
    "no file in package": (
        installed_file,
        {
            "package": "sktime",
            "relative": "datasets/data/JapaneseVowels/JapaneseVowels.ts",
            "distribution": "sktime",
        },
        ["sktime", "did you mean 'JapaneseVowels_T"],
    ),
}


@pytest.mark.parametrize(("call", "arguments", "bits"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(call, arguments, bits):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call(**arguments)
    message = str(caught.value)
    assert "\n" not in message
    for bit in bits:
        assert bit in message, message


def test_a_missing_file_names_the_key_the_folders_and_a_similar_file(tmp_path):
    (tmp_path / "etth1.csv").write_text("x")
    module = SeriesWindows(file="ETTh.csv", time_column="date", folders=[tmp_path, "/nowhere"])
    with pytest.raises(ValueError, match=r"data.file=ETTh.csv was not found") as caught:
        module.setup()
    for bit in (str(tmp_path), "/nowhere", "did you mean 'etth1.csv'", "absolute path"):
        assert bit in str(caught.value)


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(ValueError, match="is a folder: name one file in it"):
        find_file(tmp_path, [], "data.file")
