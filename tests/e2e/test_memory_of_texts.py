"""A training on a long text takes no more memory than one on a short text."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from workplace import Place, wait_until

WORDS = 30_000
MOST_SECONDS = 800


def write(path: Path, size: int) -> None:
    """A text of about so many characters, of words drawn by Zipf's law."""
    draw = np.random.default_rng(0)
    words = np.array([np.base_repr(number, 36).lower() for number in range(1, WORDS + 1)], dtype=object)
    shares = 1 / np.arange(1, WORDS + 1)
    with path.open("w") as file:
        while file.tell() < size:
            lines = draw.choice(words, (20_000, 12), p=shares / shares.sum())
            file.write("\n".join(map(" ".join, lines)) + "\n")


def peak_of(place: Place, name: str, tokenizer: str) -> int:
    """Most memory [kB] of a training that no file backs."""
    process = place.start(
        "train", "experiment=text/files", f"data.files=[{name}]", f"data.tokenizer={tokenizer}",
        "data.max_vocabulary=4000", "trainer.max_epochs=1", "trainer.limit_train_batches=20",
        "trainer.limit_val_batches=5", "trainer.limit_test_batches=5", "wandb.mode=disabled",
        GATEWISE_CACHE=str(place.folder / "cache"),
    )  # fmt: skip
    peak, status = 0, Path(f"/proc/{process.pid}/status")
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.append(process.communicate()[0]))
    reader.start()

    def is_over() -> bool:
        nonlocal peak
        rows = dict(line.split(":", 1) for line in status.read_text().splitlines())
        if "RssAnon" in rows:  # else it has ended
            peak = max(peak, int(rows["RssAnon"].split()[0]))
        return not reader.is_alive()

    try:
        wait_until(is_over, MOST_SECONDS)
    except FileNotFoundError:
        pass
    finally:
        process.kill()
        reader.join()
    assert process.returncode == 0, said
    return peak


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", ["word", "subword"])
def test_memory_does_not_grow_with_the_text(tokenizer: str, place: Place) -> None:
    write(place.folder / "short.txt", 20 << 20)
    write(place.folder / "long.txt", 96 << 20)
    short, long = (peak_of(place, name, tokenizer) for name in ("short.txt", "long.txt"))
    assert long < 1.15 * short
