"""Texts with labels that are kept for the next start: the same as those that are read."""

import numpy as np
import pytest
import torch

from gatewise.data.text import LabelledText, SeveralLabels

WORDS = {"neg": ["bad", "dull"], "pos": ["good", "fine"]}


def write(path, count=60, seed=0):
    draw = np.random.default_rng(seed)
    rows = ["text,label,tone"]
    for i in range(count):
        label = ("neg", "pos")[i % 2]
        words = draw.choice(["the", "film", "was", *WORDS[label]], size=draw.integers(1, 9))
        rows.append(f"n{i} {' '.join(words)},{label},{'loud' if i % 3 else 'soft'}")
    path.write_text("\n".join(rows) + "\n")


def write_folders(folder, count=40):
    for i in range(count):
        place = folder / ("neg", "pos")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i}.txt").write_text(f"n{i} {('bad', 'good')[i % 2]} film")


def make(place, kind=LabelledText, **settings):
    settings = {"files": ["mine.csv"], "folders": [place], "seed": 3, **settings}
    data = kind(**settings, cache_dir=place / "cache")
    data.setup()
    return data


def kept_in(folder):
    return sorted((folder / "cache" / "labelled").iterdir())


def check_same(one, other):
    assert one.facts == other.facts
    assert one.describe() == other.describe()
    for name in ("train_data", "validation_data", "test_data"):
        first, second = getattr(one, name), getattr(other, name)
        assert first.texts == second.texts
        for of_first, of_second in zip(first[[0, 2, 1]], second[[0, 2, 1]], strict=True):
            if isinstance(of_first, torch.Tensor):
                assert torch.equal(of_first, of_second)
            else:
                assert of_first == of_second
    if one.linear_baseline:
        np.testing.assert_array_equal(one._linear, other._linear)


CASES = {
    "plain": {"linear_baseline": True},
    "ratios": {"log_count_ratios": True, "linear_baseline": False},
    "long": {"max_length": 4, "fold": 1, "folds": 5, "linear_baseline": False},
    "folder": {"files": None, "folder": "all", "linear_baseline": False},
    "several": {"kind": SeveralLabels, "label_columns": ["label", "tone"], "linear_baseline": False},
}


@pytest.mark.parametrize("case", CASES)
def test_a_second_start_reads_what_the_first_has_kept(case, tmp_path, monkeypatch):
    write(tmp_path / "mine.csv")
    write_folders(tmp_path / "all")
    first = make(tmp_path, **CASES[case])
    assert len(kept_in(tmp_path)) == 1
    with monkeypatch.context() as patch:
        patch.setattr("gatewise.data.text.with_labels.tokenized", None)
        second = make(tmp_path, **CASES[case])
    check_same(first, second)


def test_what_is_damaged_is_made_anew(tmp_path, caplog):
    write(tmp_path / "mine.csv")
    first = make(tmp_path, linear_baseline=False)
    (place,) = kept_in(tmp_path)
    place.write_bytes(place.read_bytes()[:-100])
    check_same(first, make(tmp_path, linear_baseline=False))
    assert "is damaged" in caplog.text
    assert kept_in(tmp_path) == [place]


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"max_length": 5}, {"lowercase": False}, {"test_fraction": 0.2}, {"min_count": 2},
               {"stratify": False}, {"log_count_ratios": True}, {"label_column": "tone"}, "content", "name"],
    ids=str,
)  # fmt: skip
def test_what_is_kept_is_of_this_content_and_these_settings(change, tmp_path):
    write(tmp_path / "mine.csv")
    make(tmp_path)
    settings = change if isinstance(change, dict) else {}
    if change == "content":
        write(tmp_path / "mine.csv", seed=1)
    if change == "name":  # it could be that of a class
        (tmp_path / "mine.csv").rename(tmp_path / "other.csv")
        settings = {"files": ["other.csv"]}
    make(tmp_path, **settings)
    assert len(kept_in(tmp_path)) == 2


def test_what_code_of_ones_own_makes_is_not_kept(tmp_path):
    class Shouted(LabelledText):
        def read(self, part):
            found = super().read(part)
            found.texts[:] = [text.upper() for text in found.texts]
            return found

    write(tmp_path / "mine.csv")
    make(tmp_path, Shouted)
    assert not (tmp_path / "cache").exists()


def test_a_place_that_cannot_be_written_is_done_without(tmp_path, caplog):
    (tmp_path / "cache").write_text("no folder")
    write(tmp_path / "mine.csv")
    assert len(make(tmp_path).train_data) == 48
    assert "cannot be used" in caplog.text
