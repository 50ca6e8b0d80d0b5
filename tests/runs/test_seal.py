"""A checkpoint's checksum notices every flipped bit, a missing end and what was added."""

import io
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gatewise.runs.checkpoints import read_checkpoint
from gatewise.runs.seal import NoZipError, is_whole, seal
from gatewise.training.checkpoints import WholeCheckpoints

CHECKPOINT = {
    "state_dict": {"w": torch.arange(30.0), "v": torch.ones(2, 3)},
    "epoch": 1,
    "pytorch-lightning_version": "2.6.0",
}


def by_torch() -> bytes:
    content = io.BytesIO()
    torch.save(CHECKPOINT, content)
    return content.getvalue()


PLAIN = by_torch()
SEALED = b"".join(seal(PLAIN))


def whole(content: bytes) -> bool:
    try:
        return is_whole(io.BytesIO(content))
    except NoZipError:
        return False


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def test_what_was_written_is_whole():
    assert whole(SEALED)
    assert whole(PLAIN)


def test_every_flipped_bit_is_noticed():
    unnoticed = [bit for bit in range(8 * len(SEALED)) if whole(flipped(SEALED, bit))]
    assert unnoticed == []


@given(st.integers(1, len(SEALED) - 1))
def test_a_missing_end_is_noticed(length):
    assert not whole(SEALED[:length])


@given(st.binary(min_size=1, max_size=300))
def test_an_addition_is_noticed(more):
    assert not whole(SEALED + more)


@given(st.integers(0, len(SEALED) - 1), st.binary(min_size=1, max_size=50))
def test_other_bytes_are_noticed(place, others):
    changed = SEALED[:place] + others + SEALED[place + len(others) :]
    assert whole(changed) == (changed == SEALED)


def test_without_a_checksum_a_flipped_bit_of_a_weight_is_noticed():
    with zipfile.ZipFile(io.BytesIO(PLAIN)) as archive:
        for record in archive.infolist():
            # The name stands behind the 30 bytes of a record's head, and what fills up to 64 bytes.
            content = archive.read(record)
            start = PLAIN.find(content, record.header_offset + 30 + len(record.filename)) if content else 0
            for bit in range(8 * start, 8 * (start + len(content)), 7):
                assert not whole(flipped(PLAIN, bit)), record.filename


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_checkpoint_that_would_grow_is_damaged(kind):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", kind) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    assert not whole(content.getvalue())


def test_a_checkpoint_is_sealed_and_verified_once(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint(CHECKPOINT, path)
    assert whole(path.read_bytes())
    assert b"gatewise sha256 " in path.read_bytes()
    counted = []
    monkeypatch.setattr("gatewise.runs.checkpoints.is_whole", lambda file: counted.append(file) or True)
    read_checkpoint(path, "meta")
    assert counted == []  # no tensor is read
    for _ in range(3):
        assert torch.equal(read_checkpoint(path)["state_dict"]["w"], torch.arange(30.0))
    assert len(counted) == 1
    WholeCheckpoints().save_checkpoint({**CHECKPOINT, "epoch": 2}, path)
    assert read_checkpoint(path)["epoch"] == 2
    assert len(counted) == 2


def test_a_flipped_bit_is_said_in_one_line(tmp_path):
    path = tmp_path / "best.ckpt"
    (tmp_path / "last.ckpt").touch()
    path.write_bytes(flipped(SEALED, 4000))
    with pytest.raises(ValueError, match=r"not what its checksum says; train again, or .* checkpoint=last$"):
        read_checkpoint(path)
