"""What was prepared of texts is there at the next start: of a training, and of an evaluation of its run."""

import logging

import pytest
import torch

from gatewise.data.text import LabelledText, ParallelText, TaggedText
from gatewise.data.text.tagged import log as tagged_log

KINDS = {
    "labelled": (LabelledText, "csv", "with_labels.tokenized"),
    "tagged": (TaggedText, "conll", "tagged._numbered"),
    "parallel": (ParallelText, "tsv", "parallel_prepared.numbered"),
}


def content(suffix, first, count):
    """Examples with numbers from ``first`` on."""
    numbers = range(first, first + count)
    if suffix == "csv":
        return "text,label\n" + "".join(f"w{i} on,{('neg', 'pos')[i % 2]}\n" for i in numbers)
    if suffix == "conll":
        return "".join(f"w{i} B-per\non O\nw I-loc\n\n" for i in numbers)
    return "source\ttarget\n" + "".join(f"w{i} on\tv{i}\n" for i in numbers)


def make(place, kind, facts=None, **settings):
    made, suffix, _ = KINDS[kind]
    if kind == "parallel":
        settings |= {"source_units": "word", "target_units": "word"}
    settings = {"files": [f"mine.{suffix}"], "seed": 3, **settings}
    data = made(folders=[place], cache_dir=place / "cache", **settings)
    data.facts = facts
    data.setup(None if facts is None else "test")
    return data


def check_same(one, other):
    assert one.facts == other.facts
    for first, second in zip(one.test_data[[0, 1]], other.test_data[[0, 1]], strict=True):
        assert torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_start_prepares_nothing(kind, tmp_path, monkeypatch, caplog):
    _, suffix, preparing = KINDS[kind]
    (tmp_path / f"mine.{suffix}").write_text(content(suffix, 0, 40))
    (tmp_path / f"new.{suffix}").write_text(content(suffix, 20, 6))
    first = make(tmp_path, kind)
    told = [record.message for record in caplog.records]
    other_files = {"test_files": [f"new.{suffix}"]}
    evaluated = make(tmp_path, kind, first.facts, **other_files)
    (tmp_path / f"mine.{suffix}").rename(tmp_path / "kept")
    alone = make(tmp_path, kind, first.facts, **other_files)
    (tmp_path / "kept").rename(tmp_path / f"mine.{suffix}")
    kept = sorted((tmp_path / "cache").rglob("*.npz"))

    with monkeypatch.context() as patch:
        patch.setattr(f"gatewise.data.text.{preparing}", None)
        caplog.clear()
        again = make(tmp_path, kind)
        assert [record.message for record in caplog.records] == told
        check_same(again, first)
        assert again.describe() == first.describe()
        check_same(make(tmp_path, kind, first.facts), first)  # from what the training has kept
        check_same(make(tmp_path, kind, first.facts, **other_files), evaluated)
        (tmp_path / f"mine.{suffix}").unlink()
        check_same(make(tmp_path, kind, first.facts, **other_files), alone)
    assert sorted((tmp_path / "cache").rglob("*.npz")) == kept


def test_tags_that_are_not_allowed_are_told_at_every_start(tmp_path, caplog):
    assert tagged_log.isEnabledFor(logging.WARNING)
    (tmp_path / "mine.conll").write_text(content("conll", 0, 40))
    for _ in range(2):
        caplog.clear()
        make(tmp_path, "tagged")
        assert caplog.text.count("not allowed where they are in the scheme iob2") == 3


@pytest.mark.parametrize(
    "change",
    [{"seed": 4}, {"scheme": "plain"}, {"tagged_as": "iob2"}, {"lowercase": False}, {"min_count": 2},
     {"longest_word": 3}, {"tag_column": 1, "separator": "space"}, {"test_fraction": 0.2}],
    ids=str,
)  # fmt: skip
def test_what_is_kept_is_of_these_settings(change, tmp_path):
    (tmp_path / "mine.conll").write_text(content("conll", 0, 40).replace("w I", "w B"))
    make(tmp_path, "tagged")
    make(tmp_path, "tagged", **change)
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 2
