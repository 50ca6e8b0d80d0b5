"""Real data that comes with pip, and the Hypothesis profile."""

import pytest
from hypothesis import settings

# Timing one example of a law says nothing on a busy machine.
settings.register_profile("gatewise", deadline=None, max_examples=60)
settings.load_profile("gatewise")


@pytest.fixture(scope="session")
def speakers():
    """Settings of JapaneseVowels: 9 speakers, 270 training and 370 test utterances (UCI description)."""
    folder = "datasets/data/JapaneseVowels"
    return {
        "train_file": f"{folder}/JapaneseVowels_TRAIN.ts",
        "test_file": f"{folder}/JapaneseVowels_TEST.ts",
        "package": "sktime",
    }
