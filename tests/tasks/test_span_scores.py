"""Scores of spans against seqeval, against conlleval's own output, and over batches and processes."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score

from gatewise.kinds.kind import IGNORED
from gatewise.kinds.tag_schemes import all_tags, span_tags
from gatewise.tasks.span_scores import SpanCounts, SpanScore, SurfaceScore, scores

TAGS = {scheme: all_tags(["loc", "org", "per"], scheme) for scheme in ("iob2", "iobes")}


def rows(sentences, scheme):
    """Tags one after the other, with IGNORED behind each sentence."""
    number = {tag: i for i, tag in enumerate(TAGS[scheme])}
    return torch.tensor([i for tags in sentences for i in (*(number[tag] for tag in tags), IGNORED)])


def scored(predicted, true, scheme):
    tags, truth = span_tags(TAGS[scheme]), rows(true, scheme)
    found = {}
    for what in ("f1", "precision", "recall"):
        metric = SpanScore(tags, what)
        metric.update(rows(predicted, scheme), truth)
        found[what] = float(metric.compute())
    return found


def pairs(scheme):
    tag = st.sampled_from(TAGS[scheme])
    sentence = st.lists(st.tuples(tag, tag), min_size=1, max_size=8)
    return st.tuples(st.just(scheme), st.lists(sentence, min_size=1, max_size=5))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["iob2", "iobes"]).flatmap(pairs))
def test_they_are_seqevals(case):
    """In its default mode, which counts as conlleval does, on sequences that no scheme allows too."""
    scheme, sentences = case
    predicted = [[pair[0] for pair in sentence] for sentence in sentences]
    true = [[pair[1] for pair in sentence] for sentence in sentences]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "f1": f1_score(true, predicted), "precision": precision_score(true, predicted),
            "recall": recall_score(true, predicted),
        }  # fmt: skip
        report = classification_report(true, predicted, output_dict=True)
    assert scored(predicted, true, scheme) == pytest.approx(expected)
    counts = SpanCounts(span_tags(TAGS[scheme]))
    counts.update(rows(predicted, scheme), rows(true, scheme))
    _, _, there = counts.compute().tolist()
    for name, count in zip(("loc", "org", "per"), there, strict=True):
        assert report.get(name, {"support": 0})["support"] == count


CONLLEVAL = [
    # (true, predicted, right, predicted, true): by the rules of conlleval's startOfChunk and endOfChunk.
    ("B-per I-per O", "B-per I-per O", 1, 1, 1),
    ("B-per I-per O", "B-per O O", 0, 1, 1),
    ("B-per I-per", "I-per I-per", 1, 1, 1),  # I- after O begins a chunk
    ("B-per I-per", "B-per I-loc", 0, 2, 1),  # another class begins a chunk
    ("B-per B-per", "B-per I-per", 0, 1, 2),
    ("I-per B-per", "I-per B-per", 2, 2, 2),
    ("O O O", "B-loc O I-loc", 0, 2, 0),
    ("B-loc I-loc O B-per", "B-loc I-loc O O", 1, 1, 2),
]


@pytest.mark.parametrize(("true", "predicted", "right", "found", "there"), CONLLEVAL)
def test_chunks_of_conlleval(true, predicted, right, found, there):
    metric = SpanCounts(span_tags(TAGS["iob2"]))
    metric.update(rows([predicted.split()], "iob2"), rows([true.split()], "iob2"))
    assert metric.compute().sum(1).tolist() == [right, found, there]


def test_conllevals_output():
    """The example output in conlleval's documentation, and the counts that it prints."""
    found = scores(*map(torch.tensor, (371, 539, 459)))
    printed = {name: round(100 * float(value), 2) for name, value in found.items()}
    assert printed == {"precision": 68.83, "recall": 80.83, "f1": 74.35}


def test_counts_of_each_class():
    true = [["B-per", "I-per", "O", "B-loc", "O"], ["B-org", "O"]]
    predicted = [["B-per", "I-per", "O", "B-org", "O"], ["B-org", "O"]]
    assert scored(predicted, true, "iob2") == pytest.approx(
        dict.fromkeys(("f1", "precision", "recall"), 2 / 3)
    )
    counts = SpanCounts(span_tags(TAGS["iob2"]))
    counts.update(rows(predicted, "iob2"), rows(true, "iob2"))
    assert counts.compute().tolist() == [[0, 1, 1], [0, 2, 1], [1, 1, 1]]


def test_batches_and_processes_add_up():
    generator = np.random.default_rng(3)
    tags = span_tags(TAGS["iobes"])
    sentences = [generator.integers(0, len(tags.prefixes), (2, n)) for n in generator.integers(1, 9, 40)]
    ends = np.full((2, 1), IGNORED)
    flat = [torch.from_numpy(np.concatenate([part, ends], 1)) for part in sentences]
    whole = SpanScore(tags)
    whole.update(*torch.cat(flat, 1))
    parts = [SpanScore(tags), SpanScore(tags)]
    for number, part in enumerate(flat):
        parts[number % 2].update(*part)
    parts[0].merge_state({name: getattr(parts[1], name) for name in ("right", "predicted", "true")})
    assert parts[0].compute() == whole.compute()


def test_nothing_predicted_and_nothing_there():
    assert scored([["O", "O"]], [["O", "O"]], "iob2") == {"f1": 0, "precision": 0, "recall": 0}


def test_surface_forms_count_once():
    """Worked out by hand: as the W-NUT 2017 script counts different phrases with their class."""
    words = ["New", "York", "met", "Ann", "in", "New", "York", ".", "Ann", "left", "York"]
    true = ["B-loc", "I-loc", "O", "B-per", "O", "B-loc", "I-loc", "O", "B-per", "O", "B-loc"]
    predicted = ["B-loc", "I-loc", "O", "B-loc", "O", "O", "B-loc", "O", "B-per", "O", "O"]
    surface = SurfaceScore(span_tags(TAGS["iob2"]))
    surface.update(rows([predicted], "iob2"), rows([true], "iob2"), [*words, ""])
    right, found, there = surface.counted()
    assert right == {(("New", "York"), "loc"), (("Ann",), "per")}
    # The one "York" that was found is not where it is.
    assert found == right | {(("Ann",), "loc"), (("York",), "loc")}
    assert there == right | {(("York",), "loc")}
    assert float(surface.compute()) == pytest.approx(2 * 2 / (4 + 3))
    other = SurfaceScore(span_tags(TAGS["iob2"]))
    other.add([surface.counted(), surface.counted()])
    assert other.compute() == surface.compute()
