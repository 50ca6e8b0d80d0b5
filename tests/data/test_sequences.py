"""Labelled feature sequences: formats and batches."""

import dataclasses
import zipfile
from collections import Counter

import numpy as np
import pytest
import torch

from gatewise.data.files import installed_file
from gatewise.data.sequences import FeatureSequences
from gatewise.data.sequences.formats import read_sequences
from gatewise.kinds.kind import IGNORED

HEADER = "@problemName toy\n@timeStamps false\n@dimensions 2\n@classLabel true a b\n@data\n"


@pytest.fixture(scope="module")
def module(speakers):
    module = FeatureSequences(**speakers, batch_size=32, seed=0)
    module.setup()
    return module


@pytest.fixture(scope="module")
def raw(speakers):
    return read_sequences(installed_file("sktime", speakers["train_file"], "sktime"))


def test_japanese_vowels_is_as_uci_describes_it(raw, speakers):
    test = read_sequences(installed_file("sktime", speakers["test_file"], "sktime"))
    lengths = [len(s) for s in raw.sequences + test.sequences]
    assert Counter(raw.labels) == {str(speaker): 30 for speaker in range(1, 10)}
    assert len(test.sequences) == 370
    assert {s.shape[1] for s in raw.sequences + test.sequences} == {12}
    assert (min(lengths), max(lengths)) == (7, 29)
    # The first values of the file's first data line.
    assert raw.sequences[0][:2, 0].tolist() == pytest.approx([1.860936, 1.891651])
    assert raw.sequences[0][0, 1] == pytest.approx(-0.207383)


def test_equal_length_files_read_too():
    folder = "datasets/data/BasicMotions/BasicMotions_TRAIN.ts"
    data = read_sequences(installed_file("sktime", folder, "sktime"))
    # From the file's header: @dimensions 6, @seriesLength 100, four activities.
    assert {s.shape for s in data.sequences} == {(100, 6)}
    assert set(data.labels) == {"Standing", "Running", "Walking", "Badminton"}


def test_validation_is_a_stratified_split_drawn_from_the_seed(module, speakers):
    assert module.facts.class_counts == (24,) * 9  # 30 less a fifth
    assert len(module.validation_data) == 54
    assert Counter(module.validation_data.targets.tolist()) == dict.fromkeys(range(9), 6)
    other = FeatureSequences(**speakers, seed=1)
    other.setup()
    assert other.facts.mean != module.facts.mean


def test_without_a_test_file_a_share_of_every_class_is_held_out(speakers):
    module = FeatureSequences(
        speakers["train_file"], package="sktime", test_fraction=0.5, validation_fraction=0.2
    )
    module.setup()
    sizes = [len(d) for d in (module.train_data, module.validation_data, module.test_data)]
    assert sizes == [9 * 9, 9 * 6, 9 * 15]  # of the whole file, not of what the test part leaves


def test_scaler_comes_from_the_training_frames_alone(module):
    assert module.train_data.frames.mean(0).abs().max() < 1e-5
    torch.testing.assert_close(module.train_data.frames.std(0, correction=0), torch.ones(12))
    assert module.test_data.frames.mean(0).abs().max() > 1e-2


def test_batches_are_the_sequences_padded_with_zeros(module, raw):
    indices = [5, 0, 17]
    batch = module.train_data[indices]
    assert batch.inputs.shape == (3, batch.lengths.max(), 12)
    data = module.train_data
    for row, index in enumerate(indices):
        length = int(batch.lengths[row])
        start = int(data.lengths[:index].sum())
        assert torch.equal(batch.inputs[row, :length], data.frames[start : start + length])
        assert not batch.inputs[row, length:].any()
    # Undoing the scaler gives a sequence of the file back.
    first = batch.inputs[1, : batch.lengths[1]].numpy() * np.array(module.facts.std) + np.array(
        module.facts.mean
    )
    assert any(s.shape == first.shape and np.allclose(s, first, atol=1e-5) for s in raw.sequences)


def test_scaling_can_be_left_out_and_a_constant_feature_is_only_centred(tmp_path):
    values = np.random.default_rng(0).normal(size=(20, 4, 2)).astype(np.float32)
    values[..., 1] = 7.1
    np.savez(tmp_path / "a.npz", sequences=values, labels=["x", "y"] * 10)
    scaled = FeatureSequences("a.npz", folders=[tmp_path])
    raw = FeatureSequences("a.npz", folders=[tmp_path], scale=False)
    for module in (scaled, raw):
        module.setup()
    assert scaled.facts.std[1] == 1.0
    assert scaled.train_data.frames[:, 1].abs().max() < 1e-5
    assert (raw.facts.mean, raw.facts.std) == ((0.0, 0.0), (1.0, 1.0))
    assert torch.equal(raw.train_data.frames[:, 1].unique(), torch.tensor([7.1]))


def test_class_names_are_in_natural_order(tmp_path):
    np.savez(tmp_path / "a.npz", sequences=np.ones((24, 3, 1)), labels=[10, 9, 2] * 8)
    module = FeatureSequences("a.npz", folders=[tmp_path])
    module.setup()
    assert module.facts.classes == ("2", "9", "10")


def test_npz_layouts_agree(tmp_path):
    flat = np.arange(20, dtype=np.float64).reshape(10, 2)
    padded = np.full((3, 5, 2), np.nan)
    lengths = np.array([5, 1, 4])
    for row, sequence in enumerate(np.split(flat, [5, 6])):
        padded[row, : len(sequence)] = sequence
    np.savez(tmp_path / "flat.npz", values=flat, lengths=lengths, labels=[1, 2, 3])
    np.savez(tmp_path / "padded.npz", sequences=padded, lengths=lengths, labels=["1", "2", "3"])
    first, second = (read_sequences(tmp_path / f"{name}.npz") for name in ("flat", "padded"))
    assert first.labels == second.labels == ["1", "2", "3"]
    for ours, theirs in zip(first.sequences, second.sequences, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_prediction_scales_as_training_did_and_ignores_unknown_labels(module, tmp_path):
    facts = module.facts
    rows = ["1,2,3:" + ":".join(["0,0,0"] * 11) + f":{label}" for label in ("9", "?", "stranger")]
    header = "@DIMENSIONS 12\n@CLASSLABEL true\n# a comment\n@data\n"
    (tmp_path / "new.ts").write_text(header + "\n".join(rows))
    batch = FeatureSequences.read_input(tmp_path / "new.ts", facts).batch
    assert batch.targets.tolist() == [8, IGNORED, IGNORED]
    assert batch.inputs[0, :, 0].tolist() == pytest.approx(
        [(x - facts.mean[0]) / facts.std[0] for x in (1, 2, 3)], rel=1e-5
    )


@pytest.mark.parametrize("shape", [(6, 12), (1, 6, 12)])
def test_prediction_from_npy_has_no_targets(module, tmp_path, shape):
    np.save(tmp_path / "one.npy", np.zeros(shape))
    batch = FeatureSequences.read_input(tmp_path / "one.npy", module.facts).batch
    assert batch.inputs.shape == (1, 6, 12)
    assert (batch.lengths.tolist(), batch.targets.tolist()) == ([6], [IGNORED])


TS_MISTAKES = {
    "missing value": ("1,?:3,4:a", [":6", "value 2 of feature 1", "missing"]),
    "empty cell": ("1,2:3,:a", [":6", "value 2 of feature 2", "missing"]),
    "NaN": ("1,2:NaN,4:a", [":6", "value 1 of feature 2", "NaN"]),
    "infinite": ("1,2:1e400,4:a", [":6", "1e400", "not a finite number"]),
    "word": ("1,two:3,4:a", [":6", "'two'", "not a finite number", "correct it or drop the sequence"]),
    "underscores": ("1,2:1_000,4:a", [":6", "value 1 of feature 2", "'1_000'"]),
    "another script": ("1,2:3,٤:a", [":6", "value 2 of feature 2", "'٤'"]),
    "5000 letters": (f"1,2:3,{'y' * 5000}:a", [":6", "(5002 characters)"]),
    "ragged": ("1,2,3:4,5:a", [":6", "2 and 3 values", "equally long"]),
    "features": ("1,2:a", [":6", "1 features", "@dimensions says 2"]),
    "label": ("1,2:3,4:bb", [":6", "'bb'", "did you mean 'b'", "@classLabel"]),
    "no label": ("1,2:3,4", [":6", "'3,4'", "after the last colon"]),
}


@pytest.mark.parametrize(("row", "bits"), TS_MISTAKES.values(), ids=TS_MISTAKES)
def test_mistakes_in_ts_rows_are_named(tmp_path, row, bits):
    path = tmp_path / "bad.ts"
    path.write_text(HEADER + row + "\n")
    fails_with(lambda: read_sequences(path), ["bad.ts", *bits])


FILE_MISTAKES = {
    "time stamps": ("x.ts", "@timeStamps true\n@data\n(1,2):a", ["@timeStamps true", "without time stamps"]),
    "regression": ("x.ts", "@targetlabel true\n@data\n1:2", ["@targetLabel", "class labels"]),
    "no data": ("x.ts", "@classLabel true a\n@data\n", ["no sequence"]),
    "no @data": ("x.ts", "1,2:a\n", ["x.ts:1", "@data"]),
    "bad switch": ("x.ts", "@classLabel a b\n@data\n1:a", ["@classLabel", "true or false", "'a'"]),
    "suffix": ("x.tsv", "1", ["'.tsv'", "did you mean '.ts'"]),
    "not npz": ("x.npz", "text", ["never loaded"]),
    "not npy": ("x.npy", "", ["cannot be read"]),
    "bytes": ("x.ts", b"@problemName caf\xe9\n", ["x.ts:1", "0xe9", "offset 16", "UTF-8"]),
}


@pytest.mark.parametrize(("name", "content", "bits"), FILE_MISTAKES.values(), ids=FILE_MISTAKES)
def test_unreadable_files_are_named(tmp_path, name, content, bits):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    fails_with(lambda: read_sequences(tmp_path / name), [name, *bits])


LYING_HEADERS = {
    "univariate": ("@univariate true\n@data\n1,2:3,4", [":3", "2 features", "@univariate true says 1"]),
    "dimensions": ("@dimensions two\n@data\n1,2:3,4", ["x.ts: @dimensions", "whole number", "'two'"]),
    "5000 digits": (f"@dimensions {'1' * 5000}\n@data\n1", ["x.ts: @dimensions", "whole number"]),
    "equal": (
        "@equalLength true\n@data\n1,2\n1,2,3",
        [":4", "3 steps", "first sequence has 2", "@equalLength"],
    ),
    "length": ("@equalLength true\n@seriesLength 3\n@data\n1,2", [":4", "2 steps", "@seriesLength says 3"]),
    "NUL": ("@data\n1,\0002", ["x.ts:2", "NUL"]),
}


@pytest.mark.parametrize(("text", "bits"), LYING_HEADERS.values(), ids=LYING_HEADERS)
def test_headers_that_say_something_else_than_the_data(tmp_path, text, bits):
    (tmp_path / "x.ts").write_text(text)
    fails_with(lambda: read_sequences(tmp_path / "x.ts"), bits)


NPZ_MISTAKES = {
    "unknown": ({"sequence": np.ones((2, 3, 1))}, ["'sequence'", "did you mean 'sequences'"]),
    "neither": ({"labels": np.array(["a"])}, ["sequences", "values"]),
    "axes": ({"sequences": np.ones((2, 3))}, ["3 axes", "[2, 3]"]),
    "pickled": ({"sequences": np.array([[1], [2, 3]], dtype=object)}, ["pickled", "never loaded"]),
    "NaN": ({"sequences": np.full((2, 3, 1), np.nan)}, ["sequence 0", "step 0", "nan"]),
    "lengths": ({"sequences": np.ones((2, 3, 1)), "lengths": np.array([3, 4])}, ["up to 4", "[2, 3, 1]"]),
    "zero": ({"sequences": np.ones((2, 3, 1)), "lengths": np.array([3, 0])}, ["at least 1"]),
    "sum": ({"values": np.ones((5, 1)), "lengths": np.array([2, 2])}, ["add up to 4", "5 rows"]),
    "a sum beyond 64 bits": (
        {"values": np.ones((6, 1)), "lengths": np.array([2**62] * 4 + [3] * 2)},
        ["add up to 18446744073709551622", "6 rows"],
    ),
    "a length below 0 without its sign": (
        {"values": np.ones((6, 1)), "lengths": np.array([2**64 - 3, 9], dtype=np.uint64)},
        ["add up to 18446744073709551622", "6 rows"],
    ),
    "no character": (
        {"sequences": np.ones((1, 3, 1)), "labels": np.array([2**31 - 1], np.uint32).view("<U1")},
        ["labels hold characters"],
    ),
    "labels": ({"sequences": np.ones((2, 3, 1)), "labels": np.array(["a"])}, ["[2]", "[1]"]),
    "float labels": ({"sequences": np.ones((1, 3, 1)), "labels": np.array([0.5])}, ["float64"]),
    "empty": ({"sequences": np.ones((0, 3, 1))}, ["no sequence"]),
    "no features": ({"sequences": np.ones((2, 3, 0))}, ["sequence 0 is empty"]),
    "float16": ({"sequences": np.full((2, 3, 1), np.inf, np.float16)}, ["sequence 0", "step 0", "inf"]),
}


@pytest.mark.parametrize(("arrays", "bits"), NPZ_MISTAKES.values(), ids=NPZ_MISTAKES)
def test_mistakes_in_npz_files_are_named(tmp_path, arrays, bits):
    np.savez(tmp_path / "bad.npz", **arrays)
    fails_with(lambda: read_sequences(tmp_path / "bad.npz"), ["bad.npz", *bits])


def test_a_test_label_unknown_to_training_is_named(tmp_path):
    np.savez(tmp_path / "train.npz", sequences=np.ones((20, 3, 1)), labels=["yes", "no"] * 10)
    np.savez(tmp_path / "test.npz", sequences=np.ones((2, 3, 1)), labels=["yes", "yess"])
    module = FeatureSequences("train.npz", "test.npz", folders=[tmp_path])
    fails_with(module.setup, ["test.npz: sequence 1", "'yess'", "did you mean 'yes'"])


def test_training_data_needs_labels(tmp_path):
    np.savez(tmp_path / "train.npz", sequences=np.ones((20, 3, 1)))
    fails_with(FeatureSequences("train.npz", folders=[tmp_path]).setup, ["data.train_file", "no labels"])
    (tmp_path / "train.ts").write_text(HEADER + "1:2:a\n3:4:?\n")
    fails_with(FeatureSequences("train.ts", folders=[tmp_path]).setup, ["train.ts:7", "'?'"])


def test_classes_too_small_to_split_are_reported(tmp_path):
    np.savez(tmp_path / "train.npz", sequences=np.ones((2, 3, 1)), labels=[1, 2])
    module = FeatureSequences("train.npz", "train.npz", folders=[tmp_path])
    fails_with(module.setup, ["data.validation_fraction=0.2", "2 sequences", "data.validation_file"])


def test_a_feature_size_other_than_in_training_names_both(module, tmp_path):
    np.save(tmp_path / "one.npy", np.zeros((6, 13)))
    fails_with(lambda: FeatureSequences.read_input(tmp_path / "one.npy", module.facts), ["13 features", "12"])
    np.savez(tmp_path / "train.npz", sequences=np.ones((20, 3, 2)), labels=["1", "2"] * 10)
    other = FeatureSequences("train.npz", folders=[tmp_path])
    other.facts = dataclasses.replace(module.facts)
    fails_with(other.setup, ["2 features", "12"])


def fails_with(call, bits):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    message = str(caught.value)
    assert "\n" not in message
    for bit in bits:
        assert bit in message, message


def write(path, sequences, labels):
    np.savez(path, values=np.concatenate(sequences), lengths=[len(s) for s in sequences], labels=labels)


LABELS = {
    "one class": (["a"] * 20, ["data.train_file", "every sequence", "'a'", "two classes"]),
    "spaces": (["a", " a"] * 10, ["sequence 1", "' a' looks like 'a'", "sequence 0"]),
    "inner spaces": (["a b", "a  b"] * 10, ["'a  b' looks like 'a b'"]),
    "composed": (["e\u0301", "\u00e9"] * 10, ["looks like"]),
    "newline": (["a", "b\n"] * 10, ["sequence 1", "cannot be seen"]),
    "invisible": (["a", "a\u200b"] * 10, ["sequence 1", "cannot be seen"]),
    "empty": (["a", ""] * 10, ["sequence 1", "unknown"]),
}


@pytest.mark.parametrize(("labels", "bits"), LABELS.values(), ids=LABELS)
def test_labels_that_cannot_be_told_apart(labels, bits, tmp_path):
    np.savez(tmp_path / "a.npz", sequences=np.ones((20, 3, 1)), labels=labels)
    fails_with(FeatureSequences("a.npz", folders=[tmp_path]).setup, bits)


def test_a_class_that_is_nowhere_else_is_said(tmp_path):
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", sequences=draw.normal(size=(21, 3, 1)), labels=["a", "b"] * 10 + ["c"])
    np.savez(tmp_path / "b.npz", sequences=draw.normal(size=(2, 3, 1)), labels=["a", "d"])
    module = FeatureSequences("a.npz", folders=[tmp_path])
    module.setup()
    assert module.facts.classes == ("a", "b", "c")
    described = module.describe()
    assert (described["not in validation"], described["not in test"]) == ("class c", "class c")
    assert described["batch"] == "all training sequences at once (data.batch_size=32)"
    for part in ("validation_file", "test_file"):
        other = FeatureSequences("a.npz", folders=[tmp_path], **{part: "b.npz"})
        fails_with(other.setup, ["b.npz: sequence 1", "'d'", "a, b, c"])


def test_a_file_of_one_class_is_evaluated(module, tmp_path, raw):
    of_one = [s for s, label in zip(raw.sequences, raw.labels, strict=True) if label == "3"]
    write(tmp_path / "one.npz", of_one, ["3"] * len(of_one))
    other = FeatureSequences("none.ts", str(tmp_path / "one.npz"))
    other.facts = module.facts
    other.setup("test")
    assert set(other.test_data.targets.tolist()) == {2}


def test_files_that_are_no_arrays_are_named(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00\x06\x00{'a':\n")
    fails_with(lambda: read_sequences(tmp_path / "a.npy"), ["a.npy cannot be read"])
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("sequences", "text")
    fails_with(lambda: read_sequences(tmp_path / "b.npz"), ["b.npz: sequences is no array"])


def test_an_array_and_arrays_have_their_own_suffix(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 3, 1)))
    np.savez(tmp_path / "b.npz", sequences=np.ones((2, 3, 1)))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    (tmp_path / "b.npz").rename(tmp_path / "b.npy")
    fails_with(lambda: read_sequences(tmp_path / "a.npz"), ["a.npz holds one array", "name it a.npy"])
    fails_with(lambda: read_sequences(tmp_path / "b.npy"), ["b.npy holds arrays by name", "name it b.npz"])


def test_what_unpacks_to_more_than_there_is_is_not_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", sequences=np.zeros((100, 1000, 10)))
    assert (tmp_path / "a.npz").stat().st_size < 10**5
    monkeypatch.setattr("gatewise.data.files.memory", lambda: 10**6)
    fails_with(lambda: read_sequences(tmp_path / "a.npz"), ["a.npz: unpacks to 7.63 MiB", "take a part"])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rows", [10**16, 2**63, -1, "True"])
def test_a_header_that_asks_for_too_much_is_one_line(tmp_path, rows):
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, 2), }}\n".encode()
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("sequences.npy", array)
    fails_with(lambda: read_sequences(tmp_path / "a.npz"), ["a.npz"])


def test_scalers_of_before_agree_up_to_float32_and_no_further(module):
    facts = module.facts
    rounded = tuple(float(np.float32(mean)) for mean in facts.mean)
    assert facts.agrees_with(dataclasses.replace(facts, mean=rounded))
    assert not facts.agrees_with(dataclasses.replace(facts, mean=tuple(mean + 1e-3 for mean in facts.mean)))
    assert not facts.agrees_with(dataclasses.replace(facts, std=tuple(1.01 * std for std in facts.std)))
    assert not facts.agrees_with(dataclasses.replace(facts, classes=tuple(reversed(facts.classes))))
