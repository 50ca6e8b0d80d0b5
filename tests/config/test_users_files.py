"""A config file of the user's that cannot be composed is named, with the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewise.config.compose import compose

BROKEN = {
    "a list": ("- 1\n- 2\n", ":1: must hold settings (key: value), got a list"),
    "a word": ("# mine\nhello\n", ":2: must hold settings (key: value), got a word"),
    "itself": ("defaults:\n  - base\n  - mine\n", ":3: mine leads back to this file"),
    "a circle": ("defaults:\n  - other\n", "conf/model/other.yaml:2: mine leads back to this file"),
    "an alias of itself": ("x:\n  a: &a [*a]\n", ":2: an alias (*) stands inside of what it is a name for"),
    "a mapping of itself": ("a: &a\n  b: {c: *a}\n", "an alias (*) stands inside"),
    "a NUL": ("x: 1\ny: \0\n", ":2: the character #x0 is none of YAML's"),
    "brackets": (f"a: {'[' * 3000}{']' * 3000}\n", "too deep in one another"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_composed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, said = BROKEN[name]
    model = tmp_path / "conf" / "model"
    model.mkdir(parents=True)
    (model / "mine.yaml").write_text(text)
    (model / "other.yaml").write_text("defaults:\n  - mine\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^conf/model/") as caught:
        compose("train", ["model=mine", "model.hidden_size=3"])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_value_by_many_aliases_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "conf" / "model"
    model.mkdir(parents=True)
    (model / "mine.yaml").write_text("defaults:\n  - lstm\nhidden_size: &h 5\nnum_layers: *h\n")
    monkeypatch.chdir(tmp_path)
    assert compose("train", ["model=mine"]).model.num_layers == 5
