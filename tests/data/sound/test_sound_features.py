"""Features of sound: against numpy's and Kaldi's, and the same whether sound comes whole or in pieces."""

from dataclasses import replace

import kaldi_native_fbank
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewise.data.sound.features import FrameStream, check_computable, frames_of
from gatewise.kinds.sound import SoundForm

FORM = SoundForm(8000, "refuse", "log_mel", 23, 13, 25.0, 10.0, 100.0, 3800.0, 0, "training")


def noise(count, seed=0, loudness=0.1):
    return (np.random.default_rng(seed).standard_normal(count) * loudness).astype(np.float32)


def log_mel(samples, form):
    """As Kaldi's documentation says: povey window, pre-emphasis, triangles on the mel scale, log energies."""
    size, step = form.frame_samples, form.shift_samples
    count = 1 + (len(samples) - size) // step
    frames = np.stack([samples[step * i : step * i + size] for i in range(count)]).astype(np.float64)
    frames -= frames.mean(1, keepdims=True)
    frames -= 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], 1)
    frames *= (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / (size - 1))) ** 0.85
    points = 1 << (size - 1).bit_length()
    power = np.abs(np.fft.rfft(frames, points)) ** 2

    def mel(hz):
        return 1127 * np.log(1 + np.asarray(hz) / 700)

    edges = np.linspace(mel(form.low_hz), mel(form.high_hz), form.bins + 2)
    place = mel(np.arange(points // 2 + 1) * form.sample_rate / points)
    rising = (place - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - place) / np.diff(edges)[1:, None]
    triangles = np.maximum(np.minimum(rising, falling), 0)
    return np.log(np.maximum(power @ triangles.T, np.finfo(np.float32).eps))


@pytest.mark.parametrize("rate", [8000, 16000])
def test_log_mel_is_what_numpy_computes(rate):
    form = replace(FORM, sample_rate=rate)
    samples = noise(rate)
    np.testing.assert_allclose(frames_of(samples, form), log_mel(samples, form), atol=2e-3)


def test_mfcc_is_the_cosine_transform_of_log_mel():
    form = replace(FORM, features="mfcc")
    bands = log_mel(noise(4000), form)
    order, band = np.arange(13)[:, None], np.arange(23)[None]
    matrix = np.sqrt(2 / 23) * np.cos(np.pi / 23 * order * (band + 0.5))
    matrix[0] = np.sqrt(1 / 23)
    lifter = 1 + 11 * np.sin(np.pi * np.arange(13) / 22)  # of 22, Kaldi's
    np.testing.assert_allclose(frames_of(noise(4000), form), bands @ matrix.T * lifter, atol=0.03)


@pytest.mark.parametrize("features", ["log_mel", "mfcc"])
@pytest.mark.parametrize("orders", [1, 2])
def test_slopes_are_kaldis(features, orders):
    form = replace(FORM, features=features, deltas=orders)
    options = kaldi_native_fbank.DeltaOptions()
    options.order = orders
    plain = frames_of(noise(3000), replace(form, deltas=0))
    expected = kaldi_native_fbank.compute_deltas(options, plain)
    np.testing.assert_allclose(frames_of(noise(3000), form), expected, atol=1e-5)


@given(
    count=st.integers(200, 3000),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
    features=st.sampled_from(["log_mel", "mfcc"]),
    deltas=st.integers(0, 2),
)
def test_sound_in_pieces_gives_the_very_frames_of_the_whole(count, cuts, features, deltas):
    form = replace(FORM, features=features, deltas=deltas)
    samples = noise(count)
    stream = FrameStream(form)
    pieces = [stream.accept(piece) for piece in np.split(samples, sorted(min(cut, count) for cut in cuts))]
    pieces.append(stream.end())
    whole = frames_of(samples, form)
    assert whole.shape == (1 + (count - 200) // 80, form.vector_size)
    assert np.array_equal(np.concatenate(pieces), whole)


def test_a_frame_comes_as_soon_as_those_that_its_slopes_need():
    stream = FrameStream(replace(FORM, deltas=2))
    assert stream.lookahead == 4
    given = [len(stream.accept(noise(80, seed))) for seed in range(10)]
    # 200 samples are the first frame, and four more have to follow it.
    assert given == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert len(stream.end()) == 4


def test_bands_that_hold_no_frequency_are_refused():
    check_computable(FORM)
    with pytest.raises(ValueError, match=r"data\.bins=300: the band from 100 to 3800 Hz of frames of 25 ms"):
        check_computable(replace(FORM, bins=300))
