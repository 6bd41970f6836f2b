"""A real model server on loopback, in this process, that fails in whatever way it is told to."""

from __future__ import annotations

import base64
import email.parser
import email.policy
import io
import json
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain

import numpy as np
from PIL import Image


def model(images):
    """Scores (N, 3) of uint8 or float images (N, H, W, 3): a patch, its complement, the mean."""
    values = np.array(images, np.float64, order="C")  # sums to the bit, whatever the layout was
    values /= 255 if images.dtype == np.uint8 else 1
    patch = values[:, 3:8, 4:12].mean((1, 2))
    return np.stack([patch[:, 0], 1 - patch[:, 1], values.mean((1, 2, 3))], 1)


@dataclass
class Seen:
    """One request.

    Attributes:
        method: GET or POST.
        path: with the query.
        headers: of the request.
        images: (N, H, W, 3) uint8, or what v2 sent, in the layout of the metadata; None of a GET.
        id: of the request, with form v2.
        arrived: seconds of the monotonic clock.
    """

    method: str
    path: str
    headers: dict[str, str]
    images: np.ndarray | None
    id: str = ""
    arrived: float = field(default_factory=time.monotonic)


@dataclass
class Server:
    """What a server does, and what it has seen.

    Attributes:
        score: uint8 images to scores.
        fault: from the number of a POST (from 0) to what goes wrong: '' for nothing.
        metadata: of form v2, by path.
        inside: called while a request is worked on.
        echo: what v2 answers as id: 'id' for that of the request, or another; None for none.
        answered: images of the POSTs that were wholly answered.
    """

    score: Callable = model
    fault: Callable[[int], str] = lambda number: ""
    metadata: dict = field(default_factory=dict)
    inside: Callable[[], None] = lambda: None
    echo: str | None = "id"
    seen: list[Seen] = field(default_factory=list)
    answered: int = 0
    busy: int = 0
    busiest: int = 0
    url: str = ""
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    open: threading.Event = field(default_factory=threading.Event)

    @property
    def posts(self):
        return [one for one in self.seen if one.method == "POST"]


def read_images(headers, content):
    kind = headers["Content-Type"]
    if "Inference-Header-Content-Length" in headers:
        size = int(headers["Inference-Header-Content-Length"])
        (tensor,) = json.loads(content[:size])["inputs"]
        assert tensor["parameters"] == {"binary_data_size": len(content) - size}
        assert "data" not in tensor
        dtype = {"FP32": "<f4", "FP64": "<f8", "UINT8": "u1"}[tensor["datatype"]]
        return np.frombuffer(content[size:], dtype).reshape(tensor["shape"])
    if kind.startswith("multipart/form-data"):
        head = f"Content-Type: {kind}\r\n\r\n".encode()
        parser = email.parser.BytesParser(policy=email.policy.default)
        parts = list(parser.parsebytes(head + content).iter_parts())
        assert {part.get_content_type() for part in parts} == {"image/png"}
        assert {part.get_param("name", header="content-disposition") for part in parts} == {
            "images"
        }
        pngs = [part.get_payload(decode=True) for part in parts]
    else:
        request = json.loads(content)
        if "inputs" in request:
            (tensor,) = request["inputs"]
            dtype = {"FP32": np.float32, "FP64": np.float64, "UINT8": np.uint8}[tensor["datatype"]]
            data = np.array(tensor["data"])
            assert (data.astype(dtype) == data).all()  # as text, nothing was lost
            return data.astype(dtype).reshape(tensor["shape"])
        pngs = [base64.b64decode(one, validate=True) for one in request["images"]]
    return np.stack([np.asarray(Image.open(io.BytesIO(png))) for png in pngs])


def read_id(headers, content):
    """Of a request of form v2, which is JSON or begins with it."""
    size = headers["Inference-Header-Content-Length"]
    if not content.startswith(b"{"):
        return ""
    return json.loads(content[: size and int(size)]).get("id", "")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        state = self.server.state
        with state.lock:
            state.seen.append(Seen("GET", self.path, dict(self.headers), None))
        answer = state.metadata.get(self.path)
        status = 404 if answer is None else 200
        self.answer(json.dumps(answer or {"error": "no such thing"}).encode(), status)

    def do_POST(self):
        state = self.server.state
        content = self.rfile.read(int(self.headers["Content-Length"]))
        images = read_images(self.headers, content)
        with state.lock:
            number = len(state.posts)
            self.id = read_id(self.headers, content)
            state.seen.append(Seen("POST", self.path, dict(self.headers), images, self.id))
            state.busy += 1
            state.busiest = max(state.busiest, state.busy)
        try:
            state.inside()
            self.perform(state.fault(number), images)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client did not wait
        finally:
            with state.lock:
                state.busy -= 1

    def scores(self, images):
        scores = self.server.state.score(images).tolist()
        if not self.path.startswith("/v2"):
            return {"scores": scores, "model": "of the test"}
        output = {
            "name": "probabilities",
            "datatype": "FP64",
            "shape": [len(scores), len(scores[0])],
        }
        answer = {"model_name": "m", "outputs": [{**output, "data": list(chain(*scores))}]}
        echo = self.server.state.echo
        return answer if echo is None else {**answer, "id": self.id if echo == "id" else echo}

    def perform(self, fault, images):  # noqa: C901
        content = json.dumps(self.scores(images)).encode()
        name, _, detail = fault.partition(" ")
        if name == "":
            self.answer(content)
            with self.server.state.lock:
                self.server.state.answered += len(images)
        elif name == "status":
            status, _, retry_after = detail.partition(" ")
            headers = {"Retry-After": retry_after} if retry_after else {}
            self.answer(b"<h1>sorry</h1>", int(status), headers)
        elif name == "hang-up":
            self.close_connection = True
        elif name == "truncated":  # says how much there will be, and sends less
            self.answer(content[: len(content) // 2], length=len(content))
        elif name == "cut":  # the end of the connection is the end of the text
            self.answer(content[: len(content) // 2], length=None)
        elif name == "slow":
            self.server.state.open.wait(30)
            self.answer(content)
        elif name == "drip":
            self.answer(content[:5], length=len(content))
            while not self.server.state.open.wait(0.02):
                self.wfile.write(b" ")
        elif name == "redirect":
            self.answer(b"", 307, {"Location": detail})
        elif name == "body":
            self.answer(detail.encode())
        elif name == "gzip":
            self.answer(b"\x1f\x8b", 200, {"Content-Encoding": "gzip"})
        elif name == "echo":
            said = {"bad": self.headers["Authorization"], "at": self.path}
            self.answer(json.dumps(said).encode(), int(detail))
        else:
            raise AssertionError(fault)

    def answer(self, content, status=200, headers=None, length=0):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if length is not None:
            self.send_header("Content-Length", str(length or len(content)))
        if length != 0:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
        pass  # clients that do not wait are part of the tests


@contextmanager
def serving(state=None, context=None):
    """A server that runs: its state, with `url`."""
    state = state or Server()
    http = _Http(("127.0.0.1", 0), Handler)
    if context is not None:
        http.socket = context.wrap_socket(http.socket, server_side=True)
    http.state = state
    state.port = http.server_address[1]
    state.url = f"http{'s' if context else ''}://127.0.0.1:{state.port}/model"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        state.open.set()
        http.shutdown()
        http.server_close()
        thread.join()
