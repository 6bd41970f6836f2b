"""Pairs of an image and a category of MS-COCO whose ImageNet classes a model may recognise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from iassa.benchmark.datasets import Annotated, Coco, Sample, imagenet_groups
from iassa.errors import InputError
from iassa.image import load_image

__all__ = ["Pair", "score_pairs"]

messages = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True, eq=False)
class Pair:
    """One category in one image.

    Attributes:
        sample: the image, not kept.
        annotated: the category and its outline.
        classes: ImageNet classes of the category, one at least.
        score: their summed probability for the whole image.
        number: place among all pairs of the images.
    """

    sample: Sample
    annotated: Annotated
    classes: tuple[int, ...]
    score: float
    number: int

    @property
    def key(self) -> str:
        """A name that stays the same from run to run."""
        return f"{self.sample.path.name} {self.annotated.category}"

    def load_image(self) -> NDArray[np.float32]:
        """The image, (H, W, 3) float32 in [0, 1], read from the file on every call."""
        return load_image(self.sample.path)


def score_pairs(images: Path, annotations: Path, black_box: Any) -> Iterator[Pair]:
    """Pairs in the order of the dataset, one call of the model for each image.

    Args:
        images: folder of the image files.
        annotations: JSON file in COCO's instances format.
        black_box: images (N, H, W, 3) -> scores (N, 1000).

    Yields:
        Pairs whose category has ImageNet classes and annotated pixels, drawn one at a time. Images
        of another size than that of their annotations are left out, and told.
    """
    dataset = Coco(images, annotations)
    groups = imagenet_groups()
    num_pairs = 0
    for sample in dataset.samples():
        first, num_pairs = num_pairs, num_pairs + len(sample.categories)
        if not any(map(groups.get, sample.categories)):
            continue
        image = load_image(sample.path)
        try:
            annotated = dataset.annotations(sample, image.shape[:2])
        except InputError as error:
            messages.print(f"left out: {error}")
            continue
        scores = np.asarray(black_box(image[None]), dtype=np.float64)[0]
        for number, each in enumerate(annotated, first):
            classes = groups.get(each.category, ())
            if classes and not each.excluded:
                score = float(scores[list(classes)].sum())
                yield Pair(sample, each, classes, score, number)
