"""Pictures with captions: every form of file, made scenes, what is kept, and one line for what is wrong."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image

from gatewise.data.images import CaptionFiles, SceneCaptions
from gatewise.data.images.captioned_set import NearestPicture
from gatewise.data.images.pictures import Wanted, read_picture
from gatewise.data.images.scenes import held_out_pairs
from gatewise.kinds.parallel_text import END_ID, START_ID
from gatewise.kinds.reading import facts_from_dict
from gatewise.kinds.scenes import COLOURS, NONE, SHAPES, is_true

COUNT = 12
CAPTIONS = [(f"A dog, {n} of them.", f"dog {n}") for n in range(COUNT)]
NAMES = [f"{n:02}.png" for n in range(COUNT)]


def write_pictures(folder, size=(10, 8), mode="RGB"):
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(NAMES):
        Image.new("RGB", size, (20 * number, 100, 7)).convert(mode).save(folder / name)
    return folder


def coco(captions=CAPTIONS):
    images = [{"id": n + 5, "file_name": name} for n, name in enumerate(NAMES)]
    said = [
        {"image_id": n + 5, "id": 1, "caption": text} for n, texts in enumerate(captions) for text in texts
    ]
    return json.dumps({"info": {}, "images": images, "annotations": said})


def table():
    lines = [["image", "caption"], *([NAMES[n], text] for n, texts in enumerate(CAPTIONS) for text in texts)]
    return "".join(",".join(f'"{x}"' if "," in x else x for x in line) + "\n" for line in lines)


def tokens():
    return "".join(
        f"{NAMES[n]}#{k}\t{text}\n" for n, texts in enumerate(CAPTIONS) for k, text in enumerate(texts)
    )


FORMS = {"captions_train.json": coco, "captions.txt": table, "mine.csv": table, "Flickr8k.token.txt": tokens}
SIZE = {"height": 8, "width": 10, "cache_dir": None}


def made(folder, file="captions.json", content=None, **settings):
    (folder / file).write_text(coco() if content is None else content)
    settings = {"images": "pictures", **SIZE, **settings}
    data = CaptionFiles(files=[file], folders=[folder], seed=3, **settings)
    data.setup()
    return data


@pytest.mark.parametrize("file", FORMS)
def test_every_form_of_file_gives_the_same(file, tmp_path):
    write_pictures(tmp_path / "pictures")
    data = made(tmp_path, file, FORMS[file]())
    parts = data.parts().values()
    found = {
        name: captions
        for part in parts
        for name, captions in zip(part.part.names, part.part.captions, strict=True)
    }
    assert found == dict(zip(NAMES, CAPTIONS, strict=True))
    assert [len(part.part) for part in parts] == [10, 1, 1]
    assert len(data.train_data) == 20  # a caption each
    assert facts_from_dict(json.loads(json.dumps(data.facts.to_dict()))) == data.facts


def test_a_batch_has_the_pictures_of_its_captions(tmp_path):
    write_pictures(tmp_path / "pictures")
    data = made(tmp_path)
    facts, part = data.facts, data.train_data.part
    batch = data.train_data[[0, 5, 19]]
    for row, number in enumerate([0, 2, 9]):
        own = np.asarray(Image.open(tmp_path / "pictures" / part.names[number]))
        assert np.array_equal(batch.pictures[row].permute(1, 2, 0).numpy(), own)
        length = int(batch.target_lengths[row])
        ids = batch.target[row, :length].tolist()
        assert (ids[0], ids[-1]) == (START_ID, END_ID)
        caption = part.captions[number][[0, 5, 19][row] % 2]
        assert facts.target.joined(ids[1:-1]) == caption.lower()
        assert not batch.target[row, length:].any()
    assert batch.references is None
    scored = data.test_data[[0]]
    assert scored.references == [CAPTIONS[NAMES.index(scored.names[0])]]
    pixels = np.array([data.train_data.part.pictures[n] for n in range(10)]) / 1.0
    assert facts.mean == pytest.approx(pixels.mean((0, 2, 3)))
    assert facts.std == pytest.approx(np.where(pixels.std((0, 2, 3)) > 0, pixels.std((0, 2, 3)), 1))
    words = [w for texts in part.captions for t in texts for w in [*facts.target.split(t), "</s>"]]
    assert {t: c for t, c in zip(facts.vocabulary, facts.counts, strict=True) if c} == {
        word: words.count(word) for word in set(words)
    }


def test_parts_by_lists_and_by_files(tmp_path):
    write_pictures(tmp_path / "pictures")
    (tmp_path / "test.txt").write_text("03.png\n07.png\n")
    (tmp_path / "dev.json").write_text(coco())
    data = made(tmp_path, test_list="test.txt", validation_files=["dev.json"])
    assert data.test_data.part.names == ["03.png", "07.png"]
    assert data.validation_data.part.names == NAMES
    assert len(data.train_data.part) == 10


def test_what_is_kept_is_mapped_and_made_anew_for_other_content(tmp_path, monkeypatch, caplog):
    folder = write_pictures(tmp_path / "pictures")
    cache = tmp_path / "cache"
    first = made(tmp_path, cache_dir=cache)
    (kept,) = (cache / "pictures").iterdir()

    def refuse(*_):
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr("gatewise.data.images.caption_files.read_picture", refuse)
        again = made(tmp_path, cache_dir=cache)
    assert isinstance(again.train_data.part.pictures.array, np.memmap)
    assert torch.equal(again.train_data[[0, 7]].pictures, first.train_data[[0, 7]].pictures)
    Image.new("RGB", (10, 8), "white").save(folder / "00.png")
    other = made(tmp_path, cache_dir=cache)
    assert len(list((cache / "pictures").iterdir())) == 2
    every = np.concatenate([np.array(p.part.pictures[:20]) for p in other.parts().values()])
    assert (every == 255).all((1, 2, 3)).sum() == 1
    kept.write_bytes(kept.read_bytes()[:100])
    Image.new("RGB", (10, 8), (0, 100, 7)).save(folder / "00.png")
    with caplog.at_level(logging.WARNING):
        made(tmp_path, cache_dir=cache)
    assert "is damaged" in caplog.text


def test_maps_by_name(tmp_path):
    maps = np.random.default_rng(0).normal(size=(COUNT, 5, 2, 3)).astype(np.float16)
    order = np.random.default_rng(1).permutation(COUNT)
    np.savez(tmp_path / "a.npz", maps=maps[order[:7]], names=np.array(NAMES)[order[:7]])
    np.savez(tmp_path / "b.npz", maps=maps[order[7:]], names=np.array(NAMES)[order[7:]])
    data = made(tmp_path, images=None, maps=["a.npz", "b.npz"])
    facts = data.facts
    assert (facts.form, facts.channels, facts.height, facts.width) == ("maps", 5, 2, 3)
    part = data.train_data.part
    batch = data.train_data[[0, 4]]
    for row, number in enumerate([0, 2]):
        assert np.allclose(batch.pictures[row], maps[NAMES.index(part.names[number])])
    one = tmp_path / "one.npz"
    np.savez(one, maps=maps[3])
    given = CaptionFiles.read_input(one, facts)
    assert given.batch.names == ["one.npz"]
    assert np.allclose(given.batch.pictures[0], maps[3])
    with pytest.raises(ValueError, match=r"trained on maps of features \(\.npz\)"):
        CaptionFiles.read_input(tmp_path / "x.png", facts)
    np.savez(one, maps=maps[3][:, :1])
    with pytest.raises(ValueError, match="5 channels of 1 × 3, but those of the training are of 5 channels"):
        CaptionFiles.read_input(one, facts)


WRONG = {
    "a picture that is not there": (
        lambda p: (p / "pictures" / "03.png").unlink(),
        {},
        r"captions\.json: annotations\[6\]: the picture 03\.png is not in .*pictures",
    ),
    "a caption of no picture": (
        lambda _: coco().replace('"image_id": 6', '"image_id": 99'),
        {},
        r"annotations\[2\]: image_id 99 is the id of none of the images",
    ),
    "an empty caption": (
        lambda _: coco().replace('"dog 1"', '"  "'),
        {},
        r"annotations\[3\]: an empty caption of 01\.png",
    ),
    "half a file": (lambda _: coco()[:99], {}, r"captions\.json:1: this is no JSON"),
    "no lists": (lambda _: "[1]", {}, r"no lists 'images' and 'annotations'"),
    "no picture": (
        lambda p: (p / "pictures" / "03.png").write_bytes(b"nothing"),
        {},
        r"03\.png is no picture of PNG or JPEG",
    ),
    "half a picture": (
        lambda p: (p / "pictures" / "03.png").write_bytes((p / "pictures" / "03.png").read_bytes()[:50]),
        {},
        r"03\.png cannot be read as a picture",
    ),
    "another size": (
        lambda p: Image.new("RGB", (9, 8)).save(p / "pictures" / "03.png"),
        {"other_size": "refuse"},
        r"03\.png: 9 × 8 pixels, where 10 × 8 are asked for: set data\.other_size=resize",
    ),
    "another mode": (
        lambda p: Image.new("L", (10, 8)).save(p / "pictures" / "03.png"),
        {"other_mode": "refuse"},
        r"03\.png: mode L, where RGB is asked for",
    ),
    "too many bits": (
        lambda p: Image.fromarray(np.zeros((8, 10), np.uint16)).save(p / "pictures" / "03.png"),
        {},
        r"03\.png: mode I;16, of more than 8 bits",
    ),
    "no folder": (lambda _: None, {"images": "nowhere"}, r"data\.images=nowhere: there is no such folder"),
    "two sources": (lambda _: None, {"maps": ["m.npz"]}, "one of images .* and maps .*, got both"),
    "a list of another set": (
        lambda p: (p / "list.txt").write_bytes(b"77.png\n"),
        {"test_list": "list.txt"},
        r"list\.txt:1: 77\.png has no captions",
    ),
}


@pytest.mark.parametrize(("spoil", "settings", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_line(spoil, settings, message, tmp_path):
    write_pictures(tmp_path / "pictures")
    spoilt = spoil(tmp_path)  # the captions, if it is these
    with pytest.raises(ValueError, match=message) as error:
        made(tmp_path, content=spoilt if isinstance(spoilt, str) else None, **settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,caption\na.png,one, two\n", r"c\.csv:2: 3 fields, where there are 2: put a caption"),
        ('image,caption\na.png,"one\n', r"c\.csv:\d: "),
        ("picture,caption\n", r"c\.csv:1: the first line must be image,caption, got picture,caption"),
        ("image,caption\n,one\n", r"c\.csv:2: no name of a picture"),
        ("image,caption\n", "holds no captions"),
    ],
)
def test_a_wrong_table_is_named_with_its_line(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        made(tmp_path, "c.csv", text)


def test_captions_without_their_picture_are_left_out_where_that_is_asked_for(tmp_path, caplog):
    (write_pictures(tmp_path / "pictures") / "03.png").unlink()
    data = made(tmp_path, missing="leave_out")
    assert sum(len(part.part) for part in data.parts().values()) == COUNT - 1
    assert "1 of 12 pictures that captions name are not there, as 03.png" in caplog.text
    assert data.describe()["left out"].startswith("1 picture")


MODES = ["L", "1", "P", "RGBA", "LA", "CMYK"]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_converted(mode, tmp_path):
    image = Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode)
    suffix = "jpg" if mode == "CMYK" else "png"
    image.save(tmp_path / f"a.{suffix}")
    for channels in (1, 3):
        pixels = read_picture(tmp_path / f"a.{suffix}", Wanted(channels, 4, 6, "refuse", "convert"))
        assert pixels.shape == (channels, 4, 6)
        assert (pixels > 250).all()


def test_transparent_is_white_and_a_turned_camera_is_turned_back(tmp_path):
    Image.new("RGBA", (6, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_picture(tmp_path / "clear.png", Wanted(3, 4, 6, "refuse", "convert")) == 255).all()
    image = Image.new("RGB", (6, 4))
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read_picture(tmp_path / "turned.jpg", Wanted(3, 6, 4, "refuse", "convert")).shape == (3, 6, 4)


def test_crop_takes_the_middle_and_resize_everything(tmp_path):
    pixels = np.zeros((4, 12, 3), np.uint8)
    pixels[:, 4:8] = 255  # the middle third is white
    Image.fromarray(pixels).save(tmp_path / "a.png")
    crop, resized = (
        read_picture(tmp_path / "a.png", Wanted(1, 4, 4, how, "convert"))[0] for how in ("crop", "resize")
    )
    assert crop.min() == 255
    assert resized[:, 0].max() < 60
    assert resized[:, -1].max() < 60


def test_the_nearest_picture_is_the_one_with_the_least_squared_difference():
    data = SceneCaptions(train_size=30, validation_size=2, test_size=9, seed=4, cache_dir=None)
    data.setup()
    train, test = (np.array(part.part.pictures[:]) for part in (data.train_data, data.test_data))

    def thumbnail(pixels):  # 48 to 32 pixels by overlapping means, as adaptive pooling has them
        ends = [(n * 48 // 32, -(-(n + 1) * 48 // 32)) for n in range(32)]
        rows = np.stack([pixels[:, :, a:b].mean(2) for a, b in ends], 2)
        return np.stack([rows[..., a:b].mean(-1) for a, b in ends], -1)

    own, other = thumbnail(train / 1.0), thumbnail(test / 1.0)
    nearest = [np.square(own - each).sum((1, 2, 3)).argmin() for each in other]
    found = NearestPicture(data.train_data.part).captions(torch.from_numpy(test))
    assert found == [data.train_data.part.captions[n][0] for n in nearest]


# ---- scenes


@pytest.fixture(scope="module")
def scenes():
    data = SceneCaptions(train_size=400, validation_size=60, test_size=80, seed=5, cache_dir=None)
    data.setup()
    return data


def test_scenes_have_several_true_captions(scenes):
    for part in scenes.parts().values():
        for numbers, captions in zip(part.part.scenes.tolist(), part.part.captions, strict=True):
            assert len(set(captions)) == 5
            assert all(is_true(text, numbers) for text in captions)
            places = [tuple(t[3:]) for t in numbers if t[0] != NONE]
            assert len(set(places)) == len(places) in (2, 3)


def test_held_out_pairs_are_in_every_second_scene_of_the_test_alone(scenes):
    seen, unseen = ({tuple(pair) for pair in pairs.tolist()} for pairs in held_out_pairs(6, 5))
    assert len(unseen) == 6
    assert len({shape for shape, _ in unseen}) == len({colour for _, colour in unseen}) == 6
    assert not seen & unseen
    for name, part in scenes.parts().items():
        for number, numbers in enumerate(part.part.scenes.tolist()):
            own = {tuple(t[:2]) for t in numbers if t[0] != NONE}
            is_unseen = name == "test" and number % 2 == 1
            assert own <= (unseen if is_unseen else seen)
            assert bool(part.part.unseen[number]) is is_unseen
    words = {word for texts in scenes.train_data.part.captions for text in texts for word in text.split()}
    assert {*COLOURS, *SHAPES} <= {word.strip(",") for word in words}


def test_pixels_are_where_and_of_what_colour_the_scene_says(scenes):
    """Measured on the picture alone: the middle of all pixels that differ from the background."""
    part = scenes.train_data.part
    pixels = np.array(part.pictures[:]).astype(float)
    size = pixels.shape[-1] // 3
    from gatewise.data.images.drawing import RGB

    named = np.array([RGB[name] for name in COLOURS], float)
    areas = {0: [], 1: []}
    for picture, numbers in zip(pixels, part.scenes.tolist(), strict=True):
        grey = np.median(picture)
        far = np.abs(picture - grey).max(0) > 60
        for _, colour, big, column, row in (t for t in numbers if t[0] != NONE):
            box = np.s_[row * size : (row + 1) * size, column * size : (column + 1) * size]
            inside = far[box]
            assert inside.sum() > 8
            mean = picture[:, box[0], box[1]][:, inside].mean(1)
            own = np.linalg.norm(named - mean, axis=1)
            assert own.argmin() == colour or own[colour] < 60
            areas[big].append(inside.sum())
            far[box] = False
        assert not far.any()  # nothing else is drawn
    assert np.mean(areas[1]) > 2 * np.mean(areas[0])


def test_the_same_seed_gives_the_same_and_another_another(tmp_path):
    def some(seed, **settings):
        sizes = {"train_size": 20, "validation_size": 4, "test_size": 6}
        data = SceneCaptions(**{**sizes, **settings}, seed=seed)
        data.setup()
        return data.test_data

    first = some(1, cache_dir=tmp_path)
    again, longer, other = some(1), some(1, train_size=30), some(2)
    for each in (again, longer):
        assert np.array_equal(first.part.pictures[:], each.part.pictures[:])
        assert first.part.captions == each.part.captions
    assert not np.array_equal(first.part.scenes, other.part.scenes)
    kept = some(1, cache_dir=tmp_path)
    assert np.array_equal(first.part.pictures[:], kept.part.pictures[:])


def test_pictures_have_three_whole_cells_side_by_side():
    with pytest.raises(ValueError, match=r"picture_size=50: .* choose 48"):
        SceneCaptions(picture_size=50, seed=1)
