"""The page of a comparison served on this machine, always of the runs as they are now."""

from __future__ import annotations

import errno
import hashlib
import html
import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from gatewise.runs.collection import Found, Place, read_all
from gatewise.runs.record import Record
from gatewise.views.compare.page import page
from gatewise.views.compare.payload import payload
from gatewise.views.plain import plain_console

HOST = "127.0.0.1"
PORTS_TRIED = 50
WATCHED_FILES = ("status.json", "metrics.csv", "validations.csv", "times.csv", "summary.json", "config.yaml")


class Watched:
    """Runs that are looked at again and again: only those whose files have changed are read anew."""

    def __init__(self, find: Callable[[], Found], title: str) -> None:
        self._find, self._title = find, title
        self._records: dict[Path, tuple[str, Record]] = {}
        self._looking = threading.Lock()
        self._made = ("", "")

    def version(self) -> str:
        """What changes whenever one of the runs does."""
        with self._looking:
            return _version(self._find())

    def page(self) -> str:
        """The page of now."""
        with self._looking:
            found = self._find()
            version = _version(found)
            if self._made[0] != version:
                runs = [self._read(place) for place in found.places]
                self._made = (version, page(payload(runs, found, self._title), watched=True))
            return self._made[1]

    def _read(self, place: Place) -> tuple[Place, Record]:
        state = _state(place.folder)
        kept = self._records.get(place.folder)
        # A run that trains may be killed without a file of it changing.
        if kept is None or kept[0] != state or kept[1].state in ("created", "running"):
            ((_, record),) = read_all([place])
            kept = self._records[place.folder] = (state, record)
        return place, kept[1]


def _version(found: Found) -> str:
    states = "\n".join(f"{place.folder}\0{_state(place.folder)}" for place in found.places)
    return hashlib.sha256(states.encode(errors="surrogateescape")).hexdigest()


def _state(folder: Path) -> str:
    """Times and sizes of the files of a run that are read."""
    states = []
    for name in WATCHED_FILES:
        try:
            found = (folder / name).stat()
            states.append(f"{found.st_mtime_ns}.{found.st_size}")
        except OSError:
            states.append("-")
    return ",".join(states)


def serve(watched: Watched, port: int) -> None:
    """Serve the page until Ctrl-C, at an address that nobody can guess.

    Raises ValueError where no port is free from ``port`` on.
    """
    token = secrets.token_urlsafe(16)
    server = _server(watched, port, token)
    console = plain_console(soft_wrap=True)
    if server.server_port != port:
        console.print(f"port {port} is taken: {server.server_port} is used")
    console.print(f"Page  http://{HOST}:{server.server_port}/{token}/  (Ctrl-C ends it)")
    try:
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        console.print("ended")
    finally:
        server.server_close()


def _server(watched: Watched, port: int, token: str) -> ThreadingHTTPServer:
    handler = type("Handler", (_Handler,), {"watched": watched, "token": token})
    for offset in range(PORTS_TRIED):
        try:
            return _Server((HOST, port + offset), handler)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
    raise ValueError(f"port={port}: this one and the {PORTS_TRIED - 1} after it are taken: name another")


class _Server(ThreadingHTTPServer):
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    watched: Watched
    token: str
    server_version = "gatewise"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer for the page and its version; nothing else is there."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        base = f"/{self.token}/"
        # Another site's name that leads here is none of ours.
        is_ours = host in (HOST, "localhost") and secrets.compare_digest(
            self.path[: len(base)].encode(errors="replace"), base.encode()
        )
        if is_ours and self.path == base:
            self._answer(200, "text/html", _made(self.watched.page))
        elif is_ours and self.path == f"{base}version":
            self._answer(200, "text/plain", _made(self.watched.version))
        else:
            self._answer(404, "text/plain", "there is no such page")

    def _answer(self, code: int, kind: str, text: str) -> None:
        content = text.encode(errors="replace")
        self.send_response(code)
        for name, value in (
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Requests are not worth a line."""


def _made(make: Callable[[], str]) -> str:
    try:
        return make()
    except ValueError as error:  # the runs were removed
        return html.escape(str(error))
