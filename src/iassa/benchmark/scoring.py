"""The first stage of a run: the black box is asked about each whole image."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from iassa.benchmark.datasets import Sample
from iassa.benchmark.outcome import Tally
from iassa.benchmark.selection import ScoreImage, Selection, leave_out
from iassa.benchmark.store.records import Entry, Failure, ItemKey, list_reasons
from iassa.benchmark.store.store import Store
from iassa.benchmark.workers.local import LocalWorkers
from iassa.benchmark.workers.ray_workers import RayWorkers
from iassa.benchmark.workers.tasks import Task, TaskFailure, one_line
from iassa.errors import BlackBoxError, ImageWarning, InputError, warn
from iassa.files import read_whole

WHOLE = "whole image"  # stands for the method where an image could not be scored
MOST_FAILURES = 3  # of whole images, before any is scored


@dataclass(frozen=True, eq=False)
class Stage:
    """A part of a run, and what it works with.

    Attributes:
        store: of the run.
        selection: makes entries of images.
        pool: performs tasks.
        progress: called after every image.
        cancel: called before every task. True ends the stage.
    """

    store: Store
    selection: Selection
    pool: LocalWorkers | RayWorkers
    progress: Callable[[Tally], object]
    cancel: Callable[[], bool]

    def score_images(self) -> list[Failure]:
        """Score every whole image that is new, and store its entries.

        Returns:
            The images that could not be scored. The same command tries them again.
        """
        samples = self.selection.samples()
        known = self.store.images()
        total, done = len(samples), len(known.keys() & samples.keys())
        failures: list[Failure] = []

        def fail(name: str, error: str) -> None:
            failures.append(Failure(ItemKey(name, WHOLE, 0), error))

        remarks: dict[str, list[str]] = {}
        failed_runs = 0
        for task, result in self.perform(self._image_tasks(samples, known, fail)):
            sample = samples[task.name]
            if isinstance(result, TaskFailure) and result.blame == "run":
                fail(task.name, result.error)
                failed_runs += 1
                if failed_runs >= MOST_FAILURES and not done:
                    raise BlackBoxError(f"{sample.path}: {result.error}")
                continue
            if isinstance(result, TaskFailure):
                entries = [leave_out(sample, result.error)]
            else:
                entries = self.selection.entries(sample, result)
                for remark in result.remarks:
                    remarks.setdefault(remark, []).append(task.name)
            if task.name in known:
                self.store.replace_image(task.name, entries, task.digest)
            else:
                self.store.add_image(task.name, entries, task.digest)
                done += 1
            self.progress(Tally("images", done, total, len(failures)))
        if remarks:
            warn(list_reasons(remarks), ImageWarning)
        return failures

    def _image_tasks(
        self,
        samples: Mapping[str, Sample],
        known: Mapping[str, str],
        fail: Callable[[str, str], None],
    ) -> Iterator[ScoreImage]:
        """Images to score: new ones, and files that replace an image that could not be used.

        `fail` gets the name of an image that cannot be read, and the error.
        """
        unusable = {entry.image for entry in self.store.entries() if _is_unusable_image(entry)}
        for name, sample in samples.items():
            if (name in known and name not in unusable) or self.cancel():
                continue
            try:
                content, digest = read_image(sample)
                aim = self.selection.aim_whole(sample)
            except InputError as error:
                fail(name, one_line(error))
                continue
            if digest != known.get(name):
                yield ScoreImage(name, content, digest, self.selection.dataset.reading, aim)

    def perform(self, tasks: Iterator[Task]) -> Iterator[tuple[Any, Any]]:
        """Tasks with their results, in the order in which they end.

        Raises:
            InputError: a worker cannot open the model.
        """
        for task, result in self.pool.run(tasks):
            if isinstance(result, TaskFailure) and result.blame == "model":
                raise InputError(f"a worker cannot open the model: {result.error}")
            yield task, result


def read_image(sample: Sample) -> tuple[bytes, str]:
    """The content of an image file, and its digest."""
    content = read_whole(sample.path)
    return content, hashlib.sha256(content).hexdigest()


def _is_unusable_image(entry: Entry) -> bool:
    """Whether the whole image was left out before it was scored, as a damaged one is."""
    return bool(entry.excluded and entry.key == entry.image and not entry.target.indices)
