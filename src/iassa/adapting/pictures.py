"""The images of a domain, read once and kept small, and what is marked in some of them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from iassa.benchmark.datasets import Dataset, ImageFolder, MaskFolder, Sample
from iassa.decoding import ImageFile
from iassa.errors import InputError, require
from iassa.image import as_image, resize, to_planes

SIDE = 256  # pixels along both sides of an image that is kept: 196 kB each
MOST = 1000  # images
HELD_OUT = 0.2  # share of the images that features are judged on
MOST_HELD_OUT = 32
JUDGED = (56, 56)  # positions of the judgement: as many as attention has by default
ALIKE = 1 / 255

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images of one domain.

    Attributes:
        planes: (N, 3, 256, 256) uint8, whatever the size of the files.
        held_out: (M, 3, 256, 256) uint8, of images that are not among those.
        marked: of each image that is held out (56, 56) bool, where its object is; None where there
            is no mask of it.
        digest: SHA-256 of all of it, 16 digits.
    """

    planes: Tensor
    held_out: Tensor
    marked: tuple[Tensor | None, ...]
    digest: str


def read_pictures(images: Path, masks: Path | None, seed: int) -> Pictures:
    """Read a folder of images, and put some aside.

    Args:
        images: a folder, subfolders included.
        masks: a folder of PNGs of the same names; see `MaskFolder`. Images with a mask are held out
            first.
        seed: draws which images are held out, and which are taken of more than `MOST`.

    Raises:
        InputError: no images, one alone, one that cannot be read, a mask of another size, or
            images that are all the same or of one colour each.
    """
    dataset = ImageFolder(images) if masks is None else MaskFolder(images, masks)
    samples = _draw(dataset.samples(), seed)
    read = [_read(sample, dataset) for sample in samples]
    require(
        len(read) > 1,
        f"expected two images or more in {images}, got one. Some train, others judge.",
    )
    with_mask = [place for place, (_, mask) in enumerate(read) if mask is not None]
    without = [place for place, (_, mask) in enumerate(read) if mask is None]
    aside = [*with_mask, *without][: _count_held_out(len(read))]
    planes = torch.stack([one for one, _ in read])
    _refuse_alike(planes, images)
    rest = [place for place in range(len(read)) if place not in {*aside}]
    marked = tuple(read[place][1] for place in aside)
    require(
        masks is None or any(mask is not None for mask in marked),
        f"expected masks in {masks} with both an object and a background, got none. Name another "
        "folder, or leave --masks out.",
    )
    whole = hashlib.sha256(planes.numpy().tobytes())
    for mask in marked:
        whole.update(b"-" if mask is None else mask.numpy().tobytes())
    return Pictures(planes[rest], planes[aside], marked, whole.hexdigest()[:16])


def _count_held_out(number: int) -> int:
    return min(MOST_HELD_OUT, max(1, round(HELD_OUT * number)))


def count_needed(positions: int, of_each: int) -> int:
    """The fewest images of which enough are left to train on.

    Args:
        positions: that are needed.
        of_each: positions of an image.
    """
    number = 2
    while (number - _count_held_out(number)) * of_each < positions:
        number += 1
    return number


def _draw(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """The images in random order; the first of many."""
    order = np.random.default_rng((seed, 0)).permutation(len(samples))
    if len(samples) > MOST:
        log.info("%d of %d images are taken, drawn by the seed", MOST, len(samples))
    return [samples[place] for place in order[:MOST]]


def _read(sample: Sample, dataset: Dataset) -> tuple[Tensor, Tensor | None]:
    """An image, and its mask if that tells two kinds of positions apart."""
    image = as_image(ImageFile(sample.path, dataset.reading))
    planes = (to_planes(image, (SIDE, SIDE)) * 255).round().to(torch.uint8)
    annotated = next(iter(dataset.annotations(sample, image.shape[:2])), None)
    if annotated is None or annotated.excluded:
        return planes, None
    marked = resize(torch.from_numpy(annotated.annotation).float()[None], JUDGED)[0] > 0.5
    both = bool(marked.any()) and not bool(marked.all())
    return planes, marked if both else None


def _refuse_alike(planes: Tensor, images: Path) -> None:
    floats = planes.float() / 255
    differ = (floats - floats[0]).abs().flatten(1).mean(1).max()
    if float(differ) < ALIKE:
        raise InputError(
            f"expected images that differ in {images}, got {len(planes)} that are all alike. Add "
            "others of the domain."
        )
    varied = floats.flatten(2).std(2).max()
    require(
        float(varied) > ALIKE,
        f"expected images with something in them in {images}, got one colour in each. Name others.",
    )
