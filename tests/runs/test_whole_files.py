"""Files that are whole at every moment: text, JSON and checkpoints."""

import errno
import json
import math
import resource
import threading

import numpy as np
import pytest
import torch

from gatewise.runs.files import read_json, replacing, write_json, write_text


def names(folder):
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("text", ["", "a\nb\r\n", "½ – ß 你\n"], ids=["empty", "lines", "letters"])
def test_text_is_written_as_it_is(text, tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    write_text(path, text)
    assert path.read_bytes() == text.encode("utf-8")
    assert path.stat().st_mode & 0o777 == 0o644  # others may read it, though temporary files are private
    assert names(tmp_path) == ["file.txt"]


def _no_space(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("old", ["old", None], ids=["over an old file", "as a new file"])
@pytest.mark.parametrize("broken", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.chmod"])
def test_a_failure_leaves_the_old_file_and_nothing_else(broken, old, tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    if old is not None:
        path.write_text(old)
    monkeypatch.setattr(broken, _no_space)
    with pytest.raises(OSError, match="No space left") as caught:
        write_text(path, "new")
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == ({} if old is None else {"file.txt": old})


def test_a_file_that_cannot_be_written_to_its_end(tmp_path):
    """The system itself cuts the write short, as a full disk does."""
    path = tmp_path / "file.txt"
    write_text(path, "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_text(path, "x" * 2**21)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_a_missing_folder_is_an_os_error(tmp_path):
    path = tmp_path / "missing" / "file.txt"
    with pytest.raises(FileNotFoundError) as caught:
        write_text(path, "x")
    assert caught.value.filename == str(path)  # not the temporary one


def test_a_folder_in_the_files_place_is_named(tmp_path):
    path = tmp_path / "file.txt"
    path.mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_text(path, "x")
    assert caught.value.filename == str(path)
    assert names(tmp_path) == ["file.txt"]


def test_another_files_error_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "file.txt"):
        (tmp_path / "other").read_bytes()
    assert caught.value.filename == str(tmp_path / "other")


def test_what_cannot_be_encoded_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(path, {"a": object()})
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_a_reader_meets_whole_files_only(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, [0] * 5000)
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            write_json(path, [number] * 5000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = [read_json(path) for _ in range(200)]
    finally:
        stop.set()
        writer.join()
    assert all(len(set(values)) == 1 and len(values) == 5000 for values in seen)


def test_json_has_no_number_that_other_readers_do_not_know(tmp_path):
    path = tmp_path / "file.json"
    values = {
        "nan": math.nan,
        "deep": [{"inf": math.inf}, (-math.inf, 1.5)],
        "numpy": np.float64("nan"),
        3: "key",
        "none": None,
        "yes": True,
        "ß": 10**20,
    }
    write_json(path, values)

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse) == {
        "nan": None,
        "deep": [{"inf": None}, [None, 1.5]],
        "numpy": None,
        "3": "key",
        "none": None,
        "yes": True,
        "ß": 10**20,
    }
    assert path.read_text(encoding="utf-8").endswith("}\n")


def test_json_that_is_none_names_its_place(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("{\n\n'a': 1}")
    with pytest.raises(ValueError, match=r"file.json:3: not JSON \(Expecting property name"):
        read_json(path)


def test_floats_are_read_as_written(tmp_path):
    values = [*np.random.default_rng(0).standard_normal(100).tolist(), 5e-324, 1.7976931348623157e308, 0.1]
    write_json(tmp_path / "file.json", values)
    assert read_json(tmp_path / "file.json") == values


def test_a_checkpoint_takes_the_old_ones_place_in_one_step(tmp_path, monkeypatch):
    from gatewise.training.checkpoints import WholeCheckpoints

    path = tmp_path / "checkpoints" / "last.ckpt"
    plugin = WholeCheckpoints()
    plugin.save_checkpoint({"epoch": 1, "w": torch.ones(2)}, path)
    monkeypatch.setattr("os.fsync", _no_space)
    with pytest.raises(OSError, match="No space left"):
        plugin.save_checkpoint({"epoch": 2, "w": torch.zeros(2)}, path)
    monkeypatch.undo()
    assert names(path.parent) == ["last.ckpt"]
    stored = torch.load(path, weights_only=True)
    assert stored["epoch"] == 1
    assert torch.equal(stored["w"], torch.ones(2))
