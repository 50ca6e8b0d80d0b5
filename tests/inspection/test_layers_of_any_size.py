"""Layers with sizes of their own, and texts with a class: every view, and the page in a browser."""

from __future__ import annotations

import base64
import json
import zlib

import numpy as np
import pytest
import torch
from small_nets import REVIEWS, TEXT, frames, language, made, review

from browser import browser, drawn, opened
from gatewise.data.module import BatchDataset, SequenceDataModule
from gatewise.inspection.look import check_memory, contributions_of, look
from gatewise.inspection.own_data import sample
from gatewise.kinds.labelled_text import LabelledTextBatch, LabelledTextFacts
from gatewise.tasks.text_classification import TextClassification
from gatewise.views.inspect.page import page
from gatewise.views.offline.document import to_json

SIZES = [6, 4, 3]


def decoded(found, name, layer, direction=0):
    """What the page has of an array, [T, U]."""
    (array,) = [each for each in found.values["arrays"] if each["name"] == name]
    low, high, _ = array["scale"]
    codes = np.frombuffer(zlib.decompress(base64.b64decode(array["blocks"][layer][direction])), np.uint8)
    return low + (high - low) * codes.reshape(found.values["steps"], -1) / 254


def test_each_layer_has_maps_of_its_own():
    task, inspected = language(sizes=SIZES)
    found = look(inspected, None)
    x = inspected.inputs
    for number, layer in enumerate(task.encoder.layers):
        trace = layer.trace(x)
        for name in "ifnohc":
            array = trace[name][0, 0, 0].numpy()
            np.testing.assert_allclose(decoded(found, name, number), array, atol=0.02)
            np.testing.assert_array_equal(found.arrays[f"{name}.layer{number}"][0], array)
        (units,) = found.values["units"][number]
        assert (sorted(units["order"]), units["of"]) == (list(range(SIZES[number])), SIZES[number])
        assert len(found.values["memory"]["half"][number][0]["median"]) == SIZES[number]
        x = trace.outputs
    assert (found.values["layers"], found.values["hidden"]) == (3, SIZES)
    assert {(each["layer"], each["state"]) for each in found.values["gradients"]} == {
        (layer, state) for layer in range(3) for state in "hc"
    }
    assert json.loads(to_json(found.values)) == found.values


@pytest.mark.parametrize("of", [language, review, frames])
def test_equal_layers_are_looked_at_as_those_of_a_recurrent(of):
    """All that is found of both is the same: the weights are."""
    task, inspected = of(num_layers=2)
    stacked, other = of(sizes=[5, 5])
    for number, layer in enumerate(stacked.encoder.layers):
        layer.layers[0].load_state_dict(task.encoder.layers[number].state_dict())
    rest = {name: value for name, value in task.state_dict().items() if not name.startswith("encoder.")}
    stacked.load_state_dict(rest, strict=False)
    again = dict(vars(inspected))
    first, second = look(inspected, None), look(stacked_of(other, again, stacked), None)
    skipped = {"clamps", "gradients", "decided", "predictions"}
    for name in first.values.keys() - skipped:
        assert first.values[name] == second.values[name], name
    for name in first.arrays:
        np.testing.assert_allclose(first.arrays[name], second.arrays[name], rtol=1e-4, atol=1e-5)
    rows = zip(first.values["clamps"]["rows"], second.values["clamps"]["rows"], strict=True)
    for row, same in rows:
        assert {**row, "loss": pytest.approx(row["loss"], rel=1e-3, abs=1e-4)} | {
            "probability": pytest.approx(row["probability"], rel=1e-3, abs=1e-4)
        } == same


def stacked_of(other, fields, stacked):
    """What is inspected of the same input by the stacked encoder; its embeddings are those of the first."""
    assert other.encoder is stacked.encoder
    object.__setattr__(other, "inputs", fields["inputs"])
    return other


def test_a_clamp_holds_one_layer():
    task, inspected = language(sizes=SIZES)
    found = look(inspected, None)
    first = task.encoder.layers[0].trace(inspected.inputs).outputs
    second, _ = task.encoder.layers[1](first, intervene={"o": 1.0})
    outputs, _ = task.encoder.layers[2](second)
    loss = inspected.whole_loss(outputs, inspected.inputs, inspected.lengths, 0)
    (row,) = [
        row
        for row in found.values["clamps"]["rows"]
        if (row["layer"], row["name"], row["value"], row["unit"]) == (1, "o", "1", None)
    ]
    assert row["loss"] == pytest.approx(float(loss), rel=1e-3)
    assert any(row["layer"] == 2 and row["unit"] is not None for row in found.values["clamps"]["rows"])


def test_contributions_and_memory_of_layers(monkeypatch):
    _, inspected = language(sizes=SIZES)
    found = contributions_of(inspected)
    assert [layer.shape for layer in found] == [(1, 8, size) for size in SIZES]
    monkeypatch.setattr("gatewise.inspection.look.memory", lambda: 10_000)
    with pytest.raises(ValueError, match=r"8 steps × 13 units of all layers and directions × 10 arrays"):
        check_memory(inspected)


class Reviews(BatchDataset):
    """Texts of 2 to 9 tokens."""

    def __init__(self, count):
        generator = torch.Generator().manual_seed(3)
        self.lengths = torch.randint(2, 10, (count,), generator=generator)
        self.tokens = torch.randint(1, len(TEXT.vocabulary), (count, 9), generator=generator)

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, indices):
        lengths = self.lengths[indices]
        real = torch.arange(int(lengths.max())) < lengths[:, None]
        return LabelledTextBatch(self.tokens[indices, : int(lengths.max())] * real, lengths, lengths % 2)


class Own(SequenceDataModule):
    facts_type = LabelledTextFacts

    def __init__(self, validation):
        super().__init__(4, 0)
        self.validation_data = validation


def test_what_units_of_all_layers_follow():
    task = made(TextClassification, REVIEWS, embedding_size=4, sizes=SIZES)
    dataset = Reviews(40)
    steps = sample(Own(dataset), task.inspected, "c")
    assert sum(steps.lengths) == int(dataset.lengths.sum()) == len(steps.names)  # whole texts, none is cut
    place = int(np.random.default_rng(0).permutation(40)[0])
    batch = dataset[[place]]
    trace = task.encoder.trace(task.embedded(batch.tokens), batch.lengths)
    for layer, size in enumerate(SIZES):
        assert steps.units[0][layer].shape == (1, int(batch.lengths[0]), size)
        np.testing.assert_allclose(steps.units[0][layer], trace.layers[layer]["c"][0, :, 0], atol=1e-6)
    good = steps.feature_names.index("class good")
    assert steps.features[0][:, good].tolist() == [float(batch.lengths[0] % 2)] * int(batch.lengths[0])
    inspected = review(sizes=SIZES)[1]
    found = look(inspected, lambda state: sample(Own(dataset), task.inspected, state)).values["follows"]
    assert [len(group["r"][0]) for (group,) in found["units"]] == SIZES
    c = np.concatenate([layers[2][0] for layers in steps.units])
    r = np.corrcoef(c[:, 1], np.concatenate(steps.features)[:, good])[0, 1]
    assert found["units"][2][0]["r"][found["features"].index("class good")][1] == pytest.approx(r, abs=1e-3)
    contexts = json.loads(zlib.decompress(base64.b64decode(found["contexts"])))
    assert [set(group) for (group,) in contexts] == [set(map(str, range(size))) for size in SIZES]


def test_attention_is_on_the_page_beside_what_leaving_out_changes():
    task, inspected = review("The cat sat. The zebra ran.", pooling="attention", bidirectional=True)
    found = look(inspected, None)
    outputs, _ = task.encoder(inspected.inputs)
    weights = task.pool.weights(outputs, inspected.lengths)[0]
    assert found.values["decided"]["attention"] == pytest.approx(weights.tolist(), rel=1e-3)
    (line,) = [line for line in found.sentences if line.startswith("The attention of the pooling")]
    assert f"at step {int(weights.argmax())} ({100 * float(weights.max()):.3g} %)" in line
    assert found.values["sentences"][0] == "Not in the vocabulary, and so read as <unk>: zebra."
    assert not any("zebra" in line and "vocabulary" in line for line in found.sentences)
    assert found.values["names"] == ["the", "cat", "sat", ".", "the", "zebra", "ran", "."]
    whole = task(torch.tensor([[2, 3, 4, 5, 2, 0, 7, 5]]), torch.tensor([8])).log_softmax(-1)[0]
    shorter = task(torch.tensor([[2, 3, 4, 2, 0, 7, 5]]), torch.tensor([7])).log_softmax(-1)[0]
    answer = int(whole.argmax())
    assert found.values["decided"]["left_out"][3] == pytest.approx(
        float(whole[answer] - shorter[answer]), abs=1e-4
    )
    assert look(review()[1], None).values["decided"]["attention"] is None


def test_the_pages_in_a_browser(tmp_path):
    task, stacked = review(sizes=SIZES, pooling="attention")
    one = look(stacked, lambda state: sample(Own(Reviews(40)), task.inspected, state)).values
    two = look(review(num_layers=2)[1], None).values
    values = {"title": "x", "version": "0", "made": "2026-01-02T03:04:05+00:00", "matching": None}
    named = [{"name": name, "run": name, "task": "TextClassification", "input": "x"} for name in "ab"]
    models = [{**name, **model} for name, model in zip(named, (one, two), strict=True)]
    file = tmp_path / "page.html"
    file.write_text(page({**values, "models": models}), encoding="utf-8")
    with browser() as running, opened(running, file, {"view": "gates", "layer": "all"}) as shown:
        drawn(shown)
        maps = shown.locator("section:visible figure canvas")
        assert maps.count() >= 6 * (3 + 2)
        shown.evaluate("change({view: 'overview'})")
        drawn(shown)
        assert "3 layers × 1 direction × 6, 4, 3 units" in shown.locator("section:visible").inner_text()
        shown.evaluate("change({view: 'decided'})")
        drawn(shown)
        text = shown.locator("section:visible").inner_text()
        assert text.count("attention: the weight that the pooling gives to each step") == 1
        shown.evaluate("change({view: 'follow', layer: '2', unit: 1, unitLayer: 2})")
        drawn(shown)
        assert "of 13" in shown.locator("section:visible").inner_text()
        for view in ("cut", "written", "remember", "saturation", "clamps", "predictions", "gradient"):
            shown.evaluate("(view) => change({view, layer: 'all'})", view)
            drawn(shown)
        shown.evaluate("change({view: 'predictions'})")
        drawn(shown)
        assert "surprise at each token" not in shown.locator("section:visible").inner_text()
