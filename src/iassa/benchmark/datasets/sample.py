"""One image of a dataset, and what is annotated in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Annotated", "Dataset", "Sample"]


@dataclass(frozen=True, eq=False)
class Annotated:
    """A category in an image.

    Attributes:
        category: its name, as the dataset has it; '' where the dataset has none.
        annotation: (H, W) bool, at the size of the image file, with one pixel set at least unless
            it is excluded.
        num_crowds: crowd regions of the category left out of the annotation.
        excluded: why nothing can be measured with it, as no pixel is annotated; '' where it can.
        index: place among all pairs of an image and a category of the dataset, whatever image files
            are there.
    """

    category: str
    annotation: NDArray[np.bool_]
    num_crowds: int = 0
    excluded: str = ""
    index: int = 0


@dataclass(frozen=True)
class Sample:
    """An image of a dataset.

    Attributes:
        name: of the file, relative to the dataset's folder of images, with '/' between folders.
        path: of the file.
        index: place among all images of the dataset, whatever files are there.
        categories: names of what is annotated in it; none where the dataset has no annotations.
    """

    name: str
    path: Path
    index: int
    categories: tuple[str, ...] = ()


class Dataset(ABC):
    """Images, with annotations or without.

    Attributes:
        kind: of dataset, as the command line has it: 'coco', 'masks', 'images'.
        categories: names of all categories, in the dataset's order; none without annotations.
        missing: names of what is annotated and whose image is not in the folder.
    """

    kind: ClassVar[str]
    categories: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @abstractmethod
    def samples(self) -> Sequence[Sample]:
        """All images that are there, one at least, in an order that stays; no image is read."""

    @abstractmethod
    def annotations(self, sample: Sample, size: tuple[int, int]) -> Iterator[Annotated]:
        """What is annotated in an image, one category at a time, decoded when it is asked for.

        Args:
            sample: of this dataset.
            size: (height, width) of the image file as it was read.

        Yields:
            All categories of the sample, in its order; one without annotated pixels, or with an
            outline that cannot be drawn, is excluded.

        Raises:
            InputError: the annotation has another size than the image, or no mask can be read.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What has to agree for two runs to be of the same data, as JSON holds it.

        Nothing in it depends on the machine, and no image is read for it.
        """
