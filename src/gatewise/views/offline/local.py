"""A page served on this machine alone, at an address that nobody can guess, until Ctrl-C."""

from __future__ import annotations

import errno
import html
import secrets
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from gatewise.views.plain import plain_console

HOST = "127.0.0.1"
PORTS_TRIED = 50
MOST_BYTES = 1 << 20
"""Of what a page may send at once."""
PATIENCE_SECONDS = 30
"""How long a request may take to arrive."""


class Shown(NamedTuple):
    """What a path of the page gives."""

    kind: str
    """Such as ``text/html``."""
    make: Callable[[], str]
    """ValueError where it cannot be made now; its message is shown in its place."""


def serve(
    shown: Mapping[str, Shown], port: int, answers: Mapping[str, Callable[[bytes], str]] | None = None
) -> None:
    """Serve what each path below the page's address shows, and is answered there, until Ctrl-C.

    ``answers`` take the JSON that the page sends to a path and return JSON; a ValueError of theirs is the
    answer. The path of the page itself is empty. Raises ValueError where no port is free from ``port`` on.
    """
    token = secrets.token_urlsafe(16)
    server = _server(dict(shown), dict(answers or {}), port, token)
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


def _server(
    shown: dict[str, Shown], answers: dict[str, Callable[[bytes], str]], port: int, token: str
) -> ThreadingHTTPServer:
    handler = type("Handler", (_Handler,), {"shown": shown, "answers": answers, "token": token})
    for offset in range(PORTS_TRIED):
        try:
            return _Server((HOST, port + offset), handler)
        except OverflowError:  # there are no ports above 65535
            break
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
    raise ValueError(f"port={port}: this one and the {PORTS_TRIED - 1} after it are taken: name another")


class _Server(ThreadingHTTPServer):
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    shown: dict[str, Shown]
    answers: dict[str, Callable[[bytes], str]]
    token: str
    server_version = "gatewise"
    sys_version = ""
    timeout = PATIENCE_SECONDS

    def do_GET(self) -> None:
        """Answer for what is shown; nothing else is there."""
        path = self._path()
        found = None if path is None else self.shown.get(path)
        if found is None:
            self._answer(404, "text/plain", "there is no such page")
        else:
            self._answer(200, found.kind, _made(found.make))

    def do_POST(self) -> None:
        """Answer what the page has sent; nothing from elsewhere."""
        path = self._path()
        answer = None if path is None else self.answers.get(path)
        own = f"http://{self.headers.get('Host', '')}"
        size = self.headers.get("Content-Length", "")
        if answer is None or self.headers.get("Origin", own) != own:
            self._answer(404, "text/plain", "there is no such page")
        elif self.headers.get_content_type() != "application/json":
            self._answer(415, "text/plain", "send JSON")
        elif not (size.isascii() and size.isdigit() and len(size) < 10 and int(size) <= MOST_BYTES):
            self._answer(413, "text/plain", f"send at most {MOST_BYTES:,} bytes")
        else:
            try:
                self._answer(200, "application/json", answer(self.rfile.read(int(size))))
            except ValueError as error:
                self._answer(400, "text/plain", str(error))

    def _path(self) -> str | None:
        """The path below the page's address; None where another address, or another site's name, is asked."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        base = f"/{self.token}/"
        # Another site's name that leads here is none of ours.
        is_ours = host in (HOST, "localhost") and secrets.compare_digest(
            self.path[: len(base)].encode(errors="replace"), base.encode()
        )
        return self.path[len(base) :] if is_ours else None

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
    except ValueError as error:
        return html.escape(str(error))
