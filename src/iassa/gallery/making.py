"""All images of a gallery: those that are not done are explained, by workers or by this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from iassa.benchmark.workers.tasks import TaskFailure, one_line
from iassa.decoding import Reading
from iassa.errors import IassaError, InputError, counted
from iassa.explanations.explanation import Explanation
from iassa.gallery.entry import Entry
from iassa.gallery.explaining import Explained, ExplainPhoto
from iassa.gallery.folder import Gallery
from iassa.gallery.photos import Photo
from iassa.image import read_content


class Pool(Protocol):
    """What performs tasks: `InProcess`, `LocalWorkers` or `RayWorkers`."""

    def run(self, tasks: Any) -> Iterator[tuple[Any, Any]]:
        """Each task with its result or a `TaskFailure`, in the order in which they end."""
        ...


class Tasks(Protocol):
    """What is done with each image: `Asking`, or more than that.

    Attributes:
        reading: how the files are read.
    """

    @property
    def reading(self) -> Reading:  # noqa: D102
        ...

    def task(self, photo: Photo, content: bytes) -> ExplainPhoto:
        """The task of an image, from the content of its file.

        Raises:
            InputError: the image has none.
        """
        ...


@dataclass(frozen=True)
class Watching:
    """Whom a gallery tells of its progress while it is made.

    Attributes:
        show: called with each image that is done or that failed, and with its entry or the error.
        remark: called with an image and a warning about the way in which it was read.
        warn: called with each other warning, once.
        cancel: called before every image. True ends the work after the images in flight.
    """

    show: Callable[[Photo, Entry | str], object]
    remark: Callable[[Photo, str], object]
    warn: Callable[[str], object]
    cancel: Callable[[], bool]


@dataclass(frozen=True)
class Made:
    """What became of the images of a gallery.

    Attributes:
        entries: of the images that are done, by this call or an earlier one.
        failures: why others could not be explained.
        new: those that this call has explained.
    """

    entries: dict[Photo, Entry] = field(default_factory=dict)
    failures: dict[Photo, str] = field(default_factory=dict)
    new: list[Photo] = field(default_factory=list)


def make_gallery(
    gallery: Gallery,
    photos: Sequence[Photo],
    asking: Tasks,
    pool: Pool,
    watching: Watching,
    differs: Callable[[Photo, Explanation], str],
) -> Made:
    """Explain the images that are not done, and write the page that shows all.

    The same call goes on where it was stopped, by whatever.

    Args:
        gallery: where they go.
        photos: the images.
        asking: what is done with each.
        pool: performs it.
        watching: is told.
        differs: in what a saved explanation differs from the one that is wanted of an image; '' if
            it does not; see `find_difference`.

    Returns:
        What became of them.

    Raises:
        InputError: a worker cannot open the model, or the page cannot be written.
    """
    job = _Job(gallery, photos, asking, watching, differs, Made())
    for task, result in pool.run(job.tasks()):
        job.take(task, result)
    gallery.write_index(photos, job.made.entries, job.made.failures)
    return job.made


@dataclass(frozen=True, eq=False)
class _Job:
    """What `make_gallery` does, one image at a time."""

    gallery: Gallery
    photos: Sequence[Photo]
    asking: Tasks
    watching: Watching
    differs: Callable[[Photo, Explanation], str]
    made: Made
    told: set[str] = field(default_factory=set)

    def tasks(self) -> Iterator[ExplainPhoto]:
        """A task for each image that is not done. Those that are, and bad files, are told."""
        for photo in self.photos:
            if self.watching.cancel():
                return
            try:
                content = read_content(photo.path, self.asking.reading)
                task = self.asking.task(photo, content)
                differs = partial(self.differs, photo)
                entry = self.gallery.find(photo, task.digest, differs)
                if entry is None:
                    self.gallery.check_free(photo, task.digest, differs)
            except InputError as error:
                self._fail(photo, error)
                continue
            if entry is None:
                yield task
            else:
                self._finish(photo, entry)

    def take(self, task: ExplainPhoto, result: Explained | TaskFailure | None) -> None:
        """Save what became of a task.

        Raises:
            InputError: a worker cannot open the model.
        """
        if isinstance(result, TaskFailure) and result.blame == "model":
            raise InputError(f"a worker cannot open the model: {result.error}")
        try:
            entry = self._keep(task, result)
        except IassaError as error:
            self._fail(task.photo, error)
            return
        if entry is not None:
            self.made.new.append(task.photo)
            self._finish(task.photo, entry)

    def _keep(self, task: ExplainPhoto, result: Explained | TaskFailure | None) -> Entry | None:
        """The entry of an image; None if it was cancelled.

        Raises:
            IassaError: it failed, or cannot be saved.
        """
        if result is None:
            return None
        if isinstance(result, TaskFailure):
            raise IassaError(result.error)
        for text in result.of_image:
            self.watching.remark(task.photo, text)
        for text in result.of_model:
            if text not in self.told:
                self.told.add(text)
                self.watching.warn(text)
        entry = self.gallery.keep(task.photo, task.digest, result)
        if result.error:
            place = self.gallery.folder / task.photo.folder
            calls = counted(result.explanation.calls, "call")
            raise IassaError(f"{result.error} The map of the {calls} so far is in {place}.")
        return entry

    def _fail(self, photo: Photo, error: IassaError) -> None:
        told = one_line(error)
        self.made.failures[photo] = told
        self.watching.show(photo, told)

    def _finish(self, photo: Photo, entry: Entry) -> None:
        self.made.entries[photo] = entry
        self.watching.show(photo, entry)
