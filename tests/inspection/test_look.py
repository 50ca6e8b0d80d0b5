"""All that an inspection finds in one sequence, as the page has it."""

from __future__ import annotations

import base64
import json
import zlib

import numpy as np
import pytest
import torch
from small_nets import FRAMES, TEXT, frames, language, made

from gatewise.cells import (
    GRU,
    LSTM,
    LSTM1997,
    RNN,
    CoupledLSTM,
    LayerNormLSTM,
    MinGRU,
    PeepholeLSTM,
    ProjectedLSTM,
)
from gatewise.data.module import BatchDataset, InOrder, SequenceDataModule
from gatewise.data.text.lanes import Lanes
from gatewise.inspection import look as looks
from gatewise.inspection import own_data, told
from gatewise.inspection.arrays import equations, meanings
from gatewise.inspection.follows import follow
from gatewise.inspection.look import check_memory, contributions_of, look
from gatewise.inspection.memory import HalfLife
from gatewise.inspection.one import one_of
from gatewise.inspection.own_data import OwnSteps, sample
from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.sequences import FeatureFacts, SequenceBatch
from gatewise.kinds.text import TextFacts
from gatewise.tasks.classification import SequenceClassification
from gatewise.tasks.language_modelling import LanguageModelling
from gatewise.views.offline.document import to_json

CELLS = [LSTM(), GRU(), RNN(), MinGRU(), LayerNormLSTM(), PeepholeLSTM(), CoupledLSTM(), LSTM1997()]


def values_of(found, name, layer=0, direction=0):
    """What the page decodes of an array, [T, U]."""
    (array,) = [each for each in found.values["arrays"] if each["name"] == name]
    low, high, _ = array["scale"]
    if "same" in array:
        (array,) = [each for each in found.values["arrays"] if each["name"] == array["same"]]
    codes = np.frombuffer(zlib.decompress(base64.b64decode(array["blocks"][layer][direction])), np.uint8)
    return low + (high - low) * codes.reshape(found.values["steps"], -1) / 254


@pytest.mark.parametrize("cell", [*CELLS, ProjectedLSTM(3)], ids=lambda cell: type(cell).__name__)
def test_the_page_has_every_array_of_every_cell(cell):
    _, inspected = frames(cell=cell, bidirectional=True, num_layers=2)
    found = look(inspected, None)
    trace = inspected.encoder.trace(inspected.inputs, lengths=inspected.lengths)
    wanted = {**trace.arrays}
    for kind in ("kept", "written"):
        wanted |= {f"{kind} {state}": array for state, array in getattr(trace, kind).items()}
    assert [array["name"] for array in found.values["arrays"]] == list(wanted)
    for name, array in wanted.items():
        (shown,) = [each for each in found.values["arrays"] if each["name"] == name]
        step = (shown["scale"][1] - shown["scale"][0]) / 254
        for place in np.ndindex(2, 2):
            decoded = values_of(found, name, *place)
            np.testing.assert_allclose(decoded, array[place][0].numpy(), atol=0.51 * step)
        np.testing.assert_array_equal(found.arrays[name.replace(" ", ".")], array[:, :, 0].numpy())
    assert {each["kind"] for each in found.values["arrays"]} <= {
        "gate",
        "candidate",
        "state",
        "kept",
        "written",
    }
    for row in found.values["units"]:
        for units in row:
            assert sorted(units["order"]) == list(range(5))
    assert (found.values["memory"] is None) == (not trace.kept)
    assert found.is_whole
    json.loads(to_json(found.values))
    assert len(found.values["sentences"]) >= 4


def test_an_lstm_keeps_what_the_forget_gate_says():
    found = look(frames()[1], None)
    by_name = {array["name"]: array for array in found.values["arrays"]}
    assert by_name["kept c"]["same"] == "f"
    assert "blocks" not in by_name["kept c"]
    assert by_name["f"]["scale"] == [0.0, 1.0, "share"]
    assert by_name["f"]["kind"] == "gate"
    assert by_name["n"]["kind"] == "candidate"
    assert by_name["f"]["meaning"] == "forget gate: how much of the cell state is kept"


def test_equations_are_those_of_the_docstring():
    lines = equations(GRU()).splitlines()
    assert lines[0].startswith("r  = σ(U_r x + b_r + W_r h)")
    assert lines[-1] == "h' = (1 - z) · n + z · h"
    assert meanings(GRU())["z"].startswith("update gate")


def test_saturation_and_memory_by_hand():
    _, inspected = frames(steps=30)
    found = look(inspected, None)
    f = found.arrays["f"][0, 0]
    (shares,) = [each for each in found.values["saturation"] if each["name"] == "f"]
    np.testing.assert_allclose(shares["below"][0][0], (f < 0.1).mean(0), atol=1e-3)
    np.testing.assert_allclose(shares["above"][0][0], (f > 0.9).mean(0), atol=1e-3)
    assert found.values["memory"]["state"] == "c"
    assert len(found.values["memory"]["half"][0][0]["median"]) == 5


def test_a_sentence_says_what_happened_at_the_full_stops():
    found = look(language()[1], None)
    (line,) = [each for each in found.sentences if each.startswith("At the 2 full stops")]
    f = found.arrays["f"][0, 0].mean(1)
    assert f"{100 * f[[3, 7]].mean():.0f} %" in line
    assert any("most probable next word" in each for each in found.sentences)


def test_a_plain_network_has_no_memory_and_no_gate():
    found = look(frames(cell=RNN())[1], None)
    assert found.values["memory"] is None
    assert found.values["clamps"]["rows"] == []
    assert "no gate" in found.values["clamps"]["note"]
    assert any("carried over directly" in line for line in found.sentences)


def test_a_long_input_keeps_the_units_that_vary_most(monkeypatch):
    monkeypatch.setattr(looks, "units_that_fit", lambda *_: 2)
    _, inspected = frames(steps=20)
    found = look(inspected, None)
    assert not found.is_whole
    ((units,),) = found.values["units"]
    assert (len(units["numbers"]), units["of"]) == (2, 5)
    assert values_of(found, "c").shape == (20, 2)
    assert found.arrays["c"].shape == (1, 1, 20, 5)
    c = found.arrays["c"][0, 0][:, units["numbers"]]
    np.testing.assert_allclose(values_of(found, "c"), c, atol=0.02 * np.abs(found.arrays["c"]).max())
    assert any("2 of 5 units" in line for line in found.values["problems"])


def test_what_does_not_fit_into_memory_is_refused(monkeypatch):
    _, inspected = frames(steps=20)
    check_memory(inspected)
    monkeypatch.setattr(looks, "memory", lambda: 10_000)
    with pytest.raises(ValueError, match=r"20 steps × 5 units × 10 arrays .* give at most \d steps"):
        check_memory(inspected)


def test_contributions_alone_are_those_of_the_look():
    _, inspected = frames(num_layers=2)
    alone, found = contributions_of(inspected), look(inspected, None).contributions
    np.testing.assert_allclose(alone, found, rtol=1e-4, atol=1e-7)  # beside the rows of other losses


def test_one_sequence_of_many():
    batch = SequenceBatch(
        torch.arange(6.0).reshape(3, 2, 1), torch.tensor([2, 1, 2]), torch.tensor([0, 1, 0])
    )
    given, of = one_of(Input(batch, "x.npz", {"label": ["a", "b", "a"]}), 2)
    assert of == ", sequence 2 of 3"
    assert (given.batch.inputs.flatten().tolist(), given.batch.lengths.tolist()) == ([2, 3], [1])
    assert given.columns == {"label": ["b"]}
    with pytest.raises(ValueError, match=r"sequence=4: 'x.npz' has 3 sequences: give 1 to 3"):
        one_of(Input(batch, "x.npz"), 4)
    with pytest.raises(ValueError, match=r"sequence2=2: 'x.npz' has 1 sequence: leave it out"):
        one_of(Input(SequenceBatch(*(part[:1] for part in batch[:3])), "x.npz"), 2, "sequence2")


# ---- the run's own data


class Frames(BatchDataset):
    """Sequences of 3 to 9 frames."""

    def __init__(self, count):
        generator = torch.Generator().manual_seed(3)
        self.lengths = torch.randint(3, 10, (count,), generator=generator)
        self.inputs = torch.randn(count, 9, 3, generator=generator)

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, indices):
        lengths = self.lengths[indices]
        longest = int(lengths.max())
        real = (torch.arange(longest) < lengths[:, None]).unsqueeze(-1)
        return SequenceBatch(self.inputs[indices, :longest] * real, lengths, lengths % 2)


class Own(SequenceDataModule):
    facts_type = FeatureFacts

    def __init__(self, validation):
        super().__init__(4, 0)
        self.validation_data = validation


class OwnText(SequenceDataModule):
    facts_type = TextFacts

    def __init__(self, ids, window=4):
        super().__init__(2, 0)
        self.lanes = Lanes(ids, 3, window)

    def val_dataloader(self):
        return torch.utils.data.DataLoader(self.lanes, sampler=InOrder(len(self.lanes)), batch_size=None)


def test_states_over_the_runs_sequences():
    task = made(SequenceClassification, FRAMES, bidirectional=True)
    dataset = Frames(70)
    found = sample(Own(dataset), task.inspected, "c")
    assert sum(found.lengths) == int(dataset.lengths.sum()) == len(found.names)
    order = np.random.default_rng(0).permutation(70)
    for place in (0, 5, 69):
        batch = dataset[[int(order[place])]]
        length = int(batch.lengths[0])
        assert found.lengths[place] == length
        trace = task.encoder.trace(batch.inputs)
        torch.testing.assert_close(
            torch.from_numpy(np.stack(found.units[place])), trace["c"][:, :, 0, :length]
        )
        label = found.feature_names.index(f"class {'ab'[length % 2]}")
        assert found.features[place][:, label].tolist() == [1.0] * length
        at = sum(found.lengths[:place])
        assert found.names[at : at + 2] == [f"sequence {order[place] + 1}, frame {t}" for t in (0, 1)]


def test_the_windows_of_a_text_are_one_text_again():
    task = made(LanguageModelling, TEXT, embedding_size=4)
    ids = torch.randint(0, 8, (50,), generator=torch.Generator().manual_seed(4))
    found = sample(OwnText(ids), task.inspected, "c")
    # 49 pairs in three lanes of 17, the last of which has 15.
    assert found.lengths == [15, 15, 15]
    rows = torch.stack([ids[start : start + 15] for start in (0, 17, 34)])
    trace = task.encoder.trace(task.embedding(rows))
    for row in range(3):
        torch.testing.assert_close(torch.from_numpy(np.stack(found.units[row])), trace["c"][:, :, row])
    assert found.names[:15] == [TEXT.vocabulary[i] for i in rows[0]]


def test_there_is_an_end_to_the_sample(monkeypatch):
    task = made(SequenceClassification, FRAMES)
    monkeypatch.setattr(own_data, "MOST_STEPS", 40)
    found = sample(Own(Frames(70)), task.inspected, "h")
    assert 30 <= sum(found.lengths) <= 40
    monkeypatch.setattr(own_data, "MOST_SEQUENCES", 4)
    assert len(sample(Own(Frames(70)), task.inspected, "h").lengths) == 4
    text = made(LanguageModelling, TEXT, embedding_size=4)
    ids = torch.randint(0, 8, (400,), generator=torch.Generator().manual_seed(4))
    assert sample(OwnText(ids), text.inspected, "c").lengths == [13, 13, 13]


def test_what_units_follow_is_on_the_page():
    task, inspected = frames()
    own = Own(Frames(70))
    found = look(inspected, lambda state: sample(own, task.inspected, state)).values["follows"]
    assert not found["too_few"]
    few = look(inspected, lambda state: sample(Own(Frames(2)), task.inspected, state))
    assert few.values["follows"]["too_few"]
    assert any("so few steps cannot show more" in sentence for sentence in few.sentences)
    steps = sample(own, task.inspected, "c")
    units = np.concatenate([layers[0][0] for layers in steps.units])
    features = np.concatenate(steps.features)
    expected = follow(units, features, steps.lengths)
    assert found["array"] == "c"
    for place, name in enumerate(found["features"]):
        column = expected.r[:, steps.feature_names.index(name)]
        np.testing.assert_allclose(found["units"][0][0]["r"][place], column, atol=1e-3)
    contexts = json.loads(zlib.decompress(base64.b64decode(found["contexts"])))[0][0]
    assert set(contexts) == {"0", "1", "2", "3", "4"}
    largest = units[:, 2].argmax()
    assert contexts["2"][0][1] == steps.names[largest]


def test_without_steps_the_page_says_why():
    _, inspected = frames()
    assert "problem" in look(inspected, None).values["follows"]

    def nothing(state: str) -> OwnSteps:
        raise ValueError(f"no {state}")

    assert look(inspected, nothing).values["follows"]["problem"].endswith("no c")


def test_a_lane_without_a_target_is_left_out():
    task = made(LanguageModelling, TEXT, embedding_size=4)
    lanes = Lanes(torch.tensor([2, 3, 4]), 3, 4)
    assert any((lanes[index].targets == IGNORED).any() for index in range(len(lanes)))
    assert sum(sample(OwnText(torch.tensor([2, 3, 4])), task.inspected, "c").lengths) == 2


@pytest.mark.parametrize(
    ("lags", "said"),
    [
        ([1, 2, 3, 4], "is gone after 2 steps at the median unit (quartiles 1 and 3)."),
        ([1, 2, 3, np.inf, np.inf], "quartiles 2 and the end of the input); 2 of 5 keep half or more"),
        ([1, np.inf, np.inf], "is there to the end; so it is in 2 of 3 units."),
    ],
)
def test_units_that_never_forget_count_in_the_median(lags, said):
    lags = np.array(lags)
    assert said in told._lasting(HalfLife(lags, lags, lags, lags), "c", "layer 0")
