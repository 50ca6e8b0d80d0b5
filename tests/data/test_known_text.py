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
