"""Presets of data that are known sets of text."""

from __future__ import annotations

from hydra.utils import instantiate

from gatewise.config.compose import compose
from public_data import public_data


def test_tinyshakespeare_is_split_as_in_the_published_results() -> None:
    folder = public_data("tinyshakespeare")
    config = compose("train", ["task=language_modelling", "data=text/tinyshakespeare", "model=lstm"])
    data = instantiate(config.data, folders=[str(folder)])
    data.setup()
    whole = (folder / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    assert len(whole) == 1_115_394
    parts = [data.facts.decoded(ids.tolist()) for ids in (data.train_ids, data.validation_ids, data.test_ids)]
    assert "".join(parts) == whole
    for part, share in zip(parts, (0.9, 0.05, 0.05), strict=True):
        assert abs(len(part) / len(whole) - share) < 1e-4
    # The 65 characters, and what a text to predict from may have beside them.
    assert {token for token in data.facts.vocabulary if len(token) == 1} == set(whole)


def test_wnut17_is_read_whole() -> None:
    """Sentences and entities as counted in the files by awk and uniq."""
    folder = public_data("wnut17")
    config = compose("train", ["task=tagging", "data=text/wnut17", "model=bilstm"])
    data = instantiate(config.data, folders=[str(folder)])
    data.setup()
    parts = (data.train_data, data.validation_data, data.test_data)
    assert [len(part) for part in parts] == [3394, 1009, 1287]
    assert [len(part.words) for part in parts] == [62_730, 15_733, 23_394]
    begins = [i for i, tag in enumerate(data.facts.tags) if tag[0] in "BS"]
    counts = [sum(int((part.targets == i).sum()) for i in begins) for part in parts]
    assert counts == [1975, 836, 1079]
