"""What a model behind a URL costs beside the model: milliseconds an image on loopback, by form.

    python benchmarks/endpoint.py

The server is another process, reads each request and answers with a thousand zeros an image: what
is measured is to pack images, to send them, and to read scores. Images are masked photographs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import iassa
from iassa.files import write_whole
from iassa.image import example_image, to_planes

SIZE = (224, 224)
NUM_CLASSES = 1000
BATCH = 16
TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1, 3, *SIZE]}
OUTPUT = {"name": "y", "datatype": "FP32", "shape": [-1, NUM_CLASSES]}


class Handler(BaseHTTPRequestHandler):
    """Zeros for whoever asks."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        """What a model server says of its model."""
        model: dict[str, object] = {"inputs": [TENSOR], "outputs": [OUTPUT]}
        extensions = ["binary_tensor_data"] if "/bytes/" in self.path else []
        self._answer(model if "models" in self.path else {"extensions": extensions})

    def do_POST(self) -> None:
        """Scores of as many images as every request holds."""
        self.rfile.read(int(self.headers["Content-Length"]))
        count = int(self.path.partition("=")[2])
        if "/v2/" in self.path:
            data = [0.0] * (count * NUM_CLASSES)
            self._answer({"outputs": [{**OUTPUT, "shape": [count, NUM_CLASSES], "data": data}]})
        else:
            self._answer({"scores": [[0.0] * NUM_CLASSES] * count})

    def _answer(self, answer: object) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def serve(ready: Connection) -> None:
    """Say the port, and answer until killed."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ready.send(server.server_address[1])
    server.serve_forever()


def main() -> None:
    """Measure, print a table, write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--in-flight", type=int, default=4)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    root = f"http://127.0.0.1:{ours.recv()}"
    image = to_planes(example_image("cat"), SIZE)
    masks = torch.rand(BATCH, 1, 7, 7, generator=torch.Generator().manual_seed(0)).round()
    masks = torch.nn.functional.interpolate(masks, SIZE, mode="bilinear")
    planes = image * masks + 0.5 * (1 - masks)
    each = BATCH // options.in_flight
    forms = {
        "json": (f"{root}/model?n={each}", "json"),
        "multipart": (f"{root}/model?n={each}", "multipart"),
        "v2, bytes": (f"{root}/bytes/v2/models/m?n={each}", "v2"),
        "v2, text": (f"{root}/text/v2/models/m?n={each}", "v2"),
    }
    figures: dict[str, float] = {}
    for name, (url, form) in forms.items():
        settings = {"in_flight": options.in_flight, "images_per_request": each}
        settings |= {"range": (0, 1)} if form == "v2" else {}
        with iassa.models.HttpModel(url, form=form, **settings) as box:
            box.score(planes)
            seconds = []
            for _ in range(options.repeats):
                started = time.perf_counter()
                box.score(planes)
                seconds.append(time.perf_counter() - started)
        figures[name] = 1000 * statistics.median(seconds) / BATCH
    server.kill()
    table = Table("form", "ms an image", title=f"{BATCH} images, {options.in_flight} in flight")
    for name, figure in figures.items():
        table.add_row(name, f"{figure:.2f}")
    Console().print(table)
    content = json.dumps({"ms an image": figures, **vars(options)}, indent=2).encode()
    write_whole(Path(__file__).parent / "results", {"endpoint.json": content})


if __name__ == "__main__":
    main()
