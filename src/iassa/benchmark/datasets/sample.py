"""One image of a dataset, and what is annotated in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from iassa.decoding import Reading
from iassa.models.targets import Target


@dataclass(frozen=True, eq=False)
class Annotated:
    """A category in an image.

    Attributes:
        category: its name in the dataset; '' if it has none.
        annotation: (H, W) bool, at the size of the image file. At least one pixel is set, unless
            the category is excluded.
        excluded: why the annotation cannot be used; '' if it can.
        right: (H, W) float32, the right map of the category, where it is known.
        number: of the object among those of its category, from 1; 0 for all of them.
        box: of the object, (top, left, bottom, right) in pixels; None for all of them, and for an
            object that is excluded.
    """

    category: str
    annotation: NDArray[np.bool_]
    excluded: str = ""
    right: NDArray[np.float32] | None = None
    number: int = 0
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Sample:
    """An image of a dataset.

    Attributes:
        name: of the file, relative to the dataset's folder of images, with '/' between folders.
        path: of the file.
        index: place among all images of the dataset, missing ones included.
        categories: names of the categories that are annotated in it.
    """

    name: str
    path: Path
    index: int
    categories: tuple[str, ...] = ()


class Dataset(ABC):
    """Images, with annotations or without.

    Attributes:
        kind: the name of the dataset's format on the command line: 'coco', 'masks', 'images',
            'synthetic', 'mosaics'.
        categories: names of all categories, in the dataset's order; empty without annotations.
        targets: what is explained for each category, where the images were chosen by it; None
            where the model's outputs are to be found for the categories.
        missing: names of annotated images that are not in the folder.
        reading: how the image files are read: annotations are most often of the pixels as they are
            stored, whatever the EXIF orientation.
    """

    kind: ClassVar[str]
    categories: tuple[str, ...] = ()
    targets: Mapping[str, Target] | None = None
    missing: tuple[str, ...] = ()
    reading: Reading

    def prepare(self) -> None:  # noqa: B027 - most have nothing to make
        """Write the images that are to be made and are not there.

        A run calls it once it holds its folder.

        Raises:
            InputError: what they are made of has changed, or the folder cannot be written.
        """

    def _turned(self, expected: Sequence[int], got: Sequence[int]) -> str:
        """What to add to an error about a size where the two sides are exchanged."""
        other = "stored" if self.reading.upright else "upright"
        hint = f" If an EXIF orientation turns the image, say --orientation {other}."
        return hint if tuple(expected) == tuple(got)[::-1] else ""

    @abstractmethod
    def samples(self) -> Sequence[Sample]:
        """All images in the folder, at least one, always in the same order. None is read."""

    @abstractmethod
    def annotations(self, sample: Sample, size: tuple[int, int]) -> Iterator[Annotated]:
        """The annotations of an image, one category at a time, each drawn when it is yielded.

        Args:
            sample: of this dataset.
            size: (height, width) of the decoded image.

        Yields:
            All categories of the sample, in its order. One without annotated pixels, or with an
            outline that cannot be drawn, is excluded.

        Raises:
            InputError: the annotation has another size than the image, or a mask cannot be read.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What has to agree for two runs to use the same data, as JSON holds it.

        It does not depend on the machine, and no image is read.
        """
