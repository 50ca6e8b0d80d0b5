"""Files in place of sets that nobody may hand on, with as many words and names as these have."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WORDS, TOKENS = 10_000, 60_000
"""The Penn Treebank's vocabulary, with <eos>, and a tenth of the training text."""
CONLL = "conll.txt"
SENTENCES, WORDS_A_SENTENCE, DIFFERENT = 4000, 14.5, 20_000
"""CoNLL 2003 has 14,041 training sentences with 14.5 words each on average."""
NAMES = ("PER", "LOC", "ORG", "MISC")
NAMED = 0.17
"""Share of the words that are part of a name."""


def write_files(folder: Path) -> None:
    """Write all of them into a folder."""
    draw = np.random.default_rng(0)
    _write_treebank(folder, draw)
    _write_conll(folder / CONLL, draw)


def _write_treebank(folder: Path, draw: np.random.Generator) -> None:
    """Three parts, every word in each of them."""
    for part, size in (("train", TOKENS * 10), ("valid", TOKENS // 5), ("test", TOKENS // 5)):
        ids = np.concatenate([np.arange(WORDS - 1), draw.integers(0, WORDS - 1, size)])
        rows = np.array_split(np.char.add("w", ids.astype(str)), len(ids) // 20)
        (folder / f"ptb.{part}.txt").write_text("".join(" ".join(row) + "\n" for row in rows))


def _write_conll(file: Path, draw: np.random.Generator) -> None:
    """Words of 2 to 12 letters, few of them often, with names of one word after the other in IOB1."""
    letters = draw.integers(ord("a"), ord("z") + 1, (DIFFERENT, 12)).astype(np.uint8)
    lengths = draw.integers(2, 13, DIFFERENT)
    spelled = [bytes(row[:length]).decode() for row, length in zip(letters, lengths, strict=True)]
    shares = 1 / np.arange(1, DIFFERENT + 1)
    sizes = 1 + draw.poisson(WORDS_A_SENTENCE - 1, SENTENCES)
    ids = draw.choice(DIFFERENT, sizes.sum(), p=shares / shares.sum())
    names = [f"I-{name}" for name in NAMES]
    tags = np.where(draw.random(len(ids)) < NAMED, draw.choice(names, len(ids)), "O")
    rows = [f"{spelled[word]} {tag}" for word, tag in zip(ids, tags, strict=True)]
    ends = np.cumsum(sizes)
    sentences = ("\n".join(rows[end - size : end]) for size, end in zip(sizes, ends, strict=True))
    file.write_text("\n\n".join(sentences) + "\n")
