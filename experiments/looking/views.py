"""The pages that are looked at: how each is made from a folder of examples, and its views by name.

A page joins by a line in ``PAGES``: the words of the command that writes it, and the state that its address
holds for each view.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Page:
    """A page, and what is looked at in it."""

    words: tuple[str, ...]
    """After ``gatewise``; ``output=`` is added. A pattern after ``run=`` means the first run, one after
    ``run2=`` the last; ``{run}`` is the first."""
    views: dict[str, dict[str, Any]]
    """The state in the page's address, by the view's name."""


INSPECT = (
    *("overview", "gates", "cut", "written", "follow", "remember"),
    *("saturation", "decided", "clamps", "predictions", "gradient"),
)
VOWELS = "task=SequenceClassification and lr<1"
PAGES: dict[str, Page] = {
    "compare": Page(
        ("compare",),
        {
            "table": {},
            "table_filtered": {"filter": "model=gru and lr<0.01", "sort": [["best", "up"]]},
            "table_wrong_filter": {"filter": "modle=gru"},
            "curves": {"view": "curves", "filter": VOWELS, "color": "optimizer.lr", "smooth": 0.5},
            "curves_of_all_tasks": {"view": "curves", "metric": "val/loss"},
            "small_multiples": {
                **{"view": "curves", "filter": VOWELS, "metric": "val/loss", "logY": True},
                **{"facet": "model", "color": "optimizer.lr"},
            },
            "groups": {"view": "groups", "filter": "(lr=0.003 or lr=0.03) and model!=bilstm"},
            "groups_of_all_tasks": {"view": "groups"},
            "sweeps": {"view": "sweeps", "filter": VOWELS, "logX": True, "scatterX": "optimizer.lr"},
            "two_runs": {"view": "pair"},
            "two_classifiers": {"view": "pair", "filter": f"{VOWELS} and seed=1", "pair": []},
        },
    ),
    "inspect_text": Page(
        (
            *("inspect", "run=runs/text/king_james/*"),
            "input=Bob is a nice person. Dan on the other hand is evil.",
        ),
        {view: {"view": view, "step": 5, "unit": 3} for view in INSPECT},
    ),
    "inspect_classes": Page(
        ("inspect", "run=runs/text/verses/*", "input=And the angel of the Lord came down, and wept."),
        {
            **{view: {"view": view} for view in ("overview", "decided", "predictions")},
            **{view: {"view": view, "layer": "all"} for view in ("gates", "follow")},
        },
    ),
    "inspect_two_models": Page(
        (
            *("inspect", "run=runs/speech/japanese_vowels/*", "run2=runs/speech/japanese_vowels/*"),
            "input={run}/example.npy",
        ),
        {view: {"view": view, "layer": "all", "direction": "all", "unit": 3} for view in INSPECT},
    ),
    "inspect_series": Page(
        ("inspect", "run=runs/series/sunspots/*", "input={run}/example.csv"),
        {view: {"view": view} for view in ("overview", "gates", "decided", "predictions")},
    ),
}
