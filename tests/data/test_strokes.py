"""Pen strokes: how files are read, what becomes of strokes, and how they are varied."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gatewise.data.strokes import JoinedStrokes, StrokeLines, StrokeSequences
from gatewise.data.strokes.drawings import Drawings
from gatewise.data.strokes.formats import read_drawings
from gatewise.data.strokes.tracks import in_the_drawing, tracks_of
from gatewise.data.strokes.unipen import read_unipen
from gatewise.data.strokes.varied import Variation
from gatewise.kinds.strokes import StrokeReading
from made_strokes import write_shapes
from public_data import public_data

READING = StrokeReading(("x", "y", "dx", "dy", "pen_up"), "box", 0.1, False, "")
UNIPEN = """\
.VERSION 1.0
.COORD T X Y
.HIERARCHY WORD LETTER
.LEXICON "a" "b"
 "ab"

.WRITER_ID ann
.SEGMENT WORD 0-3 OK "ab"
.SEGMENT LETTER 0 OK "a"
.PEN_DOWN
 1 10 20
 2 11 22
.PEN_UP
 3 12 23
 4 13 24
.DT 100
.SEGMENT LETTER 2,3 ? "b"
.PEN_DOWN
 5 14 25
.PEN_UP
.PEN_DOWN
 6 15 26.5
 7 16 -27
.PEN_UP
"""


def test_unipen_has_levels_columns_and_writers():
    letters, words = (read_unipen(Path("a"), UNIPEN, level) for level in ("", "WORD"))
    assert (letters.labels, letters.writers, letters.places) == (["a", "b"], ["ann"] * 2, ["a:9", "a:17"])
    assert [[s.tolist() for s in each] for each in letters.strokes] == [
        [[[10, 20], [11, 22]]],
        [[[14, 25]], [[15, 26.5], [16, -27]]],
    ]
    assert words.labels == ["ab"]
    assert [len(stroke) for stroke in words.strokes[0]] == [2, 1, 2]
    quoted = UNIPEN.replace('"b"\n.PEN', r'"\"\\"' + "\n.PEN")
    assert read_unipen(Path("a"), quoted).labels == ["a", '"\\']
    with pytest.raises(ValueError, match=r"a: no segments 'LINE' .*; it has WORD, LETTER"):
        read_unipen(Path("a"), UNIPEN, "LINE")


@settings(max_examples=60, deadline=None)
@given(st.integers(1, len(UNIPEN) - 1))
def test_a_file_cut_anywhere_is_refused_in_one_line_or_what_is_left_is_whole(place):
    whole = read_unipen(Path("a"), UNIPEN, "LETTER")
    try:
        cut = read_unipen(Path("a"), UNIPEN[:place], "LETTER")
    except ValueError as error:
        line = str(error)
        if not line.startswith("a:") or "\n" in line:
            raise AssertionError(line) from error
        return
    assert len(cut) in (1, 2)
    assert cut.labels == whole.labels[: len(cut)]
    for one, other in zip(cut.strokes, whole.strokes, strict=False):
        assert all(map(np.array_equal, one, other))


WRONG = {
    ".PEN_DOWN\n 1 2\n 3 4\n": "a:3: the file ends in the middle of the stroke that begins in line 1",
    ".PEN_DOWN\n 1 2\n 3\n.PEN_UP\n": "a:3: '3' where a point of 2 numbers should stand",
    ".PEN_DOWN\n 1 2\n.PEN_U": "a:3: '.PEN_U' where .PEN_UP should end the stroke that begins in line 1",
    '.SEGMENT D 0-1 ? "4"\n.PEN_DOWN\n 1 2\n.PEN_UP': "a:1: the segment is of the strokes 0-1, but the file",
    '.SEGMENT D 0 ? "4': "a:1: a segment has to be written as",
    ".PEN_DOWN\n.PEN_UP\n": "a:1: a stroke without a point",
    ".PEN_DOWN\n 1 nan\n.PEN_UP\n": "a:1: a point that is no number",
    ".COORD T P\n": "a:1: .COORD has to name X and Y",
    '{"strokes": [[[1, 2], [3': "a:1: no whole object of JSON",
    '{"strokes": [[[1, 2], [3]]]}': "a:1: stroke 1 must be a list of points",
    '{"strokes": []}': "a:1: strokes must be a list of strokes",
    '{"strokes": [[[1, 2]]]}\n{"stroke": 1}': "a:2: not an object with \"strokes\" but {'stroke': 1}",
    '{"strokes": [[[1, 2]]], "label": [1]}': "a:1: label must be text",
    '{"strokes": [[[1, 1e300]]]}': "a:1: a point that is no number, or larger",
    "1,2,3,4,7\n1,2,3\n": "a:2: 3 numbers, but the first row has 5",
    "hello\n": "a:1: 'hello' is neither UNIPEN, nor JSONL",
    "": "a is empty",
}


@pytest.mark.parametrize("content", WRONG)
def test_a_wrong_file_is_refused_in_one_line(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a").write_text(content)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared below
        read_drawings(Path("a"))
    assert str(caught.value).startswith(WRONG[content])
    assert "\n" not in str(caught.value)


def drawing(*strokes):
    made = Drawings()
    made.add([np.array(stroke, float) for stroke in strokes], None, None, "a:1")
    return made


def walked(stroke, count):
    """Points equally far apart along a polyline, found by walking it."""
    ways = np.hypot(*np.diff(stroke, axis=0).T)
    points = []
    for wanted in np.linspace(0, ways.sum(), count):
        number = 0
        while wanted > ways[number] and number < len(ways) - 1:
            wanted -= ways[number]
            number += 1
        points.append(
            stroke[number] + (stroke[number + 1] - stroke[number]) * min(wanted / ways[number], 1.0)
        )
    return np.array(points)


STROKE = arrays(float, st.tuples(st.integers(2, 6), st.just(2)), elements=st.integers(-9, 9).map(float))


@settings(max_examples=40, deadline=None)
@given(st.lists(STROKE, min_size=1, max_size=3), st.sampled_from([0.3, 2.5, 7.0]))
def test_steps_are_equally_far_apart_along_each_stroke(strokes, spacing):
    strokes = [stroke[np.r_[True, np.any(np.diff(stroke, axis=0) != 0, axis=1)]] for stroke in strokes]
    tracks = tracks_of(drawing(*strokes), replace(READING, normalise="none", spacing=spacing))
    starts = np.flatnonzero(np.r_[True, tracks.is_lifted[1:]])
    assert len(starts) == len(strokes)
    for stroke, points in zip(strokes, np.split(tracks.points, starts[1:]), strict=True):
        way = np.hypot(*np.diff(stroke, axis=0).T).sum()
        assert len(points) == (max(round(way / spacing), 1) + 1 if way else 1)
        np.testing.assert_array_equal(points[[0, -1]], stroke[[0, -1]])
        if len(points) > 1:
            np.testing.assert_allclose(points, walked(stroke, len(points)), atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(STROKE, st.floats(0.01, 100), st.integers(-1000, 1000), st.sampled_from(["box", "height"]))
def test_size_and_place_do_not_matter(stroke, factor, moved, how):
    reading = replace(READING, normalise=how)
    one, other = (tracks_of(drawing(s), reading) for s in (stroke, stroke * factor + moved))
    if len(one.points) == len(other.points):  # a way of half a step more is one more, or not
        np.testing.assert_allclose(one.points, other.points, atol=1e-6)
    back = in_the_drawing(one, drawing(stroke), how)
    np.testing.assert_allclose(back[[0, -1]], stroke[[0, -1]], atol=1e-9)


def test_what_a_step_has():
    tracks = tracks_of(drawing([[0, 0], [0, 4]], [[2, 4]]), replace(READING, spacing=0.5))
    names = ("pen_up", "x", "y", "dx", "dy")
    expected = [
        [0, -0.25, -0.5, 0, 0],
        [0, -0.25, 0, 0, 0.5],
        [0, -0.25, 0.5, 0, 0.5],
        [1, 0.25, 0.5, 0.5, 0],
    ]
    np.testing.assert_allclose(tracks.steps(names), expected)


def test_too_many_steps_are_refused():
    with pytest.raises(
        ValueError, match=r"a:1: 1,000,000 steps, of at most 100,000: make data.spacing=1e-06"
    ):
        tracks_of(drawing([[0, 0], [0, 4]]), replace(READING, spacing=1e-6))


def test_variations_follow_from_seed_epoch_and_drawing_alone():
    now = [0]
    one, other = (Variation(10, 0.2, 0.3, seed, lambda: now[0]) for seed in (1, 2))
    first = one.matrices(50).copy()
    assert not np.allclose(first, other.matrices(50))
    now[0] = 1
    assert not np.allclose(first, one.matrices(50))
    now[0] = 0
    np.testing.assert_array_equal(Variation(10, 0.2, 0.3, 1).matrices(50), first)
    turned = Variation(30, 0, 0, 1).matrices(200)
    np.testing.assert_allclose(
        turned @ turned.transpose(0, 2, 1), np.tile(np.eye(2), (200, 1, 1)), atol=1e-12
    )
    angles = np.degrees(np.arctan2(turned[:, 1, 0], turned[:, 0, 0]))
    assert 25 < np.abs(angles).max() <= 30
    stretched = Variation(0, 0.5, 0, 1).matrices(200)
    assert np.abs(np.log(stretched[:, [0, 1], [0, 1]])).max() <= 0.5


def test_a_batch_is_the_steps_scaled_and_varied_in_training_alone(tmp_path):
    file = write_shapes(tmp_path / "a.jsonl")
    data = StrokeSequences(train_file=str(file), rotate=20, batch_size=7, seed=3, neighbours=False)
    data.setup()
    plain = StrokeSequences(train_file=str(file), batch_size=7, seed=3, neighbours=False)
    plain.setup()
    assert data.facts == plain.facts
    varied, same = data.train_data[[4, 0, 9]], plain.train_data[[4, 0, 9]]
    np.testing.assert_array_equal(varied.lengths, same.lengths)
    assert not np.allclose(varied.inputs, same.inputs)
    # Whatever else is in the batch.
    np.testing.assert_array_equal(data.train_data[[0]].inputs[0], varied.inputs[1, : varied.lengths[1]])
    np.testing.assert_array_equal(data.test_data[[1, 2]].inputs, plain.test_data[[1, 2]].inputs)
    tracks = plain.train_data.tracks.chosen(np.array([4]))
    steps = (tracks.steps(READING.step_features) - np.array(data.facts.mean)) / np.array(data.facts.std)
    np.testing.assert_allclose(same.inputs[0, : len(steps)], steps, rtol=1e-5, atol=1e-6)
    assert not same.inputs[0, len(steps) :].any()
    given = StrokeSequences.read_input(file, plain.facts)
    assert given.columns["label"][:3] == ["V", "L", "O"]
    one = StrokeSequences.read_input(data.save_example(tmp_path), plain.facts).batch
    np.testing.assert_allclose(one.inputs[0], plain.test_data[[0]].inputs[0, : one.lengths[0]], atol=1e-6)


def test_whole_writers_are_held_out(tmp_path):
    file = write_shapes(tmp_path / "a.jsonl")
    data = StrokeSequences(train_file=str(file), neighbours=False)
    parts = data.read_parts()
    writers = [set(part.writers) for part in parts.values()]
    assert sum(map(len, writers)) == len(set.union(*writers)) == 5
    by_class = StrokeSequences(train_file=str(file), by_writer=False, neighbours=False).read_parts()
    assert {name: len(part) for name, part in by_class.items()} == {"train": 36, "test": 12, "validation": 12}
    assert {name: by_class["test"].labels.count(name) for name in "VLO"} == dict.fromkeys("VLO", 4)


def test_lines_are_joined_from_one_writers_characters(tmp_path):
    file = str(write_shapes(tmp_path / "a.jsonl"))
    counts = {"train_lines": 40, "validation_lines": 6, "test_lines": 10}
    data = JoinedStrokes(train_file=file, **counts, least=2, most=4, normalise="height", seed=5, gap=0.5)
    data.setup()
    assert [len(part) for part in data.parts().values()] == [40, 6, 10]
    assert data.facts.units == ("L", "O", "V")
    again = JoinedStrokes(train_file=file, **counts, least=2, most=4, normalise="height", seed=6, gap=0.5)
    parts = again.read_parts()
    line = again.prepared("train", parts["train"])
    assert all(2 <= len(label) <= 4 for label in line.labels)
    assert set(line.writers) <= set(parts["train"].writers)
    for strokes, label in zip(line.strokes, line.labels, strict=True):
        assert len(strokes) == len(label) + label.count("O")
        firsts = np.cumsum([0, *(1 + (of == "O") for of in label)])
        boxes = [np.concatenate(strokes[a:b]) for a, b in pairwise(firsts)]
        assert all(a[:, 0].max() <= b[:, 0].min() + 1e-9 for a, b in pairwise(boxes))
    # Every writer's characters are dealt before any comes again.
    for writer in set(line.writers):
        own = "".join(label for label, of in zip(line.labels, line.writers, strict=True) if of == writer)
        deck = parts["train"].writers.count(writer)
        assert {own[:deck].count(letter) for letter in "VLO"} == {deck // 3}
    batch = data.train_data[[3, 1]]
    own = batch.targets[0, : batch.target_lengths[0]].numpy()
    np.testing.assert_array_equal(own, data.train_data.units.padded([3], -1)[0][0])


def test_a_transcript_of_a_file_may_not_be_longer_than_its_steps(tmp_path):
    rows = [{"strokes": [[[0, 0], [9, 9]]], "text": "ab" * (1 + 99 * (n == 7))} for n in range(20)]
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    settings = {"train_file": str(file), "normalise": "height", "test_file": str(file)}
    with pytest.raises(ValueError, match=r"a.jsonl:8: its transcript takes 200 steps"):
        StrokeLines(**settings).setup()
    data = StrokeLines(**settings, too_long="leave_out")
    data.setup()
    assert len(data.test_data) == 19
    file.write_text(file.read_text() + '\n{"strokes": [[[0, 0]]], "text": ""}')
    with pytest.raises(ValueError, match=r"a.jsonl:21: no label: give it one"):
        StrokeLines(**settings).setup()


SIZES = {"tes": (3498, 14, None), "tra": (7494, 30, [780, 779, 780, 719, 780, 720, 720, 778, 719, 719])}


@pytest.mark.parametrize("part", ["tes", pytest.param("tra", marks=pytest.mark.slow)])
def test_pendigits_is_as_its_authors_describe_it(part):
    """Their form of eight points is that of the raw strokes, each axis of its own brought to 0 to 100."""
    folder = public_data("pendigits") / "pendigits"
    size, writers, counts = SIZES[part]
    raw = read_drawings(folder / f"pendigits-orig.{part}")
    points = read_drawings(folder / f"pendigits.{part}")
    assert len(raw) == len(points) == size
    assert raw.labels == points.labels
    assert set(raw.writers) == {str(number) for number in range(1, writers + 1)}
    assert counts in (None, [raw.labels.count(str(digit)) for digit in range(10)])
    errors = []
    for strokes, (eight,) in zip(raw.strokes[:1000], points.strokes, strict=False):
        if len(strokes) == 1:
            way = np.hypot(*np.diff(strokes[0], axis=0).T).sum()
            reading = replace(READING, normalise="none", spacing=way / 7)
            found = tracks_of(drawing(strokes[0]), reading).points
            found = (found - found.min(0)) / np.ptp(found, axis=0) * 100
            errors.append(np.abs(found - eight).max())
    assert len(errors) > 500
    # They are whole numbers, made from whole numbers.
    assert np.median(errors) < 1.2
    assert np.quantile(errors, 0.9) < 2.0
