"""Labelled feature sequences: the digits of their numbers, and the shares of the parts."""

import statistics
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_sequences import fails_with, write

from gatewise.data.sequences import FeatureSequences
from gatewise.data.sequences.formats import LabelledSequences, read_sequences

# Offset and spread of a feature; float32 has no digit left of the first two, and squares of the last three
# leave the range of float64.
SCALES = [(1e8, 1.0), (1e12, 1e-2), (0.0, 1.0), (-3e5, 1e-9), (0.0, 1e-200), (1e300, 1e299), (0.0, 1e-30)]


@pytest.mark.parametrize(("offset", "spread"), SCALES)
def test_the_scaler_is_numpys_in_float64(offset, spread, tmp_path):
    draw = np.random.default_rng(0)
    sequences = [offset + spread * draw.normal(size=(5, 1)) for _ in range(20)]
    write(tmp_path / "train.npz", sequences, ["a", "b"] * 10)
    module = FeatureSequences(*["train.npz"] * 3, folders=[tmp_path])
    module.setup()
    frames = np.concatenate(sequences)
    # Exact, as Python's own statistics are computed in fractions; the mean is rounded to float64.
    exact = [statistics.mean(map(Fraction, frames[:, 0])), statistics.pstdev(frames[:, 0])]
    rounding = np.finfo(np.float64).eps * abs(offset)
    assert module.facts.mean[0] == pytest.approx(float(exact[0]), rel=1e-15, abs=1e-12 * spread)
    assert module.facts.std[0] == pytest.approx(exact[1], rel=1e-12 + (rounding / spread) ** 2)
    wanted = ((frames - module.facts.mean[0]) / module.facts.std[0]).astype(np.float32)
    np.testing.assert_array_equal(module.train_data.frames.numpy(), wanted)
    assert module.train_data.frames.std() == pytest.approx(1, rel=0.02)
    again = FeatureSequences.read_input(tmp_path / "train.npz", module.facts).batch
    np.testing.assert_array_equal(again.inputs.numpy().reshape(-1, 1), wanted)
    # The example for a prediction has the digits of the file.
    example = np.load(module.save_example(tmp_path))
    assert np.abs(example - sequences[0]).max() <= 1e-6 * spread + 2 * rounding


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "uint8", "int32", ">f8"])
def test_numbers_of_any_type_are_read_exactly(dtype, tmp_path):
    values = np.arange(24).reshape(2, 4, 3).astype(dtype)
    if dtype == "int64":
        values += 2**52  # even, so that float32 would merge sixteen million neighbours
    np.savez(tmp_path / "a.npz", sequences=values)
    np.save(tmp_path / "a.npy", values)
    for name in ("a.npz", "a.npy"):
        read = read_sequences(tmp_path / name).sequences
        assert read[1].dtype == np.float64
        assert read[1].tolist() == values[1].tolist()


def test_a_text_file_keeps_every_digit(tmp_path):
    draw = np.random.default_rng(1)
    values = 1e8 + draw.normal(size=6)
    (tmp_path / "a.ts").write_text("@data\n" + ",".join(map(repr, values.tolist())) + "\n")
    assert read_sequences(tmp_path / "a.ts").sequences[0][:, 0].tolist() == values.tolist()


@pytest.mark.parametrize("value", [0.0, 7.1, 1e8, -1e-9, 1e300])
def test_a_constant_feature_is_centred_and_said(value, tmp_path):
    draw = np.random.default_rng(0)
    sequences = [np.column_stack([draw.normal(size=4), np.full(4, value)]) for _ in range(20)]
    write(tmp_path / "a.npz", sequences, ["x", "y"] * 10)
    module = FeatureSequences("a.npz", folders=[tmp_path])
    module.setup()
    assert module.facts.std[1] == 1.0
    assert module.train_data.frames[:, 1].abs().max() <= 1e-15 * abs(value)
    assert module.describe()["constant features"] == "2: centred only"


def test_numbers_too_large_for_the_network_are_named(tmp_path):
    sequences = [np.full((3, 1), 1e39) for _ in range(20)]
    write(tmp_path / "a.npz", sequences, ["x", "y"] * 10)
    module = FeatureSequences("a.npz", folders=[tmp_path], scale=False)
    fails_with(module.setup, ["a.npz: sequence", "feature 1 holds numbers too large to scale"])


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=12),
    st.floats(0.02, 0.6),
    st.floats(0.02, 0.38),
    st.integers(0, 5),
)
def test_shares_are_of_the_whole_and_every_class_keeps_one_to_train_on(counts, validation, test, seed):
    module = FeatureSequences("x.ts", validation_fraction=validation, test_fraction=test, seed=seed)
    labels = np.repeat([f"{i:02}" for i in range(len(counts))], counts)
    data = LabelledSequences(
        [np.ones((1, 1))] * len(labels), labels.tolist(), [str(i) for i in range(len(labels))]
    )
    try:
        parts = module._parts(data, None, None)
    except ValueError as error:
        assert "leaves none" in str(error)  # noqa: PT017
        wanted = [round(share * len(labels)) for share in (validation, test)]
        assert 0 in wanted or sum(counts) - len(counts) <= sum(wanted)
        return
    train, *held_out = parts
    assert sorted(int(place) for part in parts for place in part.places) == list(range(len(labels)))
    assert set(train.labels) == set(labels)
    for part, share in zip(held_out, (validation, test), strict=True):
        assert len(part.labels) <= round(share * len(labels))
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
            assert part.labels.count(label) <= share * count + 1
    if min(counts) * (1 - validation - test) >= 3:  # nothing has to be left for the training
        sizes = [len(part.labels) for part in held_out]
        assert sizes == [round(share * len(labels)) for share in (validation, test)]


# (sequences of each class, shares of validation and test): the same in scikit-learn's train_test_split with
# stratify, where the shares give whole numbers.
SPLITS = [([20, 20], 0.2, 0.2), ([10, 30, 60], 0.1, 0.3), ([50, 50, 50], 0.4, 0.4), ([5, 10], 0.2, 0.4)]


@pytest.mark.parametrize(("counts", "validation", "test"), SPLITS)
def test_parts_are_as_large_as_those_of_an_independent_split(counts, validation, test):
    model_selection = pytest.importorskip("sklearn.model_selection")
    labels = np.repeat([f"class {i}" for i in range(len(counts))], counts)
    sequences, places = [np.ones((1, 1))] * len(labels), [str(i) for i in range(len(labels))]
    module = FeatureSequences("x.ts", validation_fraction=validation, test_fraction=test)
    train, *held_out = module._parts(LabelledSequences(sequences, labels.tolist(), places), None, None)
    size = round(test * len(labels))
    rest, theirs = model_selection.train_test_split(labels, test_size=size, stratify=labels)
    size = round(validation * len(labels))
    rest, validated = model_selection.train_test_split(rest, test_size=size, stratify=rest)
    for ours, expected in zip((train, *held_out), (rest, validated, theirs), strict=True):
        assert Counter(ours.labels) == Counter(expected.tolist())


@pytest.mark.parametrize(
    ("given", "sizes"),
    [({}, (24, 8, 8)), ({"test_file": "a.npz"}, (32, 8, 40)), ({"validation_file": "a.npz"}, (32, 40, 8))],
)
def test_a_part_with_a_file_of_its_own_takes_nothing(given, sizes, tmp_path):
    np.savez(
        tmp_path / "a.npz", sequences=np.random.default_rng(0).normal(size=(40, 3, 1)), labels=["a", "b"] * 20
    )
    module = FeatureSequences("a.npz", **given, folders=[tmp_path])
    module.setup()
    assert tuple(len(d) for d in (module.train_data, module.validation_data, module.test_data)) == sizes
