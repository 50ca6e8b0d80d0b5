"""Lines about commands that cannot be."""

from __future__ import annotations

import pytest

from gatewise.config.check import misfit
from gatewise.config.check_run import check_decided
from gatewise.settings.declared import declared

CHOICES = {"task": "tagging", "data": "treebank"}


def test_kinds_of_data_that_do_not_fit_are_told_apart_by_their_words_or_else_their_classes() -> None:
    words, tags = ("running text", "gatewise.kinds.text.TextFacts"), ("tagged text", "mine.TaggedFacts")
    start, end = "task=tagging takes {}, but data=treebank gives {}: ", "an experiment=... that has both"
    line = misfit(CHOICES, words, tags)
    assert line.startswith(start.format("running text", "tagged text"))
    assert line.endswith(end)
    line = misfit(CHOICES, words, (words[0], "mine.TaggedFacts"))
    assert line.startswith(
        start.format("running text (gatewise.kinds.text.TextFacts)", "running text (mine.TaggedFacts)")
    )


TEXTS = ("LabelledText", "LanguageText", "ParallelText", "SeveralLabels", "TaggedText")


@pytest.mark.parametrize("name", TEXTS)
def test_what_made_the_vocabulary_stays_as_it_was_in_training(name: str) -> None:
    declaration = declared(f"gatewise.data.text.{name}")
    assert declaration is not None
    decided = declaration.attribute("decided")
    assert set(decided) < set(declaration.parameters)
    assert "test_files" not in decided
    trained = dict.fromkeys(decided, 1)
    check_decided({"test_files": ["other"], decided[0]: 1}, trained, decided)
    check_decided({decided[0]: 2}, {}, decided)  # a run from before there was the setting
    for setting in decided:
        with pytest.raises(ValueError, match=f"data.{setting}: got 2, but the run was trained with 1"):
            check_decided({setting: 2}, trained, decided)
