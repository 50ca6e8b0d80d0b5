"""Sound files: what is read of them, at which rate, and one line where they cannot be used."""

import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from gatewise.data.sound.reading import read_sound, resampled
from gatewise.kinds.sound import SoundForm

FORM = SoundForm(16000, "refuse", "log_mel", 40, 13, 25.0, 10.0, 20.0, 8000.0, 0, "training")


def tone(rate, seconds=0.5, hz=440.0, loudness=0.5):
    return loudness * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize(("suffix", "apart"), [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.05)])
def test_every_format_gives_its_samples(tmp_path, suffix, apart):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(16000), 16000)
    sound = read_sound(path, FORM)
    assert sound.samples.dtype == np.float32
    np.testing.assert_allclose(sound.samples, tone(16000), atol=apart)
    assert (sound.is_clipped, sound.is_silent) == (False, False)


@pytest.mark.parametrize("rate", [44100, 22050, 48000, 11025])
def test_a_tone_is_the_same_at_another_rate(rate):
    samples = resampled(tone(rate).astype(np.float32), rate, 16000)
    assert abs(len(samples) - 8000) <= 1
    inner = slice(200, 7800)  # the filter sees silence beyond the ends
    np.testing.assert_allclose(samples[inner], tone(16000)[: len(samples)][inner], atol=2e-3)


def test_resampling_leaves_out_what_the_new_rate_cannot_hold():
    high = resampled(tone(16000, hz=7000.0).astype(np.float32), 16000, 8000)
    assert np.abs(high[100:-100]).max() < 0.01


@pytest.mark.parametrize(("channel", "expected"), [("mean", 0.15), ("left", 0.1), ("right", 0.2)])
def test_a_channel_is_taken_as_the_setting_says(tmp_path, channel, expected):
    soundfile.write(tmp_path / "two.wav", np.tile([0.1, 0.2], (8000, 1)), 16000)
    sound = read_sound(tmp_path / "two.wav", replace(FORM, channel=channel))
    np.testing.assert_allclose(sound.samples, expected, atol=1e-4)
    soundfile.write(tmp_path / "one.wav", np.full(8000, 0.3), 16000)
    np.testing.assert_allclose(
        read_sound(tmp_path / "one.wav", replace(FORM, channel=channel)).samples, 0.3, atol=1e-4
    )


def test_clipped_and_silent_recordings_are_marked(tmp_path):
    soundfile.write(tmp_path / "loud.wav", np.clip(tone(16000, loudness=3.0), -1, 1), 16000)
    soundfile.write(tmp_path / "silent.wav", np.full(8000, 0.0005), 16000)
    soundfile.write(tmp_path / "peak.wav", np.append(tone(16000), 1.0), 16000)
    marks = [read_sound(tmp_path / f"{name}.wav", FORM) for name in ("loud", "silent", "peak")]
    assert [(mark.is_clipped, mark.is_silent) for mark in marks] == [
        (True, False),
        (False, True),
        (False,) * 2,
    ]


def written(path, kind):
    if kind == "empty":
        soundfile.write(path, np.zeros(0), 16000)
    elif kind == "text":
        path.write_text("hello")
    elif kind == "nothing":
        path.write_bytes(b"")
    elif kind == "stereo":
        soundfile.write(path, np.zeros((800, 2)), 16000)
    elif kind == "slow":
        soundfile.write(path, tone(8000), 8000)
    elif kind == "short":
        soundfile.write(path, np.ones(100) * 0.1, 16000)
    elif kind == "nan":
        soundfile.write(path, np.array([0.1, np.nan] * 400), 16000, subtype="FLOAT")
    elif kind == "cut":
        soundfile.write(path, np.random.default_rng(0).standard_normal(20000) * 0.1, 16000, format="FLAC")
        path.write_bytes(path.read_bytes()[:9000])
    elif kind == "half":
        soundfile.write(path, tone(16000), 16000)
        path.write_bytes(path.read_bytes()[:8044])


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("empty", r"holds no sound \(0 samples\)"),
        ("text", r"cannot be read as sound \(Format not recognised\): give wav, flac or ogg"),
        ("nothing", "cannot be read as sound"),
        ("missing", "cannot be read as sound"),
        ("stereo", "2 channels, and one is expected: set data.channel to mean, left or right"),
        (
            "slow",
            "recorded at 8000 Hz, .* reach 8000 Hz: set data.sample_rate=8000, or data.high_hz to at most",
        ),
        ("short", "6.25 ms of sound, and a frame takes 25 ms"),
        ("nan", "sample 1 is not a finite number"),
        ("cut", "cannot be read as sound"),
        ("half", "the header says 16000 bytes of samples, and there are 8000: the file is cut, get it again"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path, kind, line):
    path = tmp_path / "a.wav"
    written(path, kind)
    with pytest.raises(ValueError, match=line) as error:
        read_sound(path, FORM)
    assert re.match(rf"{re.escape(str(path))}\b", str(error.value))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])
def test_a_recorder_that_did_not_know_how_long_it_would_be_is_read(tmp_path, size):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(16000), 16000)
    content = bytearray(path.read_bytes())
    content[40:44] = size.to_bytes(4, "little")
    path.write_bytes(content)
    np.testing.assert_allclose(read_sound(path, FORM).samples, tone(16000), atol=1e-4)


def test_of_a_trained_run_no_settings_are_named(tmp_path):
    for kind, line in (("stereo", "2 channels, and one is expected: give one of them"),
                       ("slow", "reach 8000 Hz: the run needs recordings of 16000 Hz or more")):  # fmt: skip
        written(tmp_path / f"{kind}.wav", kind)
        with pytest.raises(ValueError, match=f"{line}$"):
            read_sound(tmp_path / f"{kind}.wav", FORM, is_trained=True)


def test_a_lower_rate_is_enough_for_a_lower_band(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(8000), 8000)
    sound = read_sound(tmp_path / "a.wav", replace(FORM, high_hz=3800.0))
    assert len(sound.samples) == 8000


def test_without_the_extra_a_line_says_how_to_install_it(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", tone(16000), 16000)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ValueError, match=r"sound needs soundfile: pip install 'gatewise\[sound\]'"):
        read_sound(tmp_path / "a.wav", FORM)
