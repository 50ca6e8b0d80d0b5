"""Labelled sequences in CSV files, sets by name, missing values, and what is done with each sequence."""

import json

import numpy as np
import pytest
import torch

from gatewise.data.sequences import FeatureSequences
from gatewise.data.sequences.formats import read_sequences
from gatewise.data.sequences.labelled import Reading, normalised, thinned
from gatewise.kinds.reading import facts_from_dict

LONG = "sequence,x,y,label\np,1,2,a\nq,5,6,b\np,3,4,a\n"


def read(tmp_path, text, reading=None, name="mine.csv"):
    (tmp_path / name).write_text(text)
    return read_sequences(tmp_path / name, reading or Reading())


def test_a_long_table_has_a_row_per_step(tmp_path):
    data = read(tmp_path, LONG)
    assert [s.tolist() for s in data.sequences] == [[[1, 2], [3, 4]], [[5, 6]]]
    assert (data.labels, data.features) == (["a", "b"], ("x", "y"))
    assert data.places == [f"{tmp_path}/mine.csv:2", f"{tmp_path}/mine.csv:3"]


def test_steps_come_in_the_order_of_their_numbers(tmp_path):
    text = "t,id,x,kind\n2,p,1,a\n10,p,2,a\n1,p,3,a\n1,q,4,b\n"
    data = read(tmp_path, text, Reading(label_column="kind", sequence_column="id", step_column="t"))
    assert [s[:, 0].tolist() for s in data.sequences] == [[3, 1, 2], [4]]


def test_a_wide_table_has_a_row_per_sequence(tmp_path):
    data = read(tmp_path, "label,1,2,3\na,1,2,3\n\nb,4,5,\n", Reading(sequence_column=None))
    assert [s[:, 0].tolist() for s in data.sequences] == [[1, 2, 3], [4, 5]]
    assert data.labels == ["a", "b"]
    assert data.places[1].endswith("mine.csv:4")


def test_layouts_give_the_same_as_ts(tmp_path):
    ts = read(tmp_path, "@dimensions 2\n@classLabel true a b\n@data\n1,3:2,4:a\n5:6:b\n", name="mine.ts")
    for ours, theirs in zip(read(tmp_path, LONG).sequences, ts.sequences, strict=True):
        np.testing.assert_array_equal(ours, theirs)


WIDE = Reading(sequence_column=None)
TABLE_MISTAKES = {
    "empty": ("", Reading(), ["mine.csv is empty"]),
    "header only": ("sequence,x,label\n", Reading(), ["holds no row"]),
    "semicolons": ("sequence;x;label\np;1;a\n", Reading(), ["mine.csv:1", "not separated by commas"]),
    "ragged": ("sequence,x,label\np,1,a\np,1\n", Reading(), ["mine.csv:3", "2 cells", "names 3"]),
    "twice": ("sequence,x,x\np,1,2\n", Reading(), ["mine.csv:1", "two columns are called 'x'"]),
    "no sequences": ("sequenc,x\np,1\n", Reading(), [":1", "did you mean 'sequenc'", "data.sequence_column"]),
    "no steps": ("sequence,x\np,1\n", Reading(step_column="t"), [":1", "'t'", "data.step_column"]),
    "no feature": ("sequence,label\np,a\n", Reading(), [":1", "needs a feature"]),
    "word": ("sequence,x,label\np,1,a\np,one,a\n", Reading(), [":3", "column 'x'", "'one'", "finite number"]),
    "labels elsewhere": ("sequence,x,class\np,1,a\n", Reading(), [":2", "'class'", "data.label_column"]),
    "infinite": ("sequence,x,label\np,inf,a\n", Reading(), [":2", "'inf'", "finite number"]),
    "underscore": ("sequence,x,label\np,1_0,a\n", Reading(), [":2", "'1_0'", "finite number"]),
    "gap": ("sequence,x,label\np,1,a\np,,a\n", Reading(), [":3", "missing", "data.missing=interpolate"]),
    "two labels": ("sequence,x,label\np,1,a\np,1,b\n", Reading(), [":3", "'b'", "began with 'a'"]),
    "step twice": (
        "sequence,t,x,label\np,1,1,a\np,1,2,a\n",
        Reading(step_column="t"),
        [":3", "has step '1' twice"],
    ),
    "wide gap": ("label,1,2,3\na,1,?,3\n", WIDE, [":2", "value 2", "missing"]),
    "wide word": ("label,1,2\na,1,two\n", WIDE, [":2", "value 2", "'two'"]),
    "wide nothing": ("label,1,2\na,,\n", WIDE, [":2", "no value"]),
    "quotes": ('sequence,x,label\np,1,"a\n', Reading(), [":2", "quotes"]),
}


@pytest.mark.parametrize(("text", "reading", "bits"), TABLE_MISTAKES.values(), ids=TABLE_MISTAKES)
def test_mistakes_in_tables_are_named(tmp_path, text, reading, bits):
    fails_with(lambda: read(tmp_path, text, reading), bits)


def fails_with(call, bits):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    message = str(caught.value)
    assert "\n" not in message
    for bit in bits:
        assert bit in message, message


TS = "@univariate true\n@missing true\n@classLabel true a b\n@data\n"


@pytest.mark.parametrize(
    ("missing", "expected"), [("interpolate", [2, 2, 3, 4, 4]), ("forward_fill", [2, 2, 2, 4, 4])]
)
def test_missing_values_are_filled_as_the_setting_says(tmp_path, missing, expected):
    data = read(tmp_path, f"{TS}?,2,?,4,NaN:a\n1,1:b\n", Reading(missing=missing), "mine.ts")
    assert data.sequences[0][:, 0].tolist() == expected
    assert np.isnan(data.as_read[0][[0, 2, 4], 0]).all()
    fails_with(
        lambda: read(tmp_path, f"{TS}1,2:a\n?,?:a\n", Reading(missing=missing), "mine.ts"),
        ["mine.ts:6", "feature 1", "no value at all"],
    )


def test_missing_values_need_a_setting(tmp_path):
    fails_with(lambda: read(tmp_path, f"{TS}1,?:a\n", name="mine.ts"), ["mine.ts:5", "data.missing="])
    np.savez(tmp_path / "a.npz", sequences=np.array([[[1.0], [np.nan], [3.0]]]))
    fails_with(lambda: read_sequences(tmp_path / "a.npz"), ["step 1", "data.missing=interpolate"])
    filled = read_sequences(tmp_path / "a.npz", Reading(missing="interpolate"))
    assert filled.sequences[0][:, 0].tolist() == [1, 2, 3]


def test_ts_files_without_data_are_named(tmp_path):
    fails_with(lambda: read(tmp_path, "", name="a.ts"), ["a.ts is empty"])
    fails_with(lambda: read(tmp_path, "@univariate true\n", name="a.ts"), ["a.ts has no line @data"])
    three = "@dimensions 3\n@data\n1,2:3,4\n"
    fails_with(lambda: read(tmp_path, three, name="a.ts"), ["a.ts:3", "2 features", "@dimensions says 3"])


def test_steps_are_thinned_to_their_means_and_features_normalised():
    steps = np.arange(14.0).reshape(7, 2)
    np.testing.assert_allclose(thinned(steps, 3), [[2, 3], [8, 9], [12, 13]], rtol=1e-15)
    flat = np.column_stack((steps[:, 0], np.full(7, 0.1)))
    np.testing.assert_allclose(normalised(flat).mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(normalised(flat).std(0), [1, 0], atol=1e-12)


def mine(tmp_path, **settings):
    generator = np.random.default_rng(0)
    rows = [
        f"{number},{x:.4f},{y:.4f},{'ab'[number % 2]}"
        for number in range(20)
        for x, y in generator.normal(size=(6 + number % 3, 2)) + number % 2
    ]
    (tmp_path / "mine.csv").write_text("sequence,x,y,label\n" + "\n".join(rows) + "\n")
    return FeatureSequences("mine.csv", folders=[tmp_path], **settings)


def test_a_prediction_is_prepared_as_the_training_was(tmp_path):
    module = mine(tmp_path, thin=2, normalise=True, missing="interpolate")
    module.setup()
    facts = facts_from_dict(json.loads(json.dumps(module.facts.to_dict())))
    assert facts == module.facts
    example = FeatureSequences.read_input(module.save_example(tmp_path), facts).batch
    torch.testing.assert_close(example.inputs[0], module.test_data[[0]].inputs[0])
    # Columns in another order are found by their names, and the label may be missing.
    (tmp_path / "new.csv").write_text("y,x,sequence\n1,2,p\n3,?,p\n3,5,p\n")
    new = FeatureSequences.read_input(tmp_path / "new.csv", facts).batch
    turned = np.array([[2, 1], [3.5, 3], [5, 3]])
    expected = (normalised(thinned(turned, 2)) - facts.mean) / facts.std
    np.testing.assert_allclose(new.inputs[0].numpy(), expected, rtol=1e-5, atol=1e-6)
    (tmp_path / "other.csv").write_text("z,x,sequence\n1,2,p\n")
    fails_with(
        lambda: FeatureSequences.read_input(tmp_path / "other.csv", facts),
        ["other.csv:1", "features are 'z, x'", "'x, y'"],
    )


def test_simple_classifiers_stand_beside_the_test_alone(tmp_path):
    module = mine(tmp_path)
    module.setup()
    assert next(iter(module.train_dataloader())).neighbours is None
    (batch,) = module.test_dataloader()
    assert set(batch.neighbours) == {"nearest centroid", "1-NN DTW", "1-NN DTW in a window"}
    assert all(len(given) == len(batch.targets) for given in batch.neighbours.values())
    without = mine(tmp_path, neighbours=False)
    without.setup()
    assert next(iter(without.test_dataloader())).neighbours is None


def test_a_set_of_the_archive_is_read_by_its_name():
    module = FeatureSequences(dataset="UnitTest", batch_size=64)
    module.setup()
    # As the archive has it: 20 of Chinatown's training sequences, 22 of its test, 24 hours.
    assert [len(d) for d in (module.train_data, module.validation_data, module.test_data)] == [16, 4, 22]
    assert module.validation_data.targets.bincount().tolist() == [2, 2]
    (batch,) = module.test_dataloader()
    assert batch.inputs.shape == (22, 24, 1)
    # Whatever a seed draws for validation, neighbours are those of the whole training file.
    other = FeatureSequences(dataset="UnitTest", batch_size=64, seed=7)
    other.setup()
    assert other.facts != module.facts
    (drawn,) = other.test_dataloader()
    assert all(torch.equal(given, batch.neighbours[name]) for name, given in drawn.neighbours.items())
    evaluated = FeatureSequences(dataset="UnitTest", batch_size=64)
    evaluated.facts = module.facts
    evaluated.setup("test")
    (again,) = evaluated.test_dataloader()
    assert all(torch.equal(given, batch.neighbours[name]) for name, given in again.neighbours.items())


def test_one_source_is_given_and_a_misspelt_set_is_named():
    fails_with(FeatureSequences, ["data.train_file and data.dataset", "none of them"])
    fails_with(lambda: FeatureSequences("a.ts", dataset="PLAID"), ["got a.ts and PLAID"])
    fails_with(lambda: FeatureSequences(dataset="Gunpoint"), ["'Gunpoint'", "did you mean 'GunPoint'"])
