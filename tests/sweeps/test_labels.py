"""Configurations in a few words."""

from __future__ import annotations

import pytest

from gatewise.sweeps.labels import LONGEST, cut, label, short_names


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["optimizer.lr", "model"], ["lr", "model"]),
        (["task.dropout", "model.dropout", "optimizer.lr"], ["task.dropout", "model.dropout", "lr"]),
        (["+callbacks.mine.how"], ["how"]),
        (["a.b", "b"], ["a.b", "b"]),
        ([], []),
    ],
)
def test_settings_by_as_few_parts_as_tell_them_apart(keys: list[str], names: list[str]) -> None:
    assert list(short_names(keys).values()) == names


def test_long_values_are_cut_in_the_middle() -> None:
    text = "[/a/very/long/folder/with/a/file.txt]"
    assert len(cut(text)) == LONGEST
    assert (cut(text)[:6], cut(text)[-9:]) == ("[/a/ve", "file.txt]")
    assert cut("short") == "short"
    assert label(
        {"optimizer.lr": 0.0012345678, "model": "gru"}, {"optimizer.lr": "lr", "model": "model"}
    ) == ("lr=0.001235  model=gru")
