"""Lines about commands that cannot be."""

from __future__ import annotations

from gatewise.config.check import misfit

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
