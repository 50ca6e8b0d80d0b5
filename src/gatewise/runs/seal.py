"""A checkpoint's checksum: the SHA-256 of the file, kept in the file as the comment of the zip that it is.

A flipped bit in a checkpoint would else be a wrong weight that nobody notices. The checksum is no file of its
own, which a kill between two writes would leave without the other, and which would be lost where a checkpoint
is copied, renamed or replaced. It tells damage; against somebody who changes a file on purpose it is no
protection, as anyone can write another. A checkpoint without one, as earlier versions or ``torch.save`` write
it, is checked by the CRC-32 that the zip has of each of its records.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
from typing import BinaryIO

_END = b"PK\x05\x06"
_END_BYTES = 22
"""Length of the record that ends a zip, without its comment; its last two bytes are the comment's length."""
_MARK = b"gatewise sha256 "
_COMMENT_BYTES = len(_MARK) + 64
_BLOCK = 2**20


class NoZipError(ValueError):
    """A file that is no zip, or none that can be read."""


def seal(content: bytes | memoryview) -> tuple[memoryview, bytes]:
    """A zip in two parts to be written one after the other, the second of which holds the checksum.

    ``content`` is a whole zip without a comment, as ``torch.save`` writes it.
    """
    content = memoryview(content)
    assert bytes(content[-_END_BYTES : -_END_BYTES + 4]) == _END, "torch.save wrote no zip"
    body = content[:-2]
    end = struct.pack("<H", _COMMENT_BYTES) + _MARK
    digest = hashlib.sha256(body)
    digest.update(end)
    return body, end + digest.hexdigest().encode()


def is_whole(file: BinaryIO) -> bool:
    """Whether a checkpoint is as it was written, to the last bit where it holds its checksum.

    Raises NoZipError for a file without a checksum that is no zip.
    """
    size = file.seek(0, os.SEEK_END)
    start = max(size - _END_BYTES - _COMMENT_BYTES, 0)
    file.seek(start)
    tail = file.read()
    # Either is enough, so that a file in which a bit of one of them is wrong, or the end is missing, is not
    # taken for an older one.
    end = tail[tail.rfind(_END) :][:_END_BYTES]
    if end[-2:] != struct.pack("<H", _COMMENT_BYTES) and _MARK not in tail:
        return _records_are_whole(file, size)
    digest = hashlib.sha256()
    file.seek(0)
    left = size - 64
    while left > 0:
        block = file.read(min(left, _BLOCK))
        if not block:
            return False
        digest.update(block)
        left -= len(block)
    return file.read() == digest.hexdigest().encode()


def _records_are_whole(file: BinaryIO, size: int) -> bool:
    """Whether a zip's records are what their CRC-32 says.

    torch stores them as they are; those that are compressed, or lie one over the other, could be a few bytes
    that fill the memory.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
            stored = all(record.compress_type == zipfile.ZIP_STORED for record in records)
            if not stored or archive.comment or sum(record.file_size for record in records) > size:
                return False
            return archive.testzip() is None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError, EOFError) as error:
        raise NoZipError(str(error)) from error
