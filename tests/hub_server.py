"""A hub on loopback that hands out the files of one model, in this process.

As much of https://huggingface.co as its client asks for to download a model.
"""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef" * 2 + "01234567"


@dataclass
class Hub:
    """Where it is, and the requests it has seen, as 'GET /path'."""

    url: str
    seen: list[str] = field(default_factory=list)


@contextmanager
def hub(folder: Path, name: str):
    """Serves a folder as the main branch of the model of a name."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.answer(with_body=False)

        def do_GET(self):
            self.answer(with_body=True)

        def answer(self, with_body):
            path = self.path.partition("?")[0]
            there.seen.append(f"{self.command} {path}")
            status, headers, body = respond(folder, name, path)
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    there = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield there
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def respond(folder: Path, name: str, path: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body for a path."""
    at, _, file = path.rpartition("/")
    if path == f"/api/models/{name}/revision/main":
        return 200, {}, json.dumps({"id": name, "sha": COMMIT, "siblings": []}).encode()
    if path == f"/api/models/{name}/tree/{COMMIT}":
        tree = [
            {"type": "file", "path": one.name, "size": one.stat().st_size, "oid": digest(one)}
            for one in folder.iterdir()
        ]
        return 200, {}, json.dumps(tree).encode()
    if at == f"/{name}/resolve/{COMMIT}" and (folder / file).exists():
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest(folder / file)}"'}
        return 200, headers, (folder / file).read_bytes()
    missing = "Revision" if path.startswith(f"/api/models/{name}/") else "Repo"
    return 404, {"X-Error-Code": f"{missing}NotFound"}, b""


def digest(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
