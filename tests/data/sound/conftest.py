"""Recordings made of tones: low for "no", high for "yes"."""

import csv

import numpy as np
import pytest
import soundfile


def tone(rng, hz, rate, seconds):
    times = np.arange(int(rate * seconds)) / rate
    sound = 0.3 * np.sin(2 * np.pi * hz * rng.uniform(0.95, 1.05) * times)
    return sound + 0.01 * rng.standard_normal(len(times))


@pytest.fixture(scope="session")
def tones(tmp_path_factory):
    """A folder with ``mine.csv`` and sounds/yes and sounds/no of 12 recordings each, by four speakers."""
    folder = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    rows = [("path", "label", "speaker", "split")]
    for label, hz in (("yes", 900), ("no", 300)):
        (folder / "sounds" / label).mkdir(parents=True)
        for number in range(12):
            name = f"sounds/{label}/{number}.wav"
            soundfile.write(folder / name, tone(rng, hz, 8000, rng.uniform(0.1, 0.3)), 8000)
            rows.append((name, label, f"s{number % 4}", ("train", "train", "dev", "test")[number % 4]))
    with (folder / "mine.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder
