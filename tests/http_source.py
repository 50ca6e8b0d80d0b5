"""A server of files on this machine that fails in every way a server fails in, as it is told."""

from __future__ import annotations

import hashlib
import re
import socket
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from gatewise.data.known.sets import KnownFile, KnownSet

Behaviour = Callable[[Any, bytes], None]


class Source:
    """Serves ``files``; each request is answered as the next item of ``script`` says, then honestly."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.script: list[Behaviour] = []
        self.always: Behaviour = honest
        self.requests: list[tuple[str, str | None]] = []
        """Path and Range of each request."""
        source = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.close_connection = True
                source.requests.append((self.path, self.headers.get("Range")))
                behaviour = source.script.pop(0) if source.script else source.always
                path = self.path.split("/", 3)[3] if "://" in self.path else self.path[1:]
                if path not in source.files and behaviour is honest:
                    behaviour = answers(404)
                behaviour(self, source.files.get(path, b""))

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:  # a client that has enough goes away
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def head(handler: Any, code: int, **headers: object) -> None:
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()


def asked(handler: Any) -> int:
    """The byte that a request starts from."""
    match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    return int(match[1]) if match else 0


def honest(handler: Any, content: bytes) -> None:
    breaks(len(content) + 1)(handler, content)


def breaks(after: int, resets: bool = False) -> Behaviour:
    """Sends no more than ``after`` bytes of what it was asked for."""

    def answer(handler: Any, content: bytes) -> None:
        start = asked(handler)
        if start >= len(content) > 0:
            head(handler, 416, Content_Range=f"bytes */{len(content)}", Content_Length=0)
            return
        rest = content[start:]
        if start:
            place = f"bytes {start}-{len(content) - 1}/{len(content)}"
            head(handler, 206, Content_Range=place, Content_Length=len(rest))
        else:
            head(handler, 200, Content_Length=len(rest))
        handler.wfile.write(rest[:after])
        handler.wfile.flush()
        if resets:
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.close()

    return answer


def ignores_range(after: int | None = None) -> Behaviour:
    def answer(handler: Any, content: bytes) -> None:
        head(handler, 200, Content_Length=len(content))
        handler.wfile.write(content[:after])

    return answer


def answers(code: int, **headers: object) -> Behaviour:
    def answer(handler: Any, content: bytes) -> None:  # noqa: ARG001
        head(handler, code, **{"Content_Length": 0, **headers})

    return answer


def sends(other: bytes, **headers: object) -> Behaviour:
    """Answers 200 with other bytes, of whatever length it says."""

    def answer(handler: Any, content: bytes) -> None:  # noqa: ARG001
        head(handler, 200, **{"Content_Length": len(other), **headers})
        handler.wfile.write(other)

    return answer


def chunked(after: int | None = None) -> Behaviour:
    """Says no length, and breaks off in a chunk."""

    def answer(handler: Any, content: bytes) -> None:
        head(handler, 200, Transfer_Encoding="chunked")
        if after is None:
            handler.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content))
        else:
            handler.wfile.write(b"%x\r\n%s" % (len(content) + 1, content[:after]))

    return answer


def made_set(source: str, contents: dict[str, bytes], name: str = "made", **fields: Any) -> KnownSet:
    """A known set of these files."""
    known = KnownSet(name, "made up", "none", "nobody", "nowhere", source, **fields)
    known.__dict__["files"] = tuple(
        KnownFile(path, len(content), hashlib.sha256(content).hexdigest(), path)
        for path, content in contents.items()
    )
    return known
