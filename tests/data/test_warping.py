"""Dynamic time warping against a few lines of dynamic programming, and the archive's published errors."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewise.data.files import installed_file
from gatewise.data.sequences import neighbours, warping
from gatewise.data.sequences.formats import read_sequences
from gatewise.data.sequences.module import ARCHIVE
from gatewise.data.sequences.warping import Stacked


def warped(first, second, reach):
    """The textbook recursion, cell by cell."""
    least = np.full((len(first) + 1, len(second) + 1), np.inf)
    least[0, 0] = 0
    for i in range(len(first)):
        for j in range(len(second)):
            if abs(i - j) <= reach:
                before = min(least[i, j], least[i, j + 1], least[i + 1, j])
                least[i + 1, j + 1] = ((first[i] - second[j]) ** 2).sum() + before
    return least[-1, -1]


def sequences(seed, count, longest, features=1):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, longest + 1, count)
    return [generator.normal(size=(length, features)) for length in lengths]


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 3), st.integers(0, 100))
def test_distances_are_those_of_the_textbook(seed, longest, features, percent):
    first = sequences(seed, 3, longest, features)
    second = sequences(seed + 1, 4, longest, features)
    pairs = np.array([(i, j) for i in range(3) for j in range(4)])
    expected = []
    for i, j in pairs:
        n, m = len(first[i]), len(second[j])
        reach = max(math.ceil(max(n, m) * percent / 100), abs(n - m))
        expected.append(warped(first[i], second[j], reach))
    found = warping.distances(Stacked.of(first), Stacked.of(second), pairs, percent)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_many_pairs_are_computed_in_several_batches(monkeypatch):
    monkeypatch.setattr(warping, "_AT_ONCE", 40)
    some = sequences(5, 12, 14)
    among = warping.distances_among(Stacked.of(some))
    assert np.isinf(np.diag(among)).all()
    expected = [[warped(a, b, 99) for b in some] for a in some]
    np.fill_diagonal(among, 0)
    np.testing.assert_allclose(among, expected, rtol=1e-12, atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 5, 20, 60]))
def test_nearest_within_a_window_is_that_of_all_distances(seed, percent):
    # Whole numbers, so that several are equally near.
    rows, columns = (Stacked.of([np.round(s) for s in sequences(seed + i, 6, 5)]) for i in range(2))
    pairs = np.stack(np.divmod(np.arange(36), 6), 1)
    expected = warping.distances(rows, columns, pairs, percent).reshape(6, 6)
    found, _ = warping.nearest(rows, columns, warping.all_distances(rows, columns), percent)
    assert found.tolist() == expected.argmin(1).tolist()


@given(st.integers(0, 2**32 - 1))
def test_a_wider_window_never_makes_a_distance_longer(seed):
    some = Stacked.of(sequences(seed, 5, 12))
    pairs = np.stack(np.divmod(np.arange(25), 5), 1)
    lengths = [warping.distances(some, some, pairs, percent) for percent in (0, 10, 40, 100)]
    assert all((wide <= narrow).all() for narrow, wide in itertools.pairwise(lengths))


def of_archive(name):
    train, test = (
        read_sequences(installed_file("sktime", ARCHIVE.format(name=name, part=part), "sktime"))
        for part in ("TRAIN", "TEST")
    )
    classes = sorted(set(train.labels))
    targets, truth = (np.array([classes.index(label) for label in part.labels]) for part in (train, test))
    return train.sequences, targets, test.sequences, truth


# Errors of the archives' own tables: UCR's DataSummary.csv of 2018 (Euclidean, DTW in the window that it
# learns, that window in percent, DTW); for BasicMotions DTW_D of Ruiz et al., Data Mining and Knowledge
# Discovery 35, 2021.
PUBLISHED = {
    "ItalyPowerDemand": (0.0447, 0.0447, 0, 0.0496),
    "GunPoint": (0.0867, 0.0867, 0, 0.0933),
    "BasicMotions": (None, None, None, 0.025),
    "ArrowHead": (0.2000, 0.2000, 0, 0.2971),
    "OSULeaf": (0.4793, 0.3884, 7, 0.4091),
    "ACSF1": (0.4600, 0.3800, 4, 0.3600),
}
QUICK = ("ItalyPowerDemand", "GunPoint", "BasicMotions")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PUBLISHED]
)
def test_errors_are_those_of_the_archive(name):
    train, targets, test, truth = of_archive(name)
    found = neighbours.answers(train, targets, test, None)
    euclidean, window, percent, free = PUBLISHED[name]
    error = {key: (answer != truth).mean() for key, answer in found.classes.items()}
    assert error[neighbours.DTW] == pytest.approx(free, abs=5e-5)
    if percent is not None:
        assert error[neighbours.EUCLIDEAN] == pytest.approx(euclidean, abs=5e-5)
        assert (error[neighbours.WINDOW], found.percent) == (pytest.approx(window, abs=5e-5), percent)


def small():
    generator = np.random.default_rng(0)
    targets = np.arange(12) % 3
    train = [generator.normal(size=(8, 2)) + 3 * target for target in targets]
    return train, targets, [train[2] + 0.1, train[4] - 0.1]


def test_centroids_and_neighbours_find_what_is_near():
    found = neighbours.answers(*small(), None)
    names = [neighbours.CENTROID, neighbours.EUCLIDEAN, neighbours.DTW, neighbours.WINDOW]
    assert list(found.classes) == names
    assert all(given.tolist() == [2, 1] for given in found.classes.values())
    assert (found.percent, found.own) == (0, 1.0)


def test_sequences_of_different_lengths_are_compared_by_warping_and_by_what_they_are_stretched_to():
    train, targets, test = small()
    found = neighbours.answers(train, targets, [test[0][:-1], test[1]], None)
    assert list(found.classes) == [neighbours.CENTROID, neighbours.DTW, neighbours.WINDOW]


def test_the_nearest_centroid_does_not_see_how_long_a_straight_line_takes():
    rising, falling = (np.linspace([0.0, a], [1.0, -a], 9) for a in (1.0, -1.0))
    found = neighbours.answers([rising, falling], np.array([0, 1]), [falling[::4], rising[::2]], 0)
    assert found.classes[neighbours.CENTROID].tolist() == [1, 0]


def test_what_takes_too_long_is_left_out_and_a_line_says_so(caplog):
    caplog.set_level("INFO")
    # 2 x 12 pairs of 8 x 8 steps and 2 features are 3,072 cells, and 300 more each: 10,272.
    found = neighbours.answers(*small(), 11_000)
    assert neighbours.DTW in found.classes
    assert neighbours.WINDOW not in found.classes
    assert "no 1-NN DTW in a window beside" in caplog.text
    assert "data.dtw_cells allows 1.1e+04" in caplog.text


def test_slow_answers_are_kept_and_damaged_ones_computed_anew(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(neighbours, "_SLOW", 0.0)
    found = neighbours.answers(*small(), None, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(neighbours, "_computed", lambda *_: pytest.fail("computed again"))
        again = neighbours.answers(*small(), None, tmp_path)
    assert {n: a.tolist() for n, a in again.classes.items()} == {
        n: a.tolist() for n, a in found.classes.items()
    }
    assert (again.percent, again.own) == (found.percent, found.own)
    (file,) = (tmp_path / "neighbours").iterdir()
    for damage in ("{", '{"classes": {"x": [7, 7]}, "percent": 1, "own": 1}', "[]"):
        file.write_text(damage)
        assert list(neighbours.answers(*small(), None, tmp_path).classes) == list(found.classes)
    assert caplog.text.count("is damaged") == 3
    train, targets, test = small()
    neighbours.answers(train, targets, [s + 1 for s in test], None, tmp_path)
    assert len(list((tmp_path / "neighbours").iterdir())) == 2  # other sequences have a file of their own
