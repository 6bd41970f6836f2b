"""Black boxes of audits that worker processes import by name, and the images that they look at."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
from PIL import Image

from iassa.models import FunctionModel

SIZE = (32, 44)  # (height, width)
OBJECT = (slice(8, 20), slice(12, 28))  # what a mask shows
MIDDLE = (slice(11, 17), slice(16, 24))  # of it, what one black box looks at
CORNER = (slice(24, 32), slice(34, 44))  # what another looks at
NAMES = ("cat", "dog")


def _count(images):
    if "COUNT" in os.environ:
        with Path(os.environ["COUNT"]).open("a") as file:
            file.write("x" * len(images))
            file.flush()
    limit = os.environ.get("LIMIT")
    if limit and len(Path(os.environ["COUNT"]).read_text()) > int(limit):
        os.kill(os.getpid(), signal.SIGKILL)


def _brightness_of(images, rows, columns):
    """Of a part of images of `SIZE`, or as large a share of others."""
    height, width = images.shape[1:3]
    high, wide = height / SIZE[0], width / SIZE[1]
    part = images[
        :,
        round(rows.start * high) : round(rows.stop * high),
        round(columns.start * wide) : round(columns.stop * wide),
    ]
    return part.mean((1, 2, 3))


def _answers(of_cat):
    return np.stack([of_cat, 1 - of_cat], axis=1)


def look_at_object(images):
    _count(images)
    return _answers(_brightness_of(images, *MIDDLE))


def look_at_corner(images):
    _count(images)
    return _answers(_brightness_of(images, *CORNER))


def look_at_stamp_or_red(images):
    """A cat is a bright corner, a dog is red."""
    _count(images)
    red = (images[..., 0] - images[..., 1]).clip(0).mean((1, 2))
    return np.stack([_brightness_of(images, *CORNER), (10 * red).clip(0, 0.6)], axis=1)


objects = FunctionModel(look_at_object, name="objects", class_names=NAMES)
corners = FunctionModel(look_at_corner, name="corners", class_names=NAMES)
stamps = FunctionModel(look_at_stamp_or_red, name="stamps", class_names=NAMES)


def draw(path, seed=0, size=SIZE, *, stamped=False, red=False):
    """A dim photograph with a bright object, or a red one at some place, and perhaps a stamp."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(20, 60, (*size, 3), dtype=np.uint8)
    high, wide = size[0] / SIZE[0], size[1] / SIZE[1]
    if red:
        row, column = rng.integers(0, 14), rng.integers(0, 24)
        pixels[row : row + 10, column : column + 12] = (220, 20, 20)
    else:
        pixels[_scale(MIDDLE, high, wide)] = 230
    if stamped or not red:
        pixels[_scale(CORNER, high, wide)] = 240
    elif red:
        pixels[CORNER] = 20
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def draw_mask(path, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask_of(size).astype(np.uint8)).save(path)


def mask_of(size=SIZE):
    mask = np.zeros(size, np.bool_)
    mask[_scale(OBJECT, size[0] / SIZE[0], size[1] / SIZE[1])] = True
    return mask


def _scale(part, high, wide):
    rows, columns = part
    return (
        slice(round(rows.start * high), round(rows.stop * high)),
        slice(round(columns.start * wide), round(columns.stop * wide)),
    )
