"""Worker processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.process import BaseProcess
from typing import Any, Self

from iassa.benchmark.workers.fork_server import ONE_THREAD, environment, worker_context
from iassa.benchmark.workers.tasks import Model, Task, TaskFailure, perform
from iassa.errors import IassaError, InputError

__all__ = ["LocalWorkers", "pack_model"]

TRIES_ALONE = 2


class LocalWorkers:
    """Worker processes, started when there is something to do. A context manager.

    A worker that dies takes with it the tasks in flight, no other. These are tried again one at a
    time, so that one which kills its worker is found out.
    """

    def __init__(self, model: Model, workers: int) -> None:
        """Start nothing yet.

        Args:
            model: opened once in each worker.
            workers: how many.

        Raises:
            InputError: the model cannot be sent to another process.
        """
        self._model = pack_model(model)
        self._workers = workers
        self._executor: ProcessPoolExecutor | None = None
        self._processes: set[BaseProcess] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # what is in flight is not waited for
            for process in self._processes:
                process.kill()
        self._close()

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Any]]:
        """Do tasks.

        Args:
            tasks: taken as workers become free.

        Yields:
            Each task with its result or `TaskFailure`, as they are done.
        """
        queue = iter(tasks)
        while lost := (yield from self._run_until_death(queue)):
            self._close()
            for task in lost:
                yield task, self._run_alone(task)

    def _run_until_death(
        self, queue: Iterator[Task]
    ) -> Generator[tuple[Task, Any], None, list[Task]]:
        """Do tasks until none is left or a worker dies; the tasks that were lost with it."""
        pending: dict[Future[Any], Task] = {}
        while True:
            for task in islice(queue, self._workers - len(pending)):
                try:
                    pending[self._submit(task)] = task
                except BrokenProcessPool:  # one has died since
                    return [*pending.values(), task]
            if not pending:
                return []
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            whole = [each for each in done if not isinstance(each.exception(), BrokenProcessPool)]
            for future in whole:
                yield pending.pop(future), future.result()
            if len(whole) < len(done):
                return [*pending.values()]

    def _run_alone(self, task: Task) -> Any:
        for _ in range(TRIES_ALONE):
            try:
                return self._submit(task).result()
            except BrokenProcessPool:
                self._close()
        return TaskFailure(
            "the worker process died of it each time: out of memory, a crash of the model, or a "
            "script that runs a benchmark outside of `if __name__ == '__main__'`"
        )

    def _submit(self, task: Task) -> Future[Any]:
        with environment(ONE_THREAD):  # a process that is started for it inherits this
            if self._executor is None:
                self._executor = ProcessPoolExecutor(
                    self._workers,
                    worker_context(),
                    initializer=_begin,
                    initargs=(dict(os.environ), self._model),
                )
            before = {*multiprocessing.active_children()}
            try:
                future = self._executor.submit(_perform, task)
            except (EOFError, ConnectionError) as error:
                raise IassaError(
                    "expected worker processes to start, got none: the process that they are forks "
                    f"of has ended ({error!r}). Import iassa.benchmark in a new process to see why."
                ) from error
            self._processes |= {*multiprocessing.active_children()} - before
            return future

    def _close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None
            self._processes.clear()


def pack_model(model: Model) -> bytes:
    """The model as it is sent to another process.

    Raises:
        InputError: it cannot be pickled.
    """
    try:
        return pickle.dumps(model)
    except Exception as error:  # objects refuse to be pickled with nearly anything
        raise InputError(
            "expected a black box that can be sent to a worker process, got one that cannot be "
            f"pickled ({error}). Name it, as 'package.module:attribute'."
        ) from error


# The pickled model of this worker. A task opens it, so that a failure to open it is that task's.
_MODEL: list[bytes] = []


def _perform(task: Task) -> Any:
    return perform(task, "the model of this worker", _model)


def _model() -> Model:
    model: Model = pickle.loads(_MODEL[0])  # noqa: S301 - the driver's own
    return model


def _begin(variables: Mapping[str, str], model: bytes) -> None:
    """Keep the model, leave Ctrl-C to the driver, and end when it ends, however that was.

    Args:
        variables: of the driver's environment today; the server has those of its own start.
        model: pickled, as opening it may read the environment.
    """
    os.environ.clear()
    os.environ.update(variables)
    _MODEL.append(model)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None  # it runs in a process that was spawned

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
