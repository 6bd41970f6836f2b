"""What performs the tasks of a gallery: this process, workers on this machine, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from iassa.benchmark.workers.local import LocalWorkers
from iassa.benchmark.workers.ray_workers import RayWorkers
from iassa.benchmark.workers.tasks import Model
from iassa.gallery.explaining import InProcess
from iassa.gallery.making import Pool
from iassa.models.black_box import BlackBox
from iassa.models.opening import BlackBoxLike


@contextmanager
def open_pool(
    workers: int,
    ray: str | None,
    model: BlackBoxLike,
    black_box: BlackBox,
    cancel: Callable[[], bool],
) -> Iterator[Pool]:
    """Workers, or with one of them and no cluster this process, with the model that it has opened.

    Args:
        workers: processes on this machine.
        ray: address of a Ray cluster, see `RayWorkers`; None for none.
        model: the black box as a worker opens it.
        black_box: the same, opened in this process.
        cancel: see `InProcess`.

    Raises:
        InputError: see `LocalWorkers` and `RayWorkers`.
    """
    # The device that it is on here, so that no worker takes another.
    sent = Model(model, str(black_box.device))
    if ray is not None:
        with RayWorkers(sent, ray) as cluster:
            yield cluster
    elif workers != 1:
        with LocalWorkers(sent, workers) as processes:
            yield processes
    else:
        yield InProcess(black_box, cancel)
