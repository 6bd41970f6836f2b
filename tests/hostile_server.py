"""A server of bare sockets, which answers in ways that no library for servers allows."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from contextlib import contextmanager

from scoring_server import model, read_images


class Talk:
    """A connection, as a server sees it.

    Attributes:
        number: of the connection, from 0.
        right: JSON of the scores of the images that were asked about; `read` sets it.
    """

    def __init__(self, client, number, over):
        self.client = client
        self.number = number
        self.right = b""
        self.is_cut = False
        self._over = over

    def read(self):
        """Read a request; whether there was one."""
        with self.client.makefile("rb") as file:
            if not file.readline().endswith(b" HTTP/1.1\r\n"):
                return False
            headers = http.client.parse_headers(file)
            images = read_images(headers, file.read(int(headers["Content-Length"])))
        self.right = json.dumps({"scores": model(images).tolist()}).encode()
        return True

    def send(self, content):
        self.client.sendall(content)

    def wait(self, seconds=60.0):
        """Until then, or until the test is over; whether it is not."""
        return not self._over.wait(seconds)

    def drip(self, content, seconds=0.02):
        """Byte for byte, and from the beginning again, for ever."""
        while True:
            for k in range(len(content)):
                if not self.wait(seconds):
                    return
                self.send(content[k : k + 1])

    def flood(self, content):
        """Again and again, for ever."""
        while self.wait(0.0001):
            self.send(content)

    def reset(self):
        """Close it at once, in the way of a process that was killed."""
        self.is_cut = True
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


class Hostile:
    """A server that runs.

    Attributes:
        url: of it.
        connections: number of those that it has had.
    """

    def __init__(self, act, context=None, receive_buffer=None):
        self._act = act
        self._context = context
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/model"
        self.connections = 0
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        while True:
            client, _ = self._listener.accept()
            if self._over.is_set():
                client.close()
                return
            thread = threading.Thread(target=self._talk, args=(client, self.connections))
            self.connections += 1
            self._threads.append(thread)
            thread.start()

    def _talk(self, client, number):
        with client, contextlib.suppress(OSError):  # the client may go, and the test end
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.settimeout(30)
            talk = Talk(client, number, self._over)
            self._act(talk)
            if talk.is_cut:
                return
            client.shutdown(socket.SHUT_WR)
            client.settimeout(0.2)
            while client.recv(65536):  # else what was sent may be lost
                pass

    def close(self):
        self._over.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        for thread in self._threads:
            thread.join(30)
        self._listener.close()


@contextmanager
def hostile(act, **options):
    """A server that does `act` with each connection, a `Talk`."""
    server = Hostile(act, **options)
    try:
        yield server
    finally:
        server.close()


def good(content, *lines):
    """A good answer."""
    head = ["HTTP/1.1 200 OK", "Content-Type: application/json", *lines]
    head.append(f"Content-Length: {len(content)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + content


def answer_well(talk):
    if talk.read():
        talk.send(good(talk.right))


def in_time(work, seconds=30.0):
    """What the work returns or raises; a failure where it takes longer, as it hangs."""
    done = {}

    def run():
        try:
            done["value"] = work()
        except Exception as error:  # noqa: BLE001 - raised below
            done["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    begun = time.monotonic()
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"it hangs for {time.monotonic() - begun:.0f} s"
    if "error" in done:
        raise done["error"]
    return done["value"]
