"""Downloading one file by HTTP, however often the transfer breaks."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, NoReturn
from urllib.parse import urlsplit

from gatewise import __version__
from gatewise.data.known.finding import checksum
from gatewise.settings import first_line, one_line

PATIENCE_SECONDS = 30.0
"""How long nothing may come before a transfer counts as broken."""
TRIES = 5
"""How often a transfer may break in a row without a new byte."""
PAUSE_SECONDS = 1.0
"""Between two of these; the pauses double."""
_LONGEST_PAUSE = 30.0
_PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers that may be another one a moment later."""
_BLOCK = 2**16
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


class TransferError(Exception):
    """Why a file cannot be downloaded, in a few words."""


class _BrokenError(Exception):
    """The transfer broke, and may be taken up again, after a pause that the server may have asked for."""

    def __init__(self, why: str, pause: float | None = None) -> None:
        super().__init__(why)
        self.pause = pause


class _OnlyHttp(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https alone."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in ("http", "https"):
            fp.close()
            raise TransferError(f"the source leads to {one_line(newurl[:100])}, which is not http")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Opens http and https alone, by way of the proxy that the environment names."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _OnlyHttp(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


@dataclass
class Transfer:
    """A download of ``url`` to the file ``part``, which goes on from what that holds already.

    ``size`` and ``sha256`` are those of the whole file; None where only ``most`` bytes are known. Where the
    content turns out to be another, it is downloaded once more if it came in several pieces.
    """

    url: str
    part: Path
    most: int
    size: int | None = None
    sha256: str | None = None
    came: Callable[[int], None] = lambda _: None
    """Told the number of bytes that there are now."""

    def __post_init__(self) -> None:
        self._opener = _opener()
        self._was_reached = False
        self._restarts = 0

    def run(self) -> bool:
        """Download the file; returns whether it came in several pieces.

        Raises TransferError where it cannot be had; what came so far stays.
        """
        in_pieces = self._have() > 0
        in_pieces |= self._complete()
        if not self._is_right() and in_pieces:  # of a source that changed in between, or of another's part
            self.part.unlink()
            self._complete()
        if not self._is_right():
            self.part.unlink()
            raise TransferError(
                "the source has another content than when the table of known sets was written"
            )
        return in_pieces

    def _is_right(self) -> bool:
        return self.sha256 is None or checksum(self.part) == self.sha256

    @property
    def _most(self) -> int:
        return self.most if self.size is None else self.size

    def _have(self) -> int:
        """How much of the file is there; a part that is too large is removed."""
        try:
            size = self.part.stat().st_size
        except FileNotFoundError:
            return 0
        if size > self._most:
            self.part.unlink()
            return 0
        return size

    def _complete(self) -> bool:
        """Transfer until all is there; returns whether that took several requests."""
        idle, requests = 0, 0
        while self.size is None or self._have() < self.size:
            requests += 1
            have = self._have()
            try:
                if self._transfer(have):
                    break
                raise _BrokenError(f"the transfer ends after {self._have()} bytes")
            except _BrokenError as broken:
                idle = 0 if self._have() > have else idle + 1
                if idle >= TRIES:
                    raise TransferError(f"{broken}, {idle} times in a row") from None
                pause = min(PAUSE_SECONDS * 2 ** max(idle - 1, 0), _LONGEST_PAUSE)
                time.sleep(pause if broken.pause is None else broken.pause)
        return requests > 1

    def _transfer(self, have: int) -> bool:
        """Ask once for what is missing; returns whether all is there then."""
        # Without this header, what comes may be compressed, and no checksum fits.
        headers = {"User-Agent": f"gatewise/{__version__}", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        try:
            request = urllib.request.Request(self.url, headers=headers)
            response = self._opener.open(request, timeout=PATIENCE_SECONDS)
        except urllib.error.HTTPError as error:
            self._was_reached = True
            with error:
                return self._refused(error, have)
        except urllib.error.URLError as error:
            reason = error.reason if isinstance(error.reason, BaseException) else error
            if self._was_reached:
                raise _BrokenError(_reason(reason)) from None
            raise TransferError(_reason(reason) + self._proxy()) from None
        except (ValueError, http.client.InvalidURL) as error:  # an address that is none
            raise TransferError(_reason(error)) from None
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(_reason(error)) from None
        self._was_reached = True
        with response:
            return self._keep(response, have)

    def _refused(self, error: urllib.error.HTTPError, have: int) -> bool:
        """What follows from an answer without content; True where it says that nothing is missing."""
        said = f"the source answers {error.code} {one_line(str(error.reason))[:80]}".rstrip()
        if error.code == 416 and have:
            total = _CONTENT_RANGE.fullmatch(error.headers.get("Content-Range", ""))
            if total is not None and _is_number(total[2]):
                if self.size is None and int(total[2]) == have:
                    return True
                if self.size not in (None, int(total[2])):
                    raise TransferError(f"the source has {total[2]} bytes, where {self.size} are expected")
            self._restart(said)
        if error.code not in _PASSING:
            raise TransferError(said)
        asked = error.headers.get("Retry-After", "")
        pause = float(asked) if _is_number(asked) else None
        if pause is not None and pause > _LONGEST_PAUSE:
            raise TransferError(f"{said}, and asks to wait {pause:g} seconds")
        raise _BrokenError(said, pause)

    def _restart(self, why: str) -> NoReturn:
        """Give up the part: the source does not go on from there."""
        self.part.unlink(missing_ok=True)
        self._restarts += 1
        if self._restarts > 1:  # else it might go on like this for ever
            raise TransferError(why)
        raise _BrokenError(why, pause=0)

    def _keep(self, response: HTTPResponse, have: int) -> bool:
        """Write what an answer brings behind the ``have`` bytes; returns whether all is there then."""
        length = response.headers.get("Content-Length", "")
        rest = int(length) if _is_number(length) else None
        if response.status == 206:
            ranges = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if ranges is None or ranges[1] != str(have):
                self._restart("the source sends another part than the one it was asked for")
            total = int(ranges[2]) if ranges[2] != "*" else rest and have + rest
        elif response.status == 200:  # all of it, whatever it was asked for
            have, total = 0, rest
        else:
            raise TransferError(f"the source answers {response.status}")
        if total is not None and total > self._most:
            raise TransferError(f"the source has {total} bytes, where at most {self._most} are expected")
        with self._opened("ab" if have else "wb") as file:
            for block in _blocks(response):
                have += len(block)
                if have > self._most:
                    self.part.unlink()
                    raise TransferError(f"the source sends more than the {self._most} bytes expected")
                self._write(file, block)
                self.came(have)
        return have == self.size if self.size is not None else total is None or have == total

    def _opened(self, mode: str) -> IO[bytes]:
        try:
            return self.part.open(mode, buffering=0)
        except OSError as error:
            raise TransferError(f"{self.part}: {error.strerror}") from None

    def _write(self, file: IO[bytes], block: bytes) -> None:
        left = memoryview(block)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError as error:  # a full disk
            raise TransferError(f"{self.part}: {error.strerror}") from None

    def _proxy(self) -> str:
        """The proxy that a request takes, without the password it may have."""
        url = urlsplit(self.url)
        proxy = urllib.request.getproxies().get(url.scheme)
        if not proxy or urllib.request.proxy_bypass(url.hostname or ""):
            return ""
        with contextlib.suppress(ValueError):
            proxy = urlsplit(proxy if "://" in proxy else f"//{proxy}").hostname or "of no host"
        return f", by way of the proxy {one_line(proxy)[:80]} ({url.scheme}_proxy)"


def _blocks(response: HTTPResponse) -> Iterator[bytes]:
    """What comes, as it comes."""
    try:
        while block := response.read1(_BLOCK):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(_reason(error)) from None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 16


def _reason(error: BaseException) -> str:
    """What the network says, in one line."""
    if isinstance(error, TimeoutError):
        return f"nothing came for {PATIENCE_SECONDS:g} seconds"
    if isinstance(error, socket.gaierror):
        return f"no network, or no such host: {error.strerror}"
    text = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
    return one_line(text or type(error).__name__)[:200]
