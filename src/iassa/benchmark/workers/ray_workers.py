"""Workers on a Ray cluster. Ray, which only this file uses, schedules and retries the tasks."""

from __future__ import annotations

import logging
import os
import socket
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import Any, Self

from iassa.benchmark.workers.fork_server import ONE_THREAD, environment
from iassa.benchmark.workers.local import pack_model
from iassa.benchmark.workers.tasks import Model, Task, TaskFailure, one_line, perform
from iassa.errors import InputError

RETRIES = 3  # of a task whose worker or node died
PATIENCE = 10.0  # seconds, with an address
ADDRESSES = "Say auto, HOST:PORT or ray://HOST:PORT of one that runs, or local to start one."


class RayWorkers:
    """A Ray cluster that performs one task on each CPU at a time. A context manager.

    Ray repeats the tasks of a worker or node that dies. The nodes must have iassa and the module
    that the model's name refers to. Images are sent.
    """

    def __init__(self, model: Model, address: str) -> None:
        """Join the cluster.

        Args:
            model: each worker process opens it once.
            address: see `ray.init`: 'auto', 'ray://host:port', 'host:port'; 'local' starts a
                cluster on this machine for this run.

        Raises:
            InputError: Ray is not installed, there is no cluster at the address, or the model
                cannot be sent.
        """
        try:
            import ray
        except ImportError:
            raise InputError("--ray needs Ray. Install it: pip install ray.") from None
        pack_model(model)
        if ray.is_initialized():
            raise InputError("this process has joined a Ray cluster. Call ray.shutdown() first.")
        _check_reachable(address)
        # A worker on this machine finds the same modules of the user. Folders of installed packages
        # are left out, as another node has them elsewhere.
        installed = (sys.prefix, sys.base_prefix)
        paths = os.pathsep.join(p for p in sys.path if p and not p.startswith(installed))
        try:
            with _on_this_machine() if address == "local" else nullcontext():
                ray.init(
                    address=address,
                    runtime_env={"env_vars": ONE_THREAD | {"PYTHONPATH": paths}},
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    configure_logging=False,
                )
        except Exception as error:  # a node that is slow to start raises no kind of its own
            ray.shutdown()
            reason = one_line(error).rstrip(".")
            raise InputError(
                f"cannot reach a Ray cluster at {address!r}: {reason}. {ADDRESSES}"
            ) from error
        self._ray: Any = ray
        try:
            self._model = ray.put(model)
            self._perform = ray.remote(num_cpus=1, max_retries=RETRIES)(_perform)
        except BaseException:
            ray.shutdown()
            raise
        self._token = uuid.uuid4().hex

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Any]]:
        """Perform tasks; see `LocalWorkers.run`."""
        queue = iter(tasks)
        pending: dict[Any, Task] = {}
        while True:
            resources: dict[str, float] = self._ray.cluster_resources()  # nodes come and go
            cpus = max(1, int(resources.get("CPU", 1)))
            for task in islice(queue, max(0, cpus - len(pending))):
                # Ray does not fetch a reference in a list: each worker fetches the model once.
                pending[self._perform.remote(task, self._token, [self._model])] = task
            if not pending:
                return
            ready, _ = self._ray.wait(list(pending), num_returns=1)
            for reference in ready:
                try:
                    result = self._ray.get(reference)
                except self._ray.exceptions.RayTaskError as error:
                    result = TaskFailure(one_line(error.cause))
                except self._ray.exceptions.RayError as error:
                    result = TaskFailure(f"Ray failed {1 + RETRIES} times: {one_line(error)}")
                yield pending.pop(reference), result


def _perform(task: Task, token: str, held: Sequence[Any]) -> Any:
    import ray  # this runs in a worker

    return perform(task, token, lambda: ray.get(held[0]))


@contextmanager
def _on_this_machine() -> Iterator[None]:
    """Inside, Ray starts a cluster that listens on this machine alone, and that asks nobody.

    Ray has no option for it. Otherwise it asks which network card leads to 8.8.8.8, and listens
    there; and the server of its dashboard, which is started even where there is no dashboard, asks
    the addresses at which cloud providers describe a machine, even without usage statistics.
    """
    from ray._private import node, ray_constants

    head: Any = node.Node
    before = ray_constants.ENABLE_RAY_CLUSTER, head.start_api_server
    silent = {
        "RAY_USAGE_STATS_ENABLED": os.environ.get("RAY_USAGE_STATS_ENABLED", "0"),
        ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0",  # for the processes that it starts
    }
    try:
        ray_constants.ENABLE_RAY_CLUSTER = False
        head.start_api_server = lambda *_, **__: None
        with environment(silent):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER, head.start_api_server = before


def _check_reachable(address: str) -> None:
    """Refuse an address without a server, which Ray would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # 'auto', 'local'
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"cannot reach a Ray cluster at {address!r}: {error}. {ADDRESSES}"
        ) from error
