"""Tasks on a real Ray cluster of this machine, whose workers are killed."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

import iassa
from audited import draw, draw_mask
from iassa.auditing import audit
from iassa.benchmark import Contestant, Protocol, Tally, run
from iassa.benchmark.datasets import ImageFolder
from iassa.benchmark.workers.ray_workers import RayWorkers
from iassa.benchmark.workers.tasks import Model, Task, TaskFailure
from iassa.cli import main
from iassa.errors import InputError
from made_runs import contents
from working import Die, Echo, Raise, Span, Threads

ray = pytest.importorskip("ray")

MODEL = Model("working:brightness")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster of two CPUs, which runs outlive."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    yield cluster.address
    cluster.shutdown()


def do(tasks: Iterable[Task], model: Model, address: str) -> Iterator[tuple[Task, Any]]:
    with RayWorkers(model, address) as workers:
        yield from workers.run(tasks)


def test_tasks_are_done_elsewhere_as_cpus_become_free(cluster: str) -> None:
    taken = []

    def tasks() -> Iterator[Task]:
        for task in (*map(Echo, range(7)), Raise(ValueError("odd")), Threads()):
            taken.append(task)
            yield task

    found = {}
    for number, (task, result) in enumerate(do(tasks(), MODEL, cluster)):
        assert len(taken) <= number + 2  # one on each CPU
        found[taken.index(task)] = result
    assert [found[k][0] for k in range(7)] == list(range(7))
    assert {found[k][2] for k in range(7)} == {"brightness"}
    assert os.getpid() not in {found[k][1] for k in range(7)}
    assert found[7] == TaskFailure("ValueError: odd")
    assert found[8][:2] == (1, "1")  # of torch, of the others


@pytest.mark.thorough  # Ray starts a worker anew for each try; one is killed in the test below, too
def test_a_worker_that_is_killed_costs_its_task_alone(cluster: str, tmp_path: Path) -> None:
    twice, always = Die(tmp_path / "twice", 2), Die(tmp_path / "always", 99)
    tasks = [Echo(0), twice, Echo(1), always, Echo(2), Echo(3)]
    results = list(do(tasks, MODEL, cluster))
    assert len(results) == len(tasks)
    assert [task for task, result in results if isinstance(result, TaskFailure)] == [always]


def test_a_run_gives_the_bits_of_local_workers_though_one_is_killed(
    cluster: str, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, size in enumerate([(40, 56), (36, 44)]):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.png")
    contestants = [
        Contestant("rise", iassa.methods.Rise(), (40, 90)),
        Contestant("windows", iassa.methods.Occlusion(), (60,)),
    ]
    killed: list[int] = []

    def kill_one(tally: Tally) -> None:
        if tally.last is not None and not killed:
            ours = psutil.Process().children(recursive=True)
            workers = [each for each in ours if each.name() == "ray::_perform"]
            workers[0].kill()
            killed.append(workers[0].pid)

    runs = []
    for name, options in (("ray", {"ray": cluster, "progress": kill_one}), ("local", {})):
        outcome = run(
            ImageFolder(photos),
            tmp_path / name,
            contestants,
            model="working:slow",
            protocol=Protocol(pixels_per_step=400, gain_steps=2),
            **options,
        )
        assert (outcome.made, outcome.failures) == (4, ())
        runs.append(contents(tmp_path / name))
    assert len(killed) == 1
    assert runs[0] == runs[1]


def test_a_gallery_is_made_though_a_worker_is_killed(
    cluster: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (36, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"photos/{number}.png")
    killed: list[int] = []

    def kill_one() -> None:
        """Kill a worker that has a task, once an image is done."""
        driver = psutil.Process()
        while not killed:
            time.sleep(0.02)
            some = list(Path("g").rglob("thumbnail.jpg"))
            with suppress(psutil.NoSuchProcess):
                for each in driver.children(recursive=True) if some else []:
                    if each.name() == "ray::_perform":
                        each.kill()
                        killed.append(each.pid)
                        break

    command = ["explain", "photos", "--model", "working:slow", "--method", "rise", "--calls", "40"]
    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    with pytest.raises(SystemExit) as exit_:
        main([*command, "--ray", cluster, "--out", "g"])
    killer.join(60)
    assert (exit_.value.code, len(killed)) == (0, 1)
    assert "4 of 4 images, 4 of them new, in g" in capsys.readouterr().err
    for number in range(4):
        found = iassa.Explanation.load(f"g/{number}")
        wanted = iassa.explain(f"photos/{number}.png", "working:slow", method="rise", calls=40)
        np.testing.assert_array_equal(found.saliency, wanted.saliency)
        assert found.source == f"photos/{number}.png"


@pytest.mark.thorough  # its workers import all anew; a gallery is made above in the same way
def test_an_audit_finds_the_same_as_in_this_process(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("cat/0", "cat/1", "dog/0")):
        size = (48, 88) if number == 1 else (32, 44)
        draw(Path(f"photos/{name}.png"), number, size)
        draw_mask(Path(f"masks/{name}.png"), size)
    method = iassa.methods.Rise(debiased=True)
    found = {}
    for name, address in (("here", None), ("ray", cluster)):
        found[name] = audit(
            *("photos", name, "audited:corners"),
            masks="masks",
            method=method,
            calls=60,
            ray=address,
        )
        maps = sorted(Path(name).rglob("explanation.npz"))
        assert len(maps) == 3
        found[name] = found[name].images, found[name].classes, [read_arrays(one) for one in maps]
    assert found["ray"] == found["here"]
    for table in ("audit.csv", "classes.csv"):
        assert Path("ray", table).read_bytes() == Path("here", table).read_bytes()


def read_arrays(path: Path) -> dict[str, bytes]:
    with np.load(path) as arrays:
        return {name: arrays[name].tobytes() for name in arrays.files}


@pytest.mark.thorough  # with a cluster of its own
def test_a_node_that_dies_costs_the_tasks_in_flight_there_alone(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1)
        tasks = [Span(0.5 + k / 100) for k in range(12)]
        nodes = set()
        results = []
        for task, result in do(tasks, MODEL, cluster.address):
            results.append((task, result))
            nodes.add(result[0])
            if node is not None and len(nodes) == 2:
                cluster.remove_node(node, allow_graceful=False)
                node = None
        assert node is None
        assert sorted(task.seconds for task, _ in results) == [task.seconds for task in tasks]
        assert not any(isinstance(result, TaskFailure) for _, result in results)
    finally:
        cluster.shutdown()


def test_no_cluster_there() -> None:
    with pytest.raises(InputError, match=r"cluster at '127\.0\.0\.1:1': .*\. Say auto, "):
        list(do([Echo(0)], MODEL, "127.0.0.1:1"))
    with pytest.raises(InputError, match=r"cluster at 'nonsense': Invalid address .*\. Say auto, "):
        list(do([Echo(0)], MODEL, "nonsense"))


def test_a_node_that_does_not_start_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(**_: object) -> None:  # as ray._private.node.Node does after half a minute
        raise Exception("The current node timed out\nduring startup.")

    monkeypatch.setattr("ray.init", never)
    with pytest.raises(InputError, match="at 'local': The current node timed out during startup"):
        list(do([Echo(0)], MODEL, "local"))


def test_ray_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="pip install ray"):
        list(do([Echo(0)], MODEL, "local"))
