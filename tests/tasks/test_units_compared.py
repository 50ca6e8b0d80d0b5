"""Scores per character and word: of any unit the loss of the whole text, whatever the lanes and windows."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from gatewise.cells import LSTM
from gatewise.data.text import LanguageText
from gatewise.nn import Recurrent
from gatewise.tasks.language_modelling import LanguageModelling

LINES = [f"The {a} cat{b} sat\t on  {a}{a} mats; à 日本 {b}!" for a in "abcdefgh" for b in (1, 22, 333, 4)]
TEXT = "\n".join([*LINES, ""] * 6)


def scored(task: LanguageModelling, **settings) -> dict[str, float]:
    data = LanguageText(files=["a.txt"], min_count=2, batch_size=4, validation_fraction=0.2, **settings)
    data.setup()
    trainer = pl.Trainer(
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        barebones=False,
    )
    trainer.test(task, dataloaders=data.test_dataloader(), verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.parametrize("tokenizer", ["word", "whitespace", "char", "subword"])
def test_scores_are_those_of_the_whole_text(tokenizer: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    settings = {"tokenizer": tokenizer, "folders": [tmp_path], "max_vocabulary": 300}
    data = LanguageText(files=["a.txt"], min_count=2, batch_size=4, validation_fraction=0.2, **settings)
    data.setup()
    torch.manual_seed(0)
    model = partial(Recurrent, cell=LSTM(), hidden_size=6, engine="loop")
    task = LanguageModelling(model, data.facts, embedding_size=5).eval()
    ids = data.test_ids.long()
    with torch.no_grad():  # the oracle: one pass over the whole test part
        scores, _ = task(ids[None, :-1])
        nats = float(-scores.double().log_softmax(-1)[0, torch.arange(len(ids) - 1), ids[1:]].sum())
    start = TEXT.index("\n", round(0.95 * len(TEXT))) + 1
    text = TEXT[start:]
    words = len(text.split()) + sum(bool(line.strip()) for line in text.split("\n"))
    first = {"word": "The", "whitespace": "The", "char": "T"}.get(tokenizer)
    if first is None:
        first = data.facts.decoded(ids[:1].tolist())
    assert text.startswith(first)
    expected = {
        "test/perplexity": math.exp(nats / (len(ids) - 1)),
        "test/nats_per_character": nats / (len(text) - len(first)),
        "test/bits_per_character": nats / (len(text) - len(first)) / math.log(2),
        "test/nats_per_word": nats / words,
        "test/bits_per_word": nats / words / math.log(2),
    }
    for lanes, warmup, tokens in ((1, 0, 350), (1, 0, 7), (1, 0, 100_000)):
        found = scored(
            task, **settings, evaluation_lanes=lanes, evaluation_warmup=warmup, evaluation_tokens=tokens
        )
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    # Of several lanes each but the first reads a part beforehand; the counts are the same.
    several = scored(task, **settings, evaluation_lanes=3, evaluation_warmup=10)
    ratio = several["test/nats_per_character"] / several["test/loss"]
    assert ratio == pytest.approx(expected["test/nats_per_character"] / math.log(expected["test/perplexity"]))


def test_a_part_of_its_own_is_counted_as_one_that_is_cut(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    whole = LanguageText(files=["a.txt"], folders=[tmp_path], batch_size=4)
    whole.setup()
    start = TEXT.index("\n", round(0.9 * len(TEXT))) + 1
    middle = TEXT.index("\n", round(0.95 * len(TEXT))) + 1
    parts = {"train": TEXT[:start], "valid": TEXT[start:middle], "test": TEXT[middle:].rstrip("\n")}
    for name, text in parts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    files = {"train_files": ["train.txt"], "validation_files": ["valid.txt"], "test_files": ["test.txt"]}
    split = LanguageText(**files, folders=[tmp_path], batch_size=4)
    split.setup()
    assert split.facts == whole.facts
    for part in ("train_ids", "validation_ids", "test_ids"):
        assert torch.equal(getattr(split, part), getattr(whole, part))
    assert split.counted["validation"] == whole.counted["validation"]
