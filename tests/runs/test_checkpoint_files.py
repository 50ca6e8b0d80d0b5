"""Checkpoints that cannot be read or written."""

import errno
import io
import os
import pickle
import subprocess
import zipfile

import pytest
import torch

from gatewise.cli.errors import user_line
from gatewise.runs.checkpoints import read_checkpoint
from gatewise.training.checkpoints import WholeCheckpoints

CHECKPOINT = {
    "state_dict": {"w": torch.arange(3.0)},
    "epoch": 4,
    "pytorch-lightning_version": "2.5.0",
    "callbacks": {},
}


class Runs:
    """Makes a folder where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def saved(values, **kwargs):
    content = io.BytesIO()
    torch.save(values, content, **kwargs)
    return content.getvalue()


def a_zip():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("a", "b")
    return content.getvalue()


WHOLE = saved(CHECKPOINT)
OLD_WAY = saved(CHECKPOINT, _use_new_zipfile_serialization=False)
DAMAGED = {
    "empty": b"",
    "text": b"not a checkpoint\n",
    "cut by half": WHOLE[: len(WHOLE) // 2],
    "cut at the end": WHOLE[:-1],
    "cut at the start": WHOLE[:10],
    "old way, cut": OLD_WAY[: len(OLD_WAY) // 2],
    "old way, cut at the end": OLD_WAY[:-5],
    "zeros": bytes(3000),
    "zip": a_zip(),
    "wrong middle": WHOLE[:200] + bytes(300) + WHOLE[500:],
    "a pickle": pickle.dumps({"state_dict": {}}),
}
FOREIGN = {
    "list": ([1], r"not a checkpoint of Gatewise's \(holds a list\)"),
    "no weights": ({"epoch": 1}, r"not a checkpoint of Gatewise's \(no state_dict\)"),
    "weights alone": ({"w": torch.ones(1)}, r"no state_dict"),
    "wrong weights": ({"state_dict": 3, "epoch": 1}, r"no state_dict"),
    "no epoch": ({"state_dict": {}}, r"no epoch"),
    "code": ({**CHECKPOINT, "x": Runs()}, "holds code, refused"),
}


def check(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=message) as again:
        WholeCheckpoints().load_checkpoint(str(path), weights_only=False)
    assert user_line(again.value) == str(caught.value)  # a line for the user, and no bug


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.filterwarnings("error")
def test_a_damaged_file_is_named(content, tmp_path):
    path = tmp_path / "best.ckpt"
    path.write_bytes(content)
    check(path, "damaged.*; train again")


@pytest.mark.parametrize(("values", "message"), FOREIGN.values(), ids=FOREIGN)
def test_another_programs_file_is_named_and_its_code_not_run(values, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "best.ckpt"
    torch.save(values, path)
    check(path, message)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("name", "other"), [("best", "last"), ("last", "best")])
def test_the_other_checkpoint_is_offered(name, other, tmp_path):
    path = tmp_path / f"{name}.ckpt"
    path.touch()
    check(path, "; train again$")
    (tmp_path / f"{other}.ckpt").touch()
    check(path, f"; train again, or evaluate, predict and inspect with checkpoint={other}$")


def test_a_whole_checkpoint_is_read(tmp_path):
    path = tmp_path / "best.ckpt"
    WholeCheckpoints().save_checkpoint(CHECKPOINT, path)
    for stored in (read_checkpoint(path), WholeCheckpoints().load_checkpoint(path)):
        assert stored["epoch"] == 4
        assert torch.equal(stored["state_dict"]["w"], torch.arange(3.0))


def test_a_missing_file_is_a_system_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "best.ckpt")


def test_a_full_disk_says_so_and_keeps_the_old_checkpoint(tmp_path):
    """A real one, where this user may mount it."""
    mounted = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(tmp_path)]
    try:
        subprocess.run(mounted, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no right to mount")
    try:
        path = tmp_path / "checkpoints" / "last.ckpt"
        plugin = WholeCheckpoints()
        plugin.save_checkpoint(CHECKPOINT, path)
        before = path.read_bytes()
        with pytest.raises(OSError, match="No space left") as caught:
            plugin.save_checkpoint({**CHECKPOINT, "large": torch.zeros(300_000)}, path)
        assert caught.value.errno == errno.ENOSPC
        assert user_line(caught.value) == f"{path}: No space left on device"
        assert path.read_bytes() == before
        assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def nested(depth):
    value = [1]
    for _ in range(depth):
        value = [value]
    return value


def doubled(depth):
    value = [1]
    for _ in range(depth):
        value = [value, value]
    return value


def round_about():
    value = []
    value.append(value)
    return value


GROWING = {
    "expanded": lambda: torch.zeros(1).expand(10**6, 10**6),
    "strided": lambda: torch.as_strided(torch.zeros(10), (10, 10), (1, 0)),
    "nested": lambda: nested(100),
    "doubled": lambda: doubled(60),
    "round about": round_about,
}


@pytest.mark.parametrize("kind", GROWING)
@pytest.mark.parametrize("place", ["state_dict", "anything"])
def test_what_grows_as_it_is_read_is_refused(kind, place, tmp_path, monkeypatch):
    monkeypatch.setattr("gatewise.runs.checkpoints.MOST_VALUES", 10_000)
    path = tmp_path / "last.ckpt"
    checkpoint = {"state_dict": {"a": torch.zeros(3, 4).T, "b": torch.zeros(0)}, "epoch": 0, "x": nested(20)}
    torch.save(checkpoint, path)
    read_checkpoint(path)
    torch.save({**checkpoint, place: {"zz": GROWING[kind]()}}, path)
    for location in ("cpu", "meta"):
        with pytest.raises(ValueError, match=r"last\.ckpt: (nests more|has a tensor of)"):
            read_checkpoint(path, location)
