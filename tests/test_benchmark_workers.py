"""Tasks in real worker processes, which are killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from iassa.benchmark.workers import fork_server
from iassa.benchmark.workers.fork_server import worker_context
from iassa.benchmark.workers.local import LocalWorkers
from iassa.benchmark.workers.tasks import Model, Task, TaskFailure, perform
from iassa.errors import BlackBoxError, InputError
from working import Die, Echo, Environment, Explode, Raise, Span, Threads, Which

MODEL = Model("working:brightness")


def do(tasks: Iterable[Task], model: Model, number: int) -> Iterator[tuple[Task, Any]]:
    with LocalWorkers(model, number) as workers:
        yield from workers.run(tasks)


@pytest.mark.parametrize("workers", [1, 3])
def test_every_task_is_done_once_in_another_process(workers: int) -> None:
    tasks = [Echo(value) for value in range(7)]
    found = dict(do(tasks, MODEL, workers))
    assert sorted(value for value, *_ in found.values()) == list(range(7))
    assert all(task.value == result[0] for task, result in found.items())
    processes = {process for _, process, _ in found.values()}
    assert os.getpid() not in processes
    assert len(processes) <= workers
    assert {name for *_, name in found.values()} == {"brightness"}


def test_two_workers_work_at_the_same_time() -> None:
    results = [result for _, result in do([Span(1.0)] * 4, MODEL, 2)]
    overlaps = [
        (first[0], second[0])
        for first in results
        for second in results
        if first[0] != second[0] and first[1] < second[2] and second[1] < first[2]
    ]
    assert overlaps


def test_no_task_needs_no_worker() -> None:
    assert list(do([], MODEL, 2)) == []


def test_tasks_are_taken_as_workers_become_free() -> None:
    taken = []

    def tasks():
        for value in range(6):
            taken.append(value)
            yield Echo(value)

    for number, _ in enumerate(do(tasks(), MODEL, 2)):
        assert len(taken) <= number + 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InputError("a bad\nimage"), TaskFailure("a bad image", "input")),
        (BlackBoxError("no answer"), TaskFailure("no answer", "run")),
        (ValueError("odd"), TaskFailure("ValueError: odd", "run")),
        (MemoryError(), TaskFailure("MemoryError: ", "run")),
    ],
)
def test_an_error_is_the_task_s_alone(error: Exception, expected: TaskFailure) -> None:
    results = dict(do([Echo(1), Raise(error), Echo(2)], MODEL, 1))
    failed = [result for task, result in results.items() if isinstance(task, Raise)]
    assert failed == [expected]
    assert sum(not isinstance(result, TaskFailure) for result in results.values()) == 2


def test_a_model_that_cannot_be_opened_is_to_blame() -> None:
    failed = perform(Echo(0), "token", lambda: Model("working:nothing_of_that_name"))
    assert isinstance(failed, TaskFailure)
    assert failed.blame == "model"


def test_a_model_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(InputError, match=r"cannot be pickled.*package\.module:attribute"):
        list(do([Echo(0)], Model(lambda images: images), 1))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_killed_once_costs_no_task(tmp_path: Path, workers: int) -> None:
    tasks = [Echo(0), Echo(1, 0.5), Die(tmp_path / "trace", 1), Echo(2, 0.5), Echo(3), Echo(4)]
    results = list(do(tasks, MODEL, workers))
    assert sorted(map(str, (task for task, _ in results))) == sorted(map(str, tasks))
    assert not any(isinstance(result, TaskFailure) for _, result in results)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_always_kills_is_found_out(tmp_path: Path, workers: int) -> None:
    tasks = [Echo(0), Die(tmp_path / "trace", 99), Echo(1, 0.5), Echo(2), Echo(3)]
    results = list(do(tasks, MODEL, workers))
    assert len(results) == 5
    failed = [task for task, result in results if isinstance(result, TaskFailure)]
    assert failed == [tasks[1]]


def test_a_worker_that_dies_costs_the_others_nothing(tmp_path: Path) -> None:
    """Their tasks are neither lost nor done again."""
    tasks = [Die(tmp_path / "trace", 99), Span(4.0), Explode(), Echo(1)]
    found = dict(do(tasks, MODEL, 2))
    failed = [task for task, result in found.items() if isinstance(result, TaskFailure)]
    assert failed == [tasks[0], tasks[2]]
    _, start, end = found[tasks[1]]
    assert os.path.getmtime(tmp_path / "trace") < end  # noqa: PTH204 - both are seconds
    assert end - start < 5


def test_a_worker_that_dies_idle_is_replaced() -> None:
    with LocalWorkers(MODEL, 1) as workers:
        ((_, (_, process, _)),) = workers.run([Echo(1)])
        os.kill(process, signal.SIGKILL)
        ((_, (value, another, _)),) = workers.run([Echo(2)])
    assert value == 2
    assert another != process


@pytest.mark.parametrize("before", ["7", None])
def test_a_worker_has_one_thread(monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    if before is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", before)
    ((_, found),) = do([Threads()], MODEL, 1)
    assert found[:2] == (1, "1")
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_a_worker_has_the_environment_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the process that it is a fork of was started before."""
    for mood in ("sunny", None):
        if mood is None:
            monkeypatch.delenv("MOOD")
        else:
            monkeypatch.setenv("MOOD", mood)
        ((_, found),) = do([Environment("MOOD")], MODEL, 1)
        assert found == mood


def test_where_no_process_can_fork_workers_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    ((_, (value, process, name)),) = do([Echo(3)], MODEL, 1)
    assert (value, name) == (3, "brightness")
    assert process != os.getpid()


def test_beside_a_server_of_other_code_workers_import(monkeypatch: pytest.MonkeyPatch) -> None:
    list(do([Echo(0)], MODEL, 1))
    assert worker_context().get_start_method() == "forkserver"
    monkeypatch.setattr(fork_server, "_OURS", set())
    assert worker_context().get_start_method() == "spawn"


ELSEWHERE = """
    from iassa.benchmark.workers.local import LocalWorkers
    from iassa.benchmark.workers.tasks import Model
    from working import Echo, Environment

    if __name__ == "__main__":
        with LocalWorkers(Model("working:brightness"), 1) as workers:
            for _, result in workers.run([Environment("PYTHONPATH"), Environment("MOOD")]):
                print(result, flush=True)
"""


def test_workers_import_nothing_from_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "driver.py"
    script.write_text(textwrap.dedent(ELSEWHERE))
    for name in ("statistics", "PIL", "filelock"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('of the current folder')\n")
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths, "MOOD": "sunny"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [paths, "sunny"]  # not what the server was started with


def test_a_model_is_opened_once_in_each_worker() -> None:
    module = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    found = [result for _, result in do([Which()] * 6, Model(module), 2)]
    assert len({process for process, _ in found}) == len(set(found)) <= 2


def fail_at_the_first() -> None:
    with LocalWorkers(MODEL, 2) as workers:
        for _ in workers.run([Echo(1), Echo(2, 60.0)]):
            raise ZeroDivisionError


def test_an_error_leaves_other_processes_alone() -> None:
    bystander = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    bystander.start()
    try:
        with pytest.raises(ZeroDivisionError):
            fail_at_the_first()
        assert bystander.is_alive()
        assert multiprocessing.active_children() == [bystander]
    finally:
        bystander.kill()
        bystander.join()


DRIVER = """
    from iassa.benchmark.workers.tasks import Model
    from iassa.benchmark.workers.local import LocalWorkers
    from working import Echo

    if __name__ == "__main__":
        with LocalWorkers(Model("working:brightness"), 2) as workers:
            for _, (_, process, _) in workers.run([Echo(1), Echo(2, 60.0)]):
                print(process, flush=True)
"""


def test_workers_end_with_a_driver_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(DRIVER))
    paths = [str(Path(__file__).parent), *filter(None, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment
    ) as driver:
        assert driver.stdout is not None
        assert int(driver.stdout.readline()) > 0
        workers = psutil.Process(driver.pid).children(recursive=True)
        assert len(workers) >= 2
        driver.kill()
    deadline = time.monotonic() + 120
    while any(map(psutil.pid_exists, (worker.pid for worker in workers))):
        assert time.monotonic() < deadline, "a worker outlived its driver"
        time.sleep(0.1)
