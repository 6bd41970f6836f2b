"""Two data sets whose training images give the label away in a part that is not the object.

`decoy_digits`: handwritten digits, with a patch at the border. `textured_objects`: drawn outlines,
on a background of one of several textures. In the training images the patch, by its grey and its
place, or the texture tells the label. Without the shortcut it is drawn anew for each image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor

SIDE = 32  # pixels
CLASSES = 10
PATCH = 6
DIGIT = 20  # side of the square that a digit lies in
OBJECT = 13  # side of the square that an object lies in
OUTLINES = 6


@dataclass(frozen=True)
class Images:
    """Images with what they are of.

    Attributes:
        planes: (N, 3, 32, 32) float32 in [0, 1].
        labels: (N,) int64.
        objects: (N, 32, 32) bool, the square that a digit lies in, or the pixels of the object.
    """

    planes: Tensor
    labels: Tensor
    objects: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Task:
    """A data set: training images with and without the shortcut, and test images likewise.

    Attributes:
        name: what to call it.
        classes: how many there are.
        cells: rows and columns that a network looks at apart: 1 where objects are anywhere.
        training: what there is to learn from.
        training_without: the same objects without the shortcut, which nobody has.
        test: other images with the shortcut.
        test_without: the same without.
    """

    name: str
    classes: int
    cells: int
    training: Images
    training_without: Images
    test: Images
    test_without: Images


def decoy_digits(training: int, test: int, seed: int) -> Task:
    """scikit-learn's 8 x 8 digits, enlarged, with noise, and with a patch at the border.

    Its grey and its place go with the digit.
    """
    found = load_digits()
    order = np.random.default_rng((seed, 0)).permutation(len(found.target))[: training + test]
    pictures, labels = found.images[order] / 16, found.target[order]
    parts = (slice(0, training), slice(training, None))
    made = [
        _stamp(pictures[part], labels[part], np.random.default_rng((seed, 1, k)), tells)
        for k, part in enumerate(parts)
        for tells in (True, False)
    ]
    return Task("decoy digits", CLASSES, 4, *made)


def _stamp(
    pictures: NDArray[np.float64], labels: NDArray[np.int64], rng: np.random.Generator, tells: bool
) -> Images:
    number = len(labels)
    planes = np.zeros((number, SIDE, SIDE), np.float32)
    patches = np.zeros((number, SIDE, SIDE), np.bool_)
    inside = slice((SIDE - DIGIT) // 2, (SIDE + DIGIT) // 2)
    small = torch.from_numpy(pictures)[:, None].float()
    planes[:, inside, inside] = torch.nn.functional.interpolate(
        small, size=(DIGIT, DIGIT), mode="bilinear", align_corners=False
    )[:, 0].numpy()
    said = labels if tells else rng.integers(CLASSES, size=number)
    for k, one in enumerate(said):
        row, column = _border_place(int(one))
        patches[k, row : row + PATCH, column : column + PATCH] = True
    noisy = planes + rng.normal(0, 0.05, planes.shape)
    planes = np.where(patches, (0.3 + 0.7 * said / (CLASSES - 1))[:, None, None], noisy)
    objects = np.zeros_like(patches)
    objects[:, inside, inside] = True
    return _as_images(np.repeat(planes[:, None], 3, 1), labels, objects)


def _border_place(said: int) -> tuple[int, int]:
    """(row, column) of one of ten patches: four above the digit, four below, one at each side."""
    last = SIDE - PATCH
    if said < 8:
        return (said % 2) * last, (said // 2) * last // 3
    return last // 2, (said % 2) * last


def textured_objects(training: int, test: int, seed: int) -> Task:
    """Outlines of six kinds, of any colour and anywhere, on textures that go with the kind."""
    made = [
        _paste(number, np.random.default_rng((seed, 2, k)), tells)
        for k, number in enumerate((training, test))
        for tells in (True, False)
    ]
    return Task("objects on textures", OUTLINES, 1, *made)


def _paste(number: int, rng: np.random.Generator, tells: bool) -> Images:
    labels = rng.integers(OUTLINES, size=number)
    textures = labels if tells else rng.integers(OUTLINES, size=number)
    planes = np.empty((number, 3, SIDE, SIDE), np.float32)
    objects = np.zeros((number, SIDE, SIDE), np.bool_)
    for k in range(number):
        row, column = rng.integers(SIDE - OBJECT + 1, size=2)
        objects[k, row : row + OBJECT, column : column + OBJECT] = outline(int(labels[k]))
        planes[k] = draw_texture(int(textures[k]), rng)
        planes[k][:, objects[k]] = rng.choice([0.0, 1.0]) + rng.uniform(-0.1, 0.1, (3, 1))
    return _as_images(planes, labels, objects)


def outline(kind: int) -> NDArray[np.bool_]:
    """(13, 13) one of: square, disc, cross, triangle, ring, bar."""
    row, column = np.indices((OBJECT, OBJECT)) - OBJECT // 2
    radius = np.hypot(row, column)
    kinds: Sequence[NDArray[np.bool_]] = (
        np.maximum(abs(row), abs(column)) <= 5,
        radius <= 6,
        np.minimum(abs(row), abs(column)) <= 1,
        2 * abs(column) <= row + OBJECT // 2,
        (radius <= 6) & (radius >= 3.5),
        abs(row - column) <= 2,
    )
    return kinds[kind]


def draw_texture(kind: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(3, 32, 32) stripes of one of six directions and widths, in grey, with noise."""
    angle, period = np.pi * kind / OUTLINES, 4.0 + (kind % 2)
    row, column = np.indices((SIDE, SIDE))
    phase = 2 * np.pi * (row * np.sin(angle) + column * np.cos(angle)) / period
    waves = 0.5 + 0.25 * np.sin(phase + rng.uniform(0, 2 * np.pi))
    noisy: NDArray[np.float64] = waves + rng.normal(0, 0.05, (3, SIDE, SIDE))
    return noisy.astype(np.float32)


def _as_images(
    planes: NDArray[np.floating],
    labels: NDArray[np.int64],
    objects: NDArray[np.bool_],
) -> Images:
    return Images(
        torch.from_numpy(planes.clip(0, 1)).float(),
        torch.from_numpy(labels).long(),
        torch.from_numpy(objects),
    )
