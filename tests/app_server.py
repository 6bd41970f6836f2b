"""The live page on a port of this machine, in a thread of the tests."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import cheap_models
from iassa.app.access import Access, listen
from iassa.app.desk import Desk
from iassa.app.serving import Site


@contextmanager
def running(folders=(), limits=None, **known) -> Iterator[tuple[Desk, Access]]:
    """A server that answers; `known` is what `Access` takes beside the port."""
    listening = listen("127.0.0.1", 0)
    models = {
        "cheap": cheap_models.classifier,
        "slow": cheap_models.slow,
        "boxes": cheap_models.detector,
        "failing": cheap_models.failing(),
    }
    desk = Desk(models, folders=folders, limits=limits)
    access = Access(known.pop("host", "127.0.0.1"), listening.getsockname()[1], **known)
    ready = threading.Event()
    site = Site(desk, access, listening, ready.set)
    thread = threading.Thread(target=site.run)
    thread.start()
    try:
        assert ready.wait(30)
        yield desk, access
    finally:
        site.end()
        thread.join(30)
        listening.close()
        assert not thread.is_alive()


class Client:
    """Requests as a browser sends them, without one."""

    def __init__(self, access: Access) -> None:
        self.port = access.port
        self.host = f"127.0.0.1:{access.port}"
        self.headers = {"Host": self.host, "Origin": f"http://{self.host}"}

    def raw(self, method, path, body=None, headers=None):
        """Status, headers and content; a header that is None is left out."""
        wanted = {**self.headers, **(headers or {})}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in wanted.items():
                for one in value if isinstance(value, list) else [value]:
                    if one is not None:
                        connection.putheader(name, one)
            if body is not None and "Content-Length" not in wanted:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def json(self, method, path, content=None):
        """What a request that is to succeed gives."""
        body = None if content is None else json.dumps(content).encode()
        status, _, answer = self.raw(method, path, body)
        assert status == 200, answer
        return json.loads(answer)

    def begin(self):
        """The address of a new session."""
        return "/sessions/" + json.loads(self.raw("POST", "/sessions", b"")[2])["session"]

    def states(self, session):
        """The states that the server sends to a tab. The stream ends with the iterator."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", f"{session}/events", headers=self.headers)
        try:
            answer = connection.getresponse()
            while line := answer.readline():
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])
        finally:
            connection.close()


def path_of(url):
    """The path and the query of an address."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"
