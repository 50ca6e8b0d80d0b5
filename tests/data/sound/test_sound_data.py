"""Labelled recordings: where they are, how they are split, what is kept, and what is changed in training."""

import json
import shutil
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest
import soundfile
import torch

from gatewise.data.sound import Augmentation, LabelledSound
from gatewise.data.sound import recordings as recordings_module
from gatewise.data.sound.augmentation import Augmenter
from gatewise.data.sound.features import frames_of
from gatewise.data.sound.recordings import read_fsdd
from gatewise.kinds.kind import IGNORED
from gatewise.kinds.reading import facts_from_dict
from gatewise.kinds.sound import SoundFacts
from public_data import public_data


def made(tones, **settings):
    given = {"files": [str(tones / "mine.csv")], "sample_rate": 8000, "bins": 12, "neighbours": False}
    given |= settings
    module = LabelledSound(**given)
    module.setup()
    return module


def speakers(module):
    return {part: sorted(set(recordings.speakers)) for part, recordings in module.recordings.items()}


# ---- where recordings are


def test_a_manifest_says_path_label_speaker_and_part(tones):
    module = made(tones)
    assert speakers(module) == {"train": ["s0", "s1"], "validation": ["s2"], "test": ["s3"]}
    assert module.facts.classes == ("no", "yes")
    assert module.facts.class_counts == (6, 6)
    assert {len(data) for data in module.parts().values()} == {12, 6}
    assert module.describe()["speakers"] == "2 in train, 1 in validation, 1 in test"


def test_jsonl_tells_the_same(tones, tmp_path):
    lines = (tones / "mine.csv").read_text().splitlines()
    names = lines[0].split(",")
    rows = [dict(zip(names, line.split(","), strict=True)) for line in lines[1:]]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    module = made(tones, files=[str(tmp_path / "mine.jsonl")], folders=[str(tones)])
    assert asdict(module.facts) == asdict(made(tones).facts)


def test_a_folder_for_each_class(tones):
    module = made(
        tones, files=None, folder=str(tones / "sounds"), validation_fraction=0.25, test_fraction=0.25
    )
    assert [Counter(data.targets.tolist()) for data in module.parts().values()] == [
        Counter({0: 6, 1: 6}), Counter({0: 3, 1: 3}), Counter({0: 3, 1: 3}),
    ]  # fmt: skip
    assert module.describe()["speakers"] == "not named"


def test_who_speaks_may_be_what_is_learnt(tones):
    module = made(tones, target="speaker", split_column="none")
    assert module.facts.classes == ("s0", "s1", "s2", "s3")


def test_parts_may_have_manifests_of_their_own(tones):
    module = made(tones, test_files=[str(tones / "mine.csv")])
    assert len(module.test_data) == 24


def with_row(tones, tmp_path, *row):
    text = (tones / "mine.csv").read_text() + ",".join(row) + "\n"
    (tmp_path / "more.csv").write_text(text)
    return {"files": [str(tmp_path / "more.csv")], "folders": [str(tones)]}


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (("sounds/yes/1.wv", "yes", "s0", "train"), r"more.csv:26: path=sounds/yes/1.wv was not found"),
        (("", "yes", "s0", "train"), "more.csv:26: path is empty"),
        (("sounds/yes/1.wav", "", "s0", "train"), "more.csv:26: label is empty"),
        (("sounds/yes/1.wav", "yes", "s0", "tran"), "split must be train, validation or test, got 'tran'"),
        (
            ("sounds/yes/1.wav", "maybe", "s0", "test"),
            "label 'maybe' is not among the classes of the training",
        ),
    ],
)
def test_a_wrong_row_is_one_line(tones, tmp_path, row, line):
    with pytest.raises(ValueError, match=line):
        made(tones, **with_row(tones, tmp_path, *row))


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"files": None}, "give one of dataset .*, files .* and folder .*; got none of them"),
        ({"folder": "x"}, "got files and folder"),
        ({"high_hz": 5000.0}, "high_hz=5000: sound of sample_rate=8000 holds nothing above 4000 Hz"),
        ({"low_hz": 4000.0}, "low_hz=4000 must be below high_hz, which is 4000"),
        ({"shift_ms": 30.0}, "shift_ms=30 is more than frame_ms=25"),
        ({"features": "mfcc", "coefficients": 13}, "coefficients=13 of mfcc: there are bins=12 bands"),
        ({"test_speakers": ["s1"], "validation_speakers": ["s1"]}, "both name s1"),
        ({"test_speakers": ["s9"]}, r"data.test_speakers=s9: no such speaker \(did you mean 's\d'\?\)"),
        ({"files": ["a.txt"]}, "a.txt was not found"),
        ({"augmentation": {"speed": 2}}, "speed must be a share of 0 or more and below 1, got 2"),
        ({"augmentation": {"noise_least_db": 40.0}}, "noise_least_db=40 is more than noise_most_db=30"),
    ],
)
def test_settings_that_cannot_be_are_one_line(tones, settings, line):
    changes = settings.get("augmentation")
    with pytest.raises(ValueError, match=line):
        made(tones, **settings | ({"augmentation": Augmentation(**changes)} if changes else {}))


# ---- speakers left out


def test_named_speakers_are_left_out_whatever_the_manifest_says(tones):
    found = speakers(made(tones, test_speakers=["s0"], validation_speakers=["s1"]))
    assert found == {"train": ["s2", "s3"], "validation": ["s1"], "test": ["s0"]}


@pytest.mark.parametrize("seed", range(3))
def test_whole_speakers_are_drawn(tones, seed):
    found = speakers(made(tones, split_column="none", speakers_apart=True, seed=seed))
    assert sorted(name for names in found.values() for name in names) == ["s0", "s1", "s2", "s3"]
    assert [len(found[part]) for part in ("train", "validation", "test")] == [2, 1, 1]


def test_a_speaker_in_two_parts_is_refused_where_they_are_to_be_apart(tones, tmp_path):
    more = with_row(tones, tmp_path, "sounds/yes/1.wav", "yes", "s3", "train")
    assert speakers(made(tones, **more))["train"] == ["s0", "s1", "s3"]
    with pytest.raises(ValueError, match=r"more.csv:26: speaker 's3' is in the .* part, and in the .* too"):
        made(tones, speakers_apart=True, **more)


# ---- normalisation


@pytest.mark.parametrize("normalise", ["training", "recording", "speaker"])
def test_features_are_normalised_over_what_the_setting_says(tones, normalise):
    module = made(tones, normalise=normalise)
    data = module.train_data
    inputs = torch.split(data.frames, data.lengths.tolist())
    who = module.recordings["train"].speakers
    groups = {
        "training": [data.frames],
        "recording": list(inputs),
        "speaker": [
            torch.cat([frames for frames, name in zip(inputs, who, strict=True) if name == speaker])
            for speaker in sorted(set(who))
        ],
    }
    for frames in groups[normalise]:
        assert frames.mean(0).abs().max() < 1e-3
        assert (frames.std(0, correction=0) - 1).abs().max() < 1e-3


def test_padding_is_zero_and_lengths_are_the_frames(tones):
    module = made(tones, batch_size=4)
    for batch in module.train_dataloader():
        for inputs, length in zip(batch.inputs, batch.lengths.tolist(), strict=True):
            assert (inputs[length:] == 0).all()
            assert (inputs[length - 1] != 0).any()


def test_a_step_has_no_more_frames_than_the_limit_even_if_recordings_get_longer(tones):
    most = 90
    by = Augmentation(speed=0.3, time_shift_ms=40.0)
    module = made(tones, batch_size=12, batch_frames=most, augmentation=by)
    sizes = [batch.inputs.shape[:2] for batch in module.train_dataloader()]
    assert sum(count for count, _ in sizes) == 12
    assert all(count * longest <= most for count, longest in sizes)
    assert module.largest_batch() <= most


# ---- kept features


def test_features_are_computed_once(tones, tmp_path, monkeypatch):
    first = made(tones, cache_dir=str(tmp_path))
    monkeypatch.setattr(recordings_module, "read_sound", None)  # nothing is read the second time
    second = made(tones, cache_dir=str(tmp_path), split_column="split", batch_size=3)
    assert torch.equal(first.train_data.frames, second.train_data.frames)
    with pytest.raises(TypeError):
        made(tones, cache_dir=str(tmp_path), bins=13)


def test_another_content_under_the_same_name_is_computed_anew(tones, tmp_path):
    copy = shutil.copytree(tones, tmp_path / "copy")
    first = made(copy, cache_dir=str(tmp_path / "cache"))
    samples, rate = soundfile.read(copy / "sounds/yes/0.wav")
    soundfile.write(copy / "sounds/yes/0.wav", samples / 2, rate)
    second = made(copy, cache_dir=str(tmp_path / "cache"))
    assert not torch.equal(first.train_data.frames, second.train_data.frames)


def test_a_damaged_file_of_features_is_made_anew(tones, tmp_path, caplog):
    first = made(tones, cache_dir=str(tmp_path))
    (kept,) = (tmp_path / "sound").iterdir()
    kept.write_bytes(kept.read_bytes()[:1000])
    second = made(tones, cache_dir=str(tmp_path))
    assert torch.equal(first.train_data.frames, second.train_data.frames)
    assert "is damaged" in caplog.text


def test_clipped_and_silent_recordings_are_counted_and_named(tones, tmp_path, caplog):
    copy = shutil.copytree(tones, tmp_path / "copy")
    for number in range(2):
        soundfile.write(copy / f"sounds/yes/{number}.wav", np.zeros(4000), 8000)
    soundfile.write(copy / "sounds/no/0.wav", np.sign(np.sin(np.arange(4000))), 8000)
    made(copy)
    assert "1 of 24 recordings are clipped (samples at full scale): 0.wav" in caplog.text
    assert "2 of 24 recordings are silent: 0.wav, 1.wav" in caplog.text


# ---- changes in training


ALL = {
    "speed": 0.2, "gain_db": 6.0, "time_shift_ms": 30.0, "noise": 0.5,
    "frequency_warp": 0.1, "time_masks": 2, "frequency_masks": 1, "frequency_mask_bins": 3,
}  # fmt: skip


def drawn(tones, epoch=0, batch_size=5, **settings):
    """The frames of each training recording in an epoch, by its number."""
    module = made(tones, augmentation=Augmentation(**ALL), batch_size=batch_size, seed=3, **settings)
    sampler = module.sampler(module.train_data, True, 0, 1, lambda: epoch)
    found = {}
    for indices in sampler:
        batch = module.train_data[indices]
        for row, index in enumerate(indices):
            found[index] = batch.inputs[row, : batch.lengths[row]]
    return found


def same(first, second):
    return [torch.equal(first[index], second[index]) for index in sorted(first)]


def test_what_is_drawn_depends_on_seed_epoch_and_recording_alone(tones):
    first = drawn(tones)
    assert all(same(first, drawn(tones, batch_size=2)))
    assert not any(same(first, drawn(tones, epoch=1)))
    assert all(same(drawn(tones, epoch=1), drawn(tones, epoch=1)))


def test_worker_processes_draw_the_same(tones):
    batches = [
        list(made(tones, augmentation=Augmentation(**ALL), batch_size=4, workers=workers).train_dataloader())
        for workers in (0, 2)
    ]
    assert len(batches[0]) == len(batches[1]) == 3
    for here, there in zip(*batches, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(here[:3], there[:3], strict=True))


def test_workers_are_asked_only_where_sound_is_changed(tones):
    for by, count in ((Augmentation(**ALL), 2), (Augmentation(time_masks=2), 0), (None, 0)):
        module = made(tones, augmentation=by, workers=2)
        assert module.train_dataloader().num_workers == count
        assert module.val_dataloader().num_workers == 0


def test_only_the_training_part_is_changed(tones):
    plain, changed = made(tones), made(tones, augmentation=Augmentation(**ALL))
    for part in ("validation", "test"):
        assert torch.equal(plain.parts()[part].frames, changed.parts()[part].frames)
        (batch,) = changed.batches(changed.parts()[part], shuffle=False)
        assert torch.equal(batch.lengths.sort().values, changed.parts()[part].lengths.sort().values)


def test_masks_hide_as_much_as_they_may(tones):
    by = Augmentation(time_masks=1, time_mask_share=0.5, frequency_masks=1, frequency_mask_bins=4)
    module = made(tones, augmentation=by, deltas=1)
    most = [0, 0]
    for epoch in range(30):
        sampler = module.sampler(module.train_data, True, 0, 1, lambda epoch=epoch: epoch)
        indices = next(iter(sampler))
        inputs, lengths = module.train_data.padded(indices)
        for row, length in zip(inputs, lengths.tolist(), strict=True):
            hidden = row[:length] == 0
            bands = hidden.all(0)
            most = [max(most[0], int(bands.sum())), max(most[1], int(hidden.all(1).sum() / length * 10))]
            assert bands.sum() <= 8
            assert torch.equal(bands[:12], bands[12:])  # slopes with what they are slopes of
            assert hidden.all(1).sum() <= 0.5 * length
    assert most == [8, 5]


def test_speed_changes_length_and_pitch(tones):
    module = made(tones)
    by = Augmenter(Augmentation(speed=0.2), module.form)
    samples = np.sin(2 * np.pi * 500 * np.arange(8000) / 8000).astype(np.float32)
    for seed in range(5):
        changed = by.sound(samples, np.random.default_rng(seed))
        peak = np.abs(np.fft.rfft(changed * np.hanning(len(changed)))).argmax() * 8000 / len(changed)
        assert peak * len(changed) == pytest.approx(500 * 8000, rel=0.01)
        assert 0.79 < len(changed) / 8000 < 1.21


def test_a_tone_is_heard_in_the_band_of_its_stretched_frequency(tones):
    form = replace(made(tones).form, bins=40)
    times = np.arange(4000) / 8000
    frames = {
        hz: frames_of(np.sin(2 * np.pi * hz * times).astype(np.float32), form) for hz in (800, 1000, 1250)
    }
    by = Augmenter(Augmentation(frequency_warp=0.25), form)
    heard = {hz: int(each.mean(0).argmax()) for hz, each in frames.items()}
    drawn = {
        int(by.frames(frames[1000], np.random.default_rng(seed)).mean(0).argmax()) for seed in range(200)
    }
    assert heard[800] in drawn
    assert heard[1250] in drawn
    assert min(drawn) >= heard[800] - 1
    assert max(drawn) <= heard[1250] + 2


def test_frequencies_are_stretched_of_log_mel_alone(tones):
    with pytest.raises(ValueError, match=r"frequency_warp=0\.1 is of log_mel alone"):
        made(tones, features="mfcc", coefficients=5, augmentation=Augmentation(frequency_warp=0.1))


def test_noise_is_as_much_softer_as_is_asked_for(tones):
    module = made(tones)
    by = Augmentation(noise=0.999, noise_least_db=10.0, noise_most_db=10.0)
    samples = np.sin(np.arange(8000)).astype(np.float32)
    noises = [np.random.default_rng(0).standard_normal(300).astype(np.float32)]
    for given in ((), noises):
        added = Augmenter(by, module.form, given).sound(samples, np.random.default_rng(1)) - samples
        assert 10 * np.log10((samples**2).mean() / (added**2).mean()) == pytest.approx(10, abs=0.01)


# ---- predicting


@pytest.mark.parametrize("normalise", ["training", "recording", "speaker"])
def test_facts_alone_prepare_an_input_as_in_training(tones, normalise):
    module = made(tones, normalise=normalise)
    facts = facts_from_dict(json.loads(json.dumps(module.facts.to_dict())))
    assert isinstance(facts, SoundFacts)
    assert facts == module.facts
    given = LabelledSound.read_input(tones / "mine.csv", facts)
    assert len(given.batch.lengths) == 24
    assert given.columns["label"][0] == "yes"
    if normalise != "speaker":  # that of the test part is over its own recordings of a speaker
        alone = LabelledSound.read_input(module.recordings["test"].paths[0], facts).batch
        first = module.test_data[[0]]
        assert torch.allclose(alone.inputs, first.inputs, atol=1e-6)
        assert alone.targets.tolist() == [IGNORED]


def test_a_folder_is_predicted_for_as_a_whole(tones, tmp_path):
    module = made(tones)
    given = LabelledSound.read_input(tones / "sounds", module.facts)
    assert len(given.columns["file"]) == 24
    with pytest.raises(ValueError, match="no recording is in this folder"):
        LabelledSound.read_input(tmp_path, module.facts)


def test_simple_classifiers_stand_beside_the_test(tones):
    module = made(tones, neighbours=True)
    (batch,) = module.test_dataloader()
    assert set(batch.neighbours) == {"nearest centroid", "1-NN DTW", "1-NN DTW in a window"}
    assert (batch.neighbours["1-NN DTW"] == batch.targets).all()


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("channel", "middle", "channel must be one of refuse, mean, left, right"),
        ("bins", 0, "bins must be at least 1"),
        ("high_hz", 9000.0, "must be a band below half of sample_rate 8000"),
        ("deltas", 1, "feature_size must be 24"),
    ],
)
def test_damaged_facts_are_refused(tones, field, value, line):
    facts = made(tones).facts.to_dict()
    with pytest.raises(ValueError, match=line):
        facts_from_dict(json.loads(json.dumps({**facts, field: value})))


# ---- FSDD


def test_fsdd_is_as_its_readme_says():
    recordings = read_fsdd(public_data("fsdd") / "fsdd")
    assert Counter(recordings.splits) == {"train": 2700, "test": 300}
    assert Counter(recordings.speakers) == dict.fromkeys(
        ("george", "jackson", "lucas", "nicolas", "theo", "yweweler"), 500
    )
    assert Counter(recordings.labels) == {str(digit): 300 for digit in range(10)}
