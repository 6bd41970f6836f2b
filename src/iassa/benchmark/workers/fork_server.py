"""The server process that forks the local workers. Only this file uses its private attributes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

# Settings of the libraries that sum in parallel. A worker has one core, and sums in one order.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
PRELOADED = "iassa.benchmark.evaluation"

_OURS: set[tuple[int, int]] = set()  # driver and server, by their process numbers


def worker_context() -> BaseContext:
    """How workers are started: as forks of a server that has imported the modules they need.

    The import of torch takes seconds. The server does it once for all workers. Workers are not
    forks of the driver, as threads and sessions of the driver do not survive a fork.

    If the system cannot fork, each worker imports the modules itself. It also does so if Python's
    only server is not ours: other code started it with another environment, or the driver is a fork
    of the process that started it.
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
    """Start the server with the module paths of the driver, but without its current folder."""
    preloaded = server._preload_modules
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    # A signal to the whole group ends the driver, and that when the items in flight are done.
    resource_tracker.ensure_running()  # which would unblock SIGTERM again
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    try:
        with environment(ONE_THREAD | {"PYTHONSAFEPATH": "1", "PYTHONPATH": paths}):
            server.set_forkserver_preload([PRELOADED])
            server.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    server._preload_modules = preloaded  # for a server that comes later
    _OURS.add((os.getpid(), server._forkserver_pid))


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment, also for processes that are started meanwhile."""
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
