"""Recordings with transcripts, strings joined from recordings, and sound as it comes."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from gatewise.data.sound import Augmentation, JoinedSound, TranscribedSound
from gatewise.data.sound.features import frames_of
from gatewise.data.sound.joined import joined
from gatewise.data.sound.pcm import PcmFrames
from gatewise.data.sound.reading import read_sound
from gatewise.kinds.reading import facts_from_dict

RATE = 8000
TEXTS = ("no", "on", "no no", "ton", "to", "not")


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``mine.csv``: 24 recordings of two speakers, with a transcript and a label of one digit."""
    folder = tmp_path_factory.mktemp("spoken")
    rng = np.random.default_rng(0)
    rows = [("path", "text", "label", "speaker", "split")]
    for number in range(24):
        seconds = rng.uniform(0.15, 0.3)
        sound = 0.1 * rng.standard_normal(int(RATE * seconds))
        soundfile.write(folder / f"{number}.wav", sound, RATE)
        part = ("train", "train", "dev", "test")[number % 4]
        rows.append((f"{number}.wav", TEXTS[number % 6], str(number % 3), f"s{number // 4 % 2}", part))
    with (folder / "mine.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def made(kind: type[TranscribedSound], spoken: Path, **settings: Any) -> TranscribedSound:
    given: dict[str, Any] = {"files": [str(spoken / "mine.csv")], "sample_rate": RATE, "bins": 12}
    module = kind(**{**given, **settings})
    module.setup()
    return module


def test_transcripts_go_with_their_recordings(spoken: Path) -> None:
    module = made(TranscribedSound, spoken, ngram_order=2)
    facts = module.facts
    assert facts is not None
    assert facts.units == (" ", "n", "o", "t")
    assert facts.seconds == 0.01
    assert facts_from_dict(facts.to_dict()) == facts
    batch = module.test_data[[0, 2]]
    named = batch.names
    assert named == ["3.wav", "11.wav"]
    rows = zip(batch.targets.tolist(), batch.target_lengths.tolist(), strict=True)
    assert [facts.text(row[:length]) for row, length in rows] == ["ton", "not"]
    frames = frames_of(read_sound(spoken / "3.wav", facts).samples, facts)
    assert int(batch.lengths[0]) == len(frames)
    scaled = (frames - np.array(facts.mean)) / np.array(facts.std)
    torch.testing.assert_close(
        batch.inputs[0, : len(frames)].double(), torch.from_numpy(scaled), rtol=1e-4, atol=1e-4
    )
    assert module.train_data[[0]].names is None
    whole = TranscribedSound.read_input(spoken / "mine.csv", facts)
    assert whole.columns["text"][:2] == ["no", "on"]
    assert set(whole.batch.target_lengths.tolist()) == {-1}


def test_words_and_a_column_of_ones_own(spoken: Path) -> None:
    module = made(TranscribedSound, spoken, units="words", text_column="label")
    assert module.facts is not None
    assert module.facts.units == ("0", "1", "2")
    with pytest.raises(ValueError, match=r"no column 'words'.*data.text_column"):
        made(TranscribedSound, spoken, text_column="words")


def test_words_become_phonemes_by_a_lexicon(spoken: Path) -> None:
    lexicon = spoken / "lexicon.txt"
    lexicon.write_text("no N OW1\non AO N\nton T AH1 N\nto T UW1\nnot N AA T\n")
    module = made(TranscribedSound, spoken, units="phonemes", lexicon=str(lexicon))
    facts = module.facts
    assert facts is not None
    assert facts.units == ("AA", "AH", "AO", "N", "OW", "T", "UW")
    rows = zip(*(tensor.tolist() for tensor in module.test_data[[0, 2]][2:4]), strict=True)
    assert [facts.text(row[:length]) for row, length in rows] == ["T AH N", "N AA T"]
    with pytest.raises(ValueError, match="set units to phonemes, not characters"):
        made(TranscribedSound, spoken, lexicon=str(lexicon))
    lexicon.write_text("ton T AH N\nto T UW\nnot N AA T\n")
    with pytest.raises(ValueError, match=r"mine.csv:2: data.lexicon=.*lacks 'no', 'on'"):
        made(TranscribedSound, spoken, units="phonemes", lexicon=str(lexicon))


def test_augmentation_that_shortens_counts(spoken: Path) -> None:
    """Twice as fast, 15 frames are 7: fewer than the steps of what fits otherwise."""
    rows = [
        ["path", "text", "split"],
        ["0.wav", "abababababab", "train"],
        ["1.wav", "a", "dev"],
        ["2.wav", "a", "test"],
    ]
    with (spoken / "fast.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    files = [str(spoken / "fast.csv")]
    made(TranscribedSound, spoken, files=files)
    with pytest.raises(ValueError, match=r"fast.csv:2 \(0.wav\): its transcript takes 12 steps"):
        made(TranscribedSound, spoken, files=files, augmentation=Augmentation(speed=0.9))
    with pytest.raises(ValueError, match=r"fast.csv:2 \(0.wav\): .* frames \(3 of them are one step\)"):
        made(TranscribedSound, spoken, files=files, stack=3)


def test_recordings_are_joined_where_they_are_to_be() -> None:
    ones, twos = np.ones(10, np.float32), np.full(5, 2, np.float32)
    made_of = joined([ones, twos, ones], [1.0, 0.5, -0.5], 2.0, 2000)
    expected = [0] * 2 + [1] * 10 + [0] + [2] * 4 + [3] + [1] * 9 + [0] * 4
    assert made_of.tolist() == expected


STRINGS: dict[str, Any] = {"train_strings": 8, "validation_strings": 4, "test_strings": 6}
STRINGS |= {"text_column": "label", "units": "words", "least": 2, "most": 4, "noise_db": 60}


def test_strings_are_of_one_speaker_and_one_part(spoken: Path, tmp_path: Path) -> None:
    module = made(JoinedSound, spoken, **STRINGS)
    with (spoken / "mine.csv").open() as file:
        table = {row["path"]: row for row in csv.DictReader(file)}
    used = set()
    for part, recordings in module.recordings.items():
        for pieces, text, speaker in zip(
            recordings.pieces, recordings.labels, recordings.speakers, strict=True
        ):
            rows = [table[path.name] for path, _ in pieces]
            assert text == " ".join(row["label"] for row in rows)
            assert 2 <= len(rows) <= 4
            assert {row["speaker"] for row in rows} == {speaker}
            assert {row["split"] for row in rows} == {{"validation": "dev"}.get(part, part)}
            used |= {row["path"] for row in rows if part == "test"}
    assert used == {path for path, row in table.items() if row["split"] == "test"}, "every test recording"
    again, other = (made(JoinedSound, spoken, **STRINGS, seed=s) for s in (0, 1))
    assert torch.equal(again.train_data.frames, module.train_data.frames)
    assert other.recordings["test"].labels == module.recordings["test"].labels, "one test for all seeds"
    assert other.recordings["train"].labels != module.recordings["train"].labels
    example = module.save_example(tmp_path)
    assert module.facts is not None
    read = JoinedSound.read_input(example, module.facts).batch
    torch.testing.assert_close(
        read.inputs[0], module.test_data[[0]].inputs[0, : read.inputs.shape[1]], rtol=0, atol=0.3
    )


def pcm(path: Path, form: str = "PCM_16") -> bytes:
    samples, rate = soundfile.read(path)
    file = io.BytesIO()
    soundfile.write(file, samples, rate, form, format="WAV")
    return file.getvalue()


@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
@pytest.mark.parametrize("header", [True, False])
def test_no_frame_differs_from_those_of_the_whole(spoken: Path, size: int, header: bool) -> None:
    module = made(TranscribedSound, spoken, deltas=2)
    facts = module.facts
    assert facts is not None
    whole = TranscribedSound.read_input(spoken / "3.wav", facts).batch.inputs[0]
    content = pcm(spoken / "3.wav")
    content = content if header else content[44:]
    frames = PcmFrames(facts, facts.mean, facts.std)
    parts = [frames.accept(content[start : start + size]) for start in range(0, len(content), size)]
    assert torch.equal(torch.cat([*parts, frames.end()]), whole)
    assert frames.seconds == pytest.approx(soundfile.info(spoken / "3.wav").duration)


@pytest.mark.parametrize("size", [1, 50, 100_000])
@pytest.mark.parametrize("named", [None, 0, 0xFFFFFFFF])
def test_what_is_behind_the_samples_is_no_sound(spoken: Path, size: int, named: int | None) -> None:
    """Unless the header does not say how many there are: then the file is still written."""
    facts = made(TranscribedSound, spoken).facts
    assert facts is not None
    content = pcm(spoken / "3.wav")
    if named is not None:
        content = content[:40] + named.to_bytes(4, "little") + content[44:]
    else:
        content += b"LIST" + (400).to_bytes(4, "little") + bytes(400)
    frames = PcmFrames(facts, facts.mean, facts.std)
    for start in range(0, len(content), size):
        frames.accept(content[start : start + size])
    frames.end()
    assert frames.seconds == pytest.approx(soundfile.info(spoken / "3.wav").duration)


def test_a_file_that_has_grown_is_read_on(spoken: Path) -> None:
    facts = made(TranscribedSound, spoken).facts
    assert facts is not None
    content = pcm(spoken / "3.wav")
    frames = PcmFrames(facts, facts.mean, facts.std)
    frames.accept(content[:40] + (400).to_bytes(4, "little") + content[44:])
    frames.end()
    assert frames.samples == (len(content) - 44) // 2


def test_sound_that_cannot_be_read_as_it_comes_is_told(spoken: Path) -> None:
    facts = made(TranscribedSound, spoken).facts
    assert facts is not None
    frames = PcmFrames(facts, facts.mean, facts.std)
    with pytest.raises(ValueError, match=r"header says 1 channel\(s\) of 24 bits at 8000 Hz"):
        frames.accept(pcm(spoken / "3.wav", "PCM_24"))
    short = PcmFrames(facts, facts.mean, facts.std)
    short.accept(bytes(200))
    with pytest.raises(ValueError, match=r"^12.5 ms of sound came"):
        short.end()
    by_recording = made(TranscribedSound, spoken, normalise="recording").facts
    assert by_recording is not None
    with pytest.raises(ValueError, match=r"train with data\.normalise=training"):
        TranscribedSound.read_stream(by_recording)
