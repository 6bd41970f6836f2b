"""One image of a gallery, as a task of a worker process or of this one."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.workers.tasks import Task, attempt
from iassa.decoding import Reading
from iassa.errors import CancelledError, ImageWarning, WeakEvidenceWarning
from iassa.explanations.explanation import Explanation
from iassa.explanations.failure import RunFailedError
from iassa.explanations.pictures import Pictures
from iassa.gallery.photos import Photo
from iassa.image import decode_image
from iassa.models.black_box import BlackBox

# The first are in the explanation; Python leaves out the others, which are for programmers.
UNSAID = (
    *(WeakEvidenceWarning, DeprecationWarning, PendingDeprecationWarning),
    *(ImportWarning, ResourceWarning),
)


@dataclass(frozen=True)
class Asking:
    """What is done with each image.

    Attributes:
        ask: explains an image (H, W, 3) with a black box; it takes `cancel` as `iassa.explain`
            does, raises what that raises, and can be pickled.
        reading: how the files are read.
        pictures: what is drawn; see `Explanation.draw`.
    """

    ask: Callable[..., Explanation]
    reading: Reading
    pictures: Pictures

    def task(self, photo: Photo, content: bytes) -> ExplainPhoto:
        """The task of an image, from the content of its file."""
        return ExplainPhoto(photo, content, hashlib.sha256(content).hexdigest(), self)


@dataclass(frozen=True, eq=False)
class Explained:
    """What became of an image.

    Attributes:
        explanation: of it; of a black box that failed, that of the masks until then.
        pictures: the content of each, by the name of its file.
        error: why the black box failed; empty if it did not.
        of_image: warnings about the way in which the image was read.
        of_model: other warnings: what the black box gave, and what its libraries say.
        facts: what else was found out, as JSON holds it; None if nothing was.
        lines: the same, for people.
        outline: (h, w) bool, what the thumbnail outlines; None for nothing.
    """

    explanation: Explanation
    pictures: Mapping[str, bytes]
    error: str
    of_image: tuple[str, ...]
    of_model: tuple[str, ...]
    facts: Mapping[str, Any] | None = None
    lines: tuple[str, ...] = ()
    outline: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class ExplainPhoto(Task):
    """Explain an image and draw its pictures.

    Attributes:
        photo: the image.
        content: of its file.
        digest: SHA-256 of all that the result depends on, but for the settings of the gallery.
        asking: what is done with it.
    """

    photo: Photo
    content: bytes
    digest: str
    asking: Asking

    def run(
        self, black_box: BlackBox, cancel: Callable[[], bool] | None = None
    ) -> Explained | None:
        """Do it: the same in any process, but for the seconds.

        Returns:
            What became of it; None if it was cancelled before there was a map.

        Raises:
            InputError: the image cannot be read, or an argument cannot be used.
            BlackBoxError: the black box failed before there was a map.
        """
        error = ""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for kind in UNSAID:
                warnings.simplefilter("ignore", kind)
            image = decode_image(self.content, str(self.photo.path), self.asking.reading)
            try:
                made = self.asking.ask(image, black_box, cancel=cancel)
            except CancelledError:
                return None
            except RunFailedError as failure:
                made, error = failure.explanation, str(failure)
            # A function of the user's may be known in this process alone.
            targets = (dataclasses.replace(one, function=None) for one in made.targets)
            made = dataclasses.replace(made, source=str(self.photo.path), targets=tuple(targets))
            pictures = dict(made.render(self.asking.pictures))
        told = dict.fromkeys((str(one.message), one.category) for one in caught)
        of_image = tuple(text for text, kind in told if issubclass(kind, ImageWarning))
        of_model = tuple(text for text, kind in told if not issubclass(kind, ImageWarning))
        return Explained(made, pictures, error, of_image, of_model)


@dataclass(frozen=True, eq=False)
class InProcess:
    """Performs tasks in this process, one after another, as workers do.

    Attributes:
        black_box: of all tasks.
        cancel: called after every batch; True ends the task with the map so far.
    """

    black_box: BlackBox
    cancel: Callable[[], bool]

    def run(self, tasks: Iterable[ExplainPhoto]) -> Iterator[tuple[ExplainPhoto, Any]]:
        """Perform tasks; see `LocalWorkers.run`."""
        for task in tasks:
            yield task, attempt(partial(task.run, self.black_box, self.cancel))
