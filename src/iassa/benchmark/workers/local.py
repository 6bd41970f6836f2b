"""Worker processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.process import BaseProcess
from typing import Annotated, Any, Self, TypeAlias

from iassa.benchmark.workers.fork_server import ONE_THREAD, environment, worker_context
from iassa.benchmark.workers.tasks import Model, Task, TaskFailure, perform
from iassa.checks import Within
from iassa.errors import IassaError, InputError

NumWorkers: TypeAlias = Annotated[int, Within(1, 1000)]  # processes on this machine

TRIES = 3  # of a task whose worker dies
SERVER_ENDED = (EOFError, ConnectionError)  # of the server that forks the processes
SERVER_PAUSE = 0.2  # seconds, until its end is seen and another one can be started


class LocalWorkers:
    """Worker processes, started when there is a task for them. A context manager.

    A worker that dies is replaced, and its task is tried again. The tasks of other workers go on.
    """

    def __init__(self, model: Model, workers: int) -> None:
        """Start nothing yet.

        Args:
            model: each worker opens it once.
            workers: how many there are.

        Raises:
            InputError: the model cannot be sent to another process.
        """
        packed = pack_model(model)
        self._workers = [_Worker(packed) for _ in range(workers)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # do not wait for the tasks in flight
            for worker in self._workers:
                worker.kill()
        for worker in self._workers:
            worker.close()

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Any]]:
        """Perform tasks.

        Args:
            tasks: the next one is taken when a worker is free.

        Yields:
            Each task with its result or a `TaskFailure`, in the order in which they end.
        """
        queue = iter(tasks)
        free = [*self._workers]
        pending: dict[Future[Any], tuple[Task, _Worker, int]] = {}
        while True:
            for task in islice(queue, len(free)):
                worker = free.pop()
                pending[worker.submit(task)] = (task, worker, 1)
            if not pending:
                return
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                task, worker, tries = pending.pop(future)
                if not isinstance(future.exception(), BrokenProcessPool):
                    result = future.result()
                elif tries < TRIES:
                    pending[worker.submit(task)] = (task, worker, tries + 1)
                    continue
                else:
                    result = TaskFailure(
                        f"its worker process died {TRIES} times: out of memory (use fewer "
                        "workers), a crash of the model, or a script without `if __name__ == "
                        "'__main__'`"
                    )
                free.append(worker)
                yield task, result


class _Worker:
    """One process. As the only one of its executor, it takes no other with it when it dies."""

    def __init__(self, model: bytes) -> None:
        self._model = model
        self._executor: ProcessPoolExecutor | None = None
        self._processes: set[BaseProcess] = set()

    def submit(self, task: Task) -> Future[Any]:
        """Send a task to the process, which is started if there is none."""
        try:
            return self._submit(task)
        except BrokenProcessPool:  # it has died
            self.close()
        except SERVER_ENDED:  # a signal to the whole group ends the server as well
            self.close()
            time.sleep(SERVER_PAUSE)
        try:
            return self._submit(task)
        except SERVER_ENDED as error:
            raise IassaError(
                f"cannot start worker processes: the server that forks them ended ({error!r}). "
                "Import iassa.benchmark in a new process to see why."
            ) from error

    def _submit(self, task: Task) -> Future[Any]:
        with environment(ONE_THREAD):  # the process inherits it
            if self._executor is None:
                self._executor = ProcessPoolExecutor(
                    1,
                    worker_context(),
                    initializer=_begin,
                    initargs=(dict(os.environ), self._model),
                )
            before = {*multiprocessing.active_children()}
            future = self._executor.submit(_perform, task)
            self._processes |= {*multiprocessing.active_children()} - before
            return future

    def kill(self) -> None:
        """End the process at once."""
        for process in self._processes:
            process.kill()

    def close(self) -> None:
        """End the process after its task."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None
            self._processes.clear()


def pack_model(model: Model) -> bytes:
    """Pickle the model, to send it to another process.

    Raises:
        InputError: it cannot be pickled.
    """
    try:
        return pickle.dumps(model)
    except Exception as error:  # pickling raises errors of many kinds
        raise InputError(
            f"expected a black box for worker processes, got one that cannot be pickled ({error}). "
            "Name it, as 'package.module:attribute'."
        ) from error


# The pickled model of this worker. A task opens it, and fails if it cannot be opened.
_MODEL: list[bytes] = []


def _perform(task: Task) -> Any:
    return perform(task, "local", lambda: pickle.loads(_MODEL[0]))  # noqa: S301 - from the driver


def _begin(variables: Mapping[str, str], model: bytes) -> None:
    """Keep the model, leave Ctrl-C and SIGHUP to the driver, and end when the driver does.

    Args:
        variables: the driver's environment of now. The server has that of its own start.
        model: pickled, as opening it may read the environment.
    """
    os.environ.clear()
    os.environ.update(variables)
    _MODEL.append(model)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):  # not SIGTERM, by which the executor ends a broken worker
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})
    parent = multiprocessing.parent_process()
    assert parent is not None  # this runs in a worker

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
