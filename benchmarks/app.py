"""Seconds of the live page: from the button to the first map, and answers while a run goes on.

The server of `iassa app` runs in a process of its own, with the default model and the bundled cat.

python benchmarks/app.py
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from iassa.files import write_whole

GOALS = {"first map": 3.0, "stop": 0.5, "value": 0.5, "search": 0.5}
RUNS = 5
CALLS = 1000
PAUSE = 0.1  # seconds between two rounds of questions


class Page:
    """One tab."""

    def __init__(self, address: str) -> None:
        self._host = address.removeprefix("http://").strip("/")
        self._session = ""
        self._session = "/sessions/" + json.loads(self.ask("POST", "/sessions"))["session"]

    def ask(self, method: str, path: str, wish: Any = None) -> bytes:
        """The content of an answer."""
        connection = http.client.HTTPConnection(self._host, timeout=120)
        body = b"" if wish is None else json.dumps(wish).encode()
        connection.request(method, self._session + path, body, self._headers)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        connection.close()
        return content

    def states(self) -> Iterator[dict[str, Any]]:
        """The states that the server sends to the tab, one after the other, also after a stop."""
        connection = http.client.HTTPConnection(self._host, timeout=120)
        connection.request("GET", self._session + "/events", headers=self._headers)
        answer = connection.getresponse()
        while line := answer.readline():
            if line.startswith(b"data: ") and (state := json.loads(line[6:])):
                yield state["a"]

    @property
    def _headers(self) -> dict[str, str]:
        return {"Origin": f"http://{self._host}"}


def measure(page: Page) -> dict[str, list[float]]:
    """Seconds, by what was waited for."""
    taken: dict[str, list[float]] = {}

    def wait(name: str, method: str, path: str, wish: Any = None) -> None:
        began = time.perf_counter()
        page.ask(method, path, wish)
        taken.setdefault(name, []).append(time.perf_counter() - began)

    page.ask("POST", "/image?example=cat")
    page.ask("POST", "/look", {"model": "efficientnet-lite0"})
    states = page.states()
    for seed in range(RUNS):
        # Runs differ in their calls, so that a state tells of which one it is.
        wish: dict[str, Any] = {"targets": ["Egyptian cat"], "methods": ["iassa"], "seed": seed}
        wish["calls"] = CALLS + seed
        began = time.perf_counter()
        page.ask("POST", "/start", wish)
        next(state for state in states if state["version"] and state["budget"] == CALLS + seed)
        page.ask("GET", "/a/map.png?target=0")
        taken.setdefault("first map", []).append(time.perf_counter() - began)
        for _ in range(10):
            wait("value", "GET", "/a/value?target=0&row=10&column=9")
            wait("search", "GET", "/classes?find=cat")
            wait("new picture", "GET", "/a/map.png?target=0")
            part = {"pane": "a", "target": 0, "share": 0.1}
            wait("question to the model", "POST", "/region", part)
            time.sleep(PAUSE)
        wait("stop", "POST", "/stop")
        next(state for state in states if state["state"] in ("stopped", "done"))
    return taken


def main() -> None:
    """Start a server, measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results" / "app.json"
    )
    options = parser.parse_args()
    load = os.getloadavg()[0]
    command = [sys.executable, "-m", "iassa", "app", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        taken = measure(Page(server.stdout.readline().strip()))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
    table = Table(f"load {load:.1f}", "times", "median, s", "most, s", "at most")
    for name, seconds in taken.items():
        shown = (f"{np.median(seconds):.3f}", f"{max(seconds):.3f}")
        table.add_row(name, str(len(seconds)), *shown, str(GOALS.get(name, "")))
    Console(width=100).print(table)
    figures = {"load": load, **taken}
    write_whole(
        options.results.parent, {options.results.name: json.dumps(figures, indent=1).encode()}
    )


if __name__ == "__main__":
    main()
