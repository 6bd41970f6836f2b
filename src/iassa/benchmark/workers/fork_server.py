"""The process that local workers are forks of. Only this file uses what Python hides of it."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

__all__ = ["ONE_THREAD", "environment", "worker_context"]

# Of every library that sums in parallel: a worker has one core, and its sums one order.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
PRELOADED = "iassa.benchmark.evaluation"

_OURS: set[tuple[int, int]] = set()  # driver and server, by their process numbers


def worker_context() -> BaseContext:
    """How workers are started: as forks of a server that has imported what they need, and no more.

    They are not forks of the driver, whose threads and sessions would not survive it. An import of
    torch takes seconds. The server pays for it once, not each worker and each that replaces it.

    A worker imports for itself where the system cannot fork. It does so too where Python's one
    server is not ours: other code has started it, with an environment of its own, or the driver
    is a fork of the process that did.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    server: Any = forkserver._forkserver
    if server._forkserver_pid is None:
        _start(server)
    elif (os.getpid(), server._forkserver_pid) not in _OURS:
        return multiprocessing.get_context("spawn")
    return multiprocessing.get_context("forkserver")


def _start(server: Any) -> None:
    """Start it with the driver's modules, none from the folder where it happens to be."""
    preloaded = server._preload_modules
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    with environment(ONE_THREAD | {"PYTHONSAFEPATH": "1", "PYTHONPATH": paths}):
        server.set_forkserver_preload([PRELOADED])
        server.ensure_running()
    server._preload_modules = preloaded  # for a server that comes later
    _OURS.add((os.getpid(), server._forkserver_pid))


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables of the environment for a while, also of what is started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
