"""Mosaics: four of the user's images in one picture, to see whether a map is in the right quarter.

The grid pointing game of Rao, Boehle, Schiele: Towards Better Understanding Attribution Methods,
CVPR 2022, and Focus of Arias-Duart, Pares, Garcia-Gasulla, Gimenez-Abalos, 2022: each image of a
mosaic is of another class, so what speaks for a class lies in the quarter of its image. Nobody has
to annotate anything: the model's own answer to each image alone says its class.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.datasets.image_folder import ImageFolder, digest_lines
from iassa.benchmark.datasets.sample import Annotated, Dataset, Sample
from iassa.decoding import STORED
from iassa.errors import InputError
from iassa.files import read_whole, user_path, write_whole
from iassa.image import decode_image, encode_png, to_planes
from iassa.models.targets import Target

QUARTERS = 4


@dataclass(frozen=True)
class Single:
    """An image with its class.

    Attributes:
        name: of the file, relative to the folder of images.
        digest: SHA-256 of the file.
        target: its class, one output of the model.
    """

    name: str
    digest: str
    target: Target

    @property
    def output(self) -> int:
        """Index of its class."""
        return self.target.indices[0]


def compose(singles: Sequence[Single], seed: int) -> list[tuple[Single, ...]]:
    """As many mosaics as the images give, each image in one at most.

    A mosaic takes one image of each of the four classes that have most images left. No other rule
    gives more mosaics.

    Args:
        singles: in any order.
        seed: draws the images of a class, their quarters, and the order of the mosaics.

    Returns:
        Mosaics, each of four images of four classes: top left, top right, bottom left, bottom
        right.
    """
    rng = np.random.default_rng(seed)
    left: dict[int, list[Single]] = {}
    ordered = sorted(singles, key=lambda one: one.name)
    for place in rng.permutation(len(ordered)):
        left.setdefault(ordered[place].output, []).append(ordered[place])
    made = []
    while True:
        # Classes with as many images come in the random order in which the dictionary got them.
        most = sorted(left.values(), key=len, reverse=True)[:QUARTERS]
        if len(most) < QUARTERS or not most[-1]:
            break
        chosen = [some.pop() for some in most]
        made.append(tuple(chosen[place] for place in rng.permutation(QUARTERS)))
    return [made[place] for place in rng.permutation(len(made))]


class Mosaics(Dataset):
    """Pictures of four images, each with four categories: the classes of its images.

    The annotation of a class is the quarter of its image. The pictures are PNG files in a folder of
    their own; the name of each holds a digest of what it is made of.
    """

    kind = "mosaics"

    def __init__(
        self,
        folder: Path,
        images: ImageFolder,
        mosaics: Sequence[tuple[Single, ...]],
        quarter: tuple[int, int],
        made_by: Mapping[str, Any],
    ) -> None:
        """Write nothing yet; `prepare` does.

        Args:
            folder: of the mosaics.
            images: that they are made of.
            mosaics: see `compose`, one at least.
            quarter: (height, width) of each image in a mosaic, whatever its own sides are.
            made_by: what chose them, for `describe`.
        """
        self.reading = STORED
        self._folder = user_path(folder)
        self._images = images
        self._quarter = quarter
        self._made_by = dict(made_by)
        self._names = _unique_names({one.target for mosaic in mosaics for one in mosaic})
        self.targets = {self._names[one.output]: one.target for mosaic in mosaics for one in mosaic}
        self.categories = tuple(sorted(self.targets))
        self._parts = {}
        samples = []
        for number, mosaic in enumerate(mosaics):
            made_of = digest_lines([*(one.digest for one in mosaic), str(quarter)])
            name = f"mosaic-{number}-{made_of[:8]}.png"
            categories = tuple(self._names[one.output] for one in mosaic)
            samples.append(Sample(name, self._folder / name, number, categories))
            self._parts[name] = mosaic
        self._samples = tuple(samples)

    def prepare(self) -> None:
        """Write the mosaics that are not there yet; see `Dataset`."""
        paths = {sample.name: sample.path for sample in self._images.samples()}
        for sample in self._samples:
            if not sample.path.exists():
                mosaic = self._parts[sample.name]
                images = [self._quarter_of(one, paths[one.name]) for one in mosaic]
                write_whole(self._folder, {sample.name: _png(join_quarters(images))})

    def samples(self) -> Sequence[Sample]:
        """All mosaics, by number."""
        return self._samples

    def annotations(self, sample: Sample, size: tuple[int, int]) -> Iterator[Annotated]:
        """For each class the quarter of its image; see `Dataset`."""
        for place, category in enumerate(sample.categories):
            quarters = np.zeros((2, 2), np.bool_)
            quarters.flat[place] = True
            yield Annotated(category, np.kron(quarters, np.ones(self._quarter, np.bool_)))

    def describe(self) -> dict[str, Any]:
        """The images as `ImageFolder` describes them, and which of them are in which quarter."""
        mosaics = digest_lines(sample.name for sample in self._samples)
        made = {"number": len(self._samples), "mosaics": mosaics, **self._made_by}
        return self._images.describe() | {"kind": self.kind} | made

    def _quarter_of(self, one: Single, path: Path) -> NDArray[np.float32]:
        """An image (h, w, 3) at the size of a quarter."""
        content = read_whole(path)
        if hashlib.sha256(content).hexdigest() != one.digest:
            raise InputError(
                f"{path} is not as it was when the model was asked about it. Put back what was "
                "there, or begin another run."
            )
        photo = decode_image(content, one.name, self._images.reading)
        return to_planes(photo, self._quarter).permute(1, 2, 0).numpy()


def join_quarters(images: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Four images (h, w, 3), row by row, as one of (2 h, 2 w, 3)."""
    rows = (np.concatenate(images[k : k + 2], axis=1) for k in (0, 2))
    return np.concatenate([*rows], axis=0)


def _unique_names(targets: set[Target]) -> dict[int, str]:
    """The name of each class by its index; of classes of one name, with the index in it."""
    names = {target.indices[0]: target.name for target in targets}
    often = Counter(names.values())
    return {
        index: name if often[name] == 1 else f"{name} ({index})" for index, name in names.items()
    }


def _png(image: NDArray[np.float32]) -> bytes:
    return encode_png(np.rint(image * 255).astype(np.uint8))
