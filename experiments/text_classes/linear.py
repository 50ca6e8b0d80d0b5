"""The linear baseline alone, on every fold of the movie reviews; it takes seconds.

python experiments/text_classes/linear.py FOLDER_OF_MR [seed]
"""

from __future__ import annotations

import statistics
import sys
import time

from gatewise.data.text import LabelledText


def scores(folder: str, seed: int) -> list[float]:
    """The baseline's accuracy on each of the ten folds."""
    found = []
    for fold in range(10):
        began = time.monotonic()
        data = LabelledText(
            files=[f"{folder}/rt-polarity.neg", f"{folder}/rt-polarity.pos"],
            tokenizer="whitespace",
            fold=fold,
            validation_fraction=0.09,
            seed=seed,
        )
        data.setup()
        batches = list(data.test_dataloader())
        right = sum(int((batch.linear == batch.targets).sum()) for batch in batches)
        found.append(right / len(data.test_data))
        print(f"fold {fold}: {found[-1]:.4f}  {time.monotonic() - began:.1f} s", flush=True)
    return found


if __name__ == "__main__":
    values = scores(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    print(f"mean {statistics.fmean(values):.4f} std {statistics.stdev(values):.4f}")
