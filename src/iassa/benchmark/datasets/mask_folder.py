"""A folder of images, and one of masks with the same names."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from iassa.benchmark.datasets.image_folder import ImageFolder, digest_lines, list_files
from iassa.benchmark.datasets.sample import Annotated, Dataset, Sample
from iassa.decoding import STORED, Reading
from iassa.errors import InputError
from iassa.files import read_whole, user_path
from iassa.image import load_mask


class MaskFolder(Dataset):
    """Images, each with a PNG that marks its object.

    The mask of `dog/a.jpg` is `dog/a.png` in the folder of masks. Pixels that are not zero mark the
    object; see `load_mask`. The category is the name of the subfolder that holds the image, here
    'dog', or '' outside of subfolders. The annotation of an image without a mask is excluded. A
    mask without an image is in `missing`.
    """

    kind = "masks"

    def __init__(self, images: Path, masks: Path, reading: Reading = STORED) -> None:
        """List both folders.

        Args:
            images: folder of the images, subfolders included; see `ImageFolder`.
            masks: folder of the masks, beside that of the images, not in it.
            reading: how the images are read, and the masks: as stored by default.

        Raises:
            InputError: a folder does not exist, or is inside the other; there is no image, or none
                with a mask; the names of two images or two masks differ only in the suffix.
        """
        images, masks = user_path(images), user_path(masks)
        inner, outer = images.resolve(), masks.resolve()
        if inner.is_relative_to(outer) or outer.is_relative_to(inner):
            raise InputError(
                f"expected two folders beside each other, got {images} and {masks}. Move one out."
            )
        self.reading = reading
        self._images = ImageFolder(images, reading)
        names = [sample.name for sample in self._images.samples()]
        stems = _by_stem(names, images)
        found = _by_stem(list_files(masks, (".png",)), masks)
        self._masks = {name: masks / found[stem] for stem, name in stems.items() if stem in found}
        if not self._masks:
            example = PurePosixPath(names[0]).with_suffix(".png")
            raise InputError(
                f"expected a PNG in {masks} for images of {images}, got none such as {example}. "
                "Name another folder."
            )
        self._samples = tuple(
            dataclasses.replace(sample, categories=(PurePosixPath(sample.name).parent.name,))
            for sample in self._images.samples()
        )
        self.categories = tuple(sorted({sample.categories[0] for sample in self._samples}))
        self.missing = tuple(name for stem, name in found.items() if stem not in stems)

    def samples(self) -> Sequence[Sample]:
        """All images, by name relative to the folder, whether or not there is a mask."""
        return self._samples

    def annotations(self, sample: Sample, size: tuple[int, int]) -> Iterator[Annotated]:
        """The mask of the image; see `Dataset`."""
        (category,) = sample.categories
        path = self._masks.get(sample.name)
        annotation = (
            np.zeros(size, dtype=np.bool_) if path is None else load_mask(path, self.reading)
        )
        if annotation.shape != tuple(size):
            height, width = annotation.shape
            raise InputError(
                f"expected a mask of {size[0]} x {size[1]} (height x width), the size of "
                f"{sample.name}, got {height} x {width} in {path}. Scale both alike."
                f"{self._turned(size, annotation.shape)}"
            )
        excluded = ""
        if path is None:
            excluded = "there is no mask of its name"
        elif not annotation.any():
            excluded = "its mask is empty"
        return iter([Annotated(category, annotation, excluded)])

    def describe(self) -> dict[str, Any]:
        """Names and sizes in bytes of the images, names and content of the masks that are used."""
        lines = (
            f"{name}\0{hashlib.sha256(read_whole(path, 'the mask')).hexdigest()}"
            for name, path in self._masks.items()
        )
        return self._images.describe() | {"kind": self.kind, "masks": digest_lines(lines)}


def _by_stem(names: Sequence[str], folder: Path) -> dict[str, str]:
    stems: dict[str, str] = {}
    for name in names:
        stem = PurePosixPath(name).with_suffix("").as_posix()
        if stem in stems:
            raise InputError(
                f"expected different names in {folder} without their suffixes, got {stems[stem]} "
                f"and {name}. Rename one."
            )
        stems[stem] = name
    return stems
