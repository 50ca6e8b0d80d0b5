"""A W&B server on this machine that takes every run and keeps the history it is sent."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ACCOUNT = {"WANDB_API_KEY": "0" * 40}


class Server(ThreadingHTTPServer):
    """By run id: rows of ``history`` in the order they came, last ``summary``, what it was begun with.

    And the ``artifacts`` as they were begun, the ids of those that are complete, the names of their files.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.summary: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.artifacts: list[dict[str, Any]] = []
        self.committed: list[str] = []
        self.files: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        return {**ACCOUNT, "WANDB_BASE_URL": f"http://127.0.0.1:{self.server_port}"}


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        content = self._content()
        answer: Any = {}
        if self.path == "/graphql":
            answer = {"data": self._data(json.loads(content))}
        elif self.path.endswith("/file_stream"):
            run = self.path.split("/")[-2]
            files = json.loads(content).get("files", {})
            rows = files.get("wandb-history.jsonl", {}).get("content", [])
            for text in files.get("wandb-summary.json", {}).get("content", []):
                self.server.summary[run] = json.loads(text)
            self.server.history.setdefault(run, []).extend(map(json.loads, rows))
        self._answer(answer)

    def do_PUT(self) -> None:
        self._content()
        if self.path.startswith("/artifact/"):
            self.server.files.append(self.path.removeprefix("/artifact/"))
        self._answer({})

    def _data(self, request: dict[str, Any]) -> dict[str, Any]:
        query, variables = request["query"], request.get("variables") or {}
        if "upsertBucket" in query:
            said = {name: value for name, value in variables.items() if value is not None}
            self.server.runs.setdefault(variables["name"], {}).update(said)
            project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": "tester"}}
            bucket = {
                "id": "b",
                "name": variables["name"],
                "displayName": variables["name"],
                "project": project,
            }
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if "createRunFiles" in query:
            put = f"http://127.0.0.1:{self.server.server_port}/put/"
            files = [{"name": name, "uploadUrl": put + name} for name in variables["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        if "createArtifact(" in query:
            given = variables["input"]
            self.server.artifacts.append(given)
            sequence = {"id": "s", "latestArtifact": None}
            artifact = {
                "id": f"a{len(self.server.artifacts)}",
                "state": "PENDING",
                "artifactSequence": sequence,
            }
            return {"createArtifact": {"artifact": artifact}}
        if "createArtifactManifest(" in query:
            manifest = {"id": "m", "file": self._file("wandb_manifest.json")}
            return {"createArtifactManifest": {"artifactManifest": manifest}}
        if "createArtifactFiles(" in query:
            files = [self._file(given["name"]) for given in variables["input"]["artifactFiles"]]
            return {"createArtifactFiles": {"files": {"edges": [{"node": file} for file in files]}}}
        if "commitArtifact(" in query:
            artifact = {"id": variables["artifactID"], "digest": ""}
            self.server.committed.append(variables["artifactID"])
            return {"commitArtifact": {"artifact": artifact}}
        return {}

    def _file(self, name: str) -> dict[str, Any]:
        """A file of an artifact, and where to send it."""
        url = f"http://127.0.0.1:{self.server.server_port}/artifact/{name}"
        place = {"uploadUrl": url, "uploadHeaders": [], "storagePath": name, "uploadMultipartUrls": None}
        return {"id": name, "name": name, "displayName": name, "artifact": {"id": "a"}, **place}

    def _content(self) -> bytes:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

    def _answer(self, answer: Any) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the screen."""


@contextmanager
def serving(port: int = 0) -> Iterator[Server]:
    """A server while the body runs, at a port of its own unless one is given."""
    server = Server(port)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
