"""The first look of a model at an image: what it says of it, before anything is explained."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iassa.decoding import Reading
from iassa.errors import ImageWarning, InputError, plain, require, shorten
from iassa.image import decode_image, encode_jpeg, encode_png, example_image
from iassa.models import BlackBox, Detector, Similarity
from iassa.models.targets import FUNCTION

TOP = 5  # classes that are offered
MOST_BOXES = 30  # that are shown
MOST_TARGETS = 10
MOST_FOUND = 12  # names of a search
LONGEST = 1024  # pixels of the longer side of the photograph on the page
QUALITY = 88  # of its JPEG


@dataclass(frozen=True, eq=False)
class Photo:
    """An image that was uploaded.

    Attributes:
        name: of its file, which only shows.
        content: of the file.
        size: (height, width).
        shown: a JPEG of it for the page.
        warnings: about the way in which it is read.
    """

    name: str
    content: bytes
    size: tuple[int, int]
    shown: bytes
    warnings: tuple[str, ...]

    @property
    def weight(self) -> int:
        """Bytes that it holds."""
        return len(self.content) + len(self.shown)

    def decode(self, reading: Reading) -> NDArray[np.float32]:
        """Its pixels (H, W, 3) in [0, 1]."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImageWarning)  # they are said already
            return decode_image(self.content, self.name, reading)


def open_photo(name: str, content: bytes, reading: Reading) -> Photo:
    """Read an upload.

    Raises:
        InputError: it is no image, is damaged, or has too many pixels.
    """
    name = shorten(plain(name).replace("/", "_").replace("\\", "_"), 80) or "image"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = decode_image(content, name, reading)
    said = tuple(str(one.message) for one in caught if issubclass(one.category, ImageWarning))
    picture = Image.fromarray(np.round(image * 255).astype(np.uint8))
    picture.thumbnail((LONGEST, LONGEST))
    return Photo(
        name, content, (image.shape[0], image.shape[1]), encode_jpeg(picture, QUALITY), said
    )


def example_file(name: str) -> bytes:
    """The content of an image file of a bundled photograph.

    Raises:
        InputError: no such example.
    """
    pixels = np.round(example_image(name) * 255).astype(np.uint8)
    return encode_png(pixels)


@dataclass(frozen=True, eq=False)
class Look:
    """What a model says of an image.

    Attributes:
        black_box: to ask about it; of a detector the one that is aimed at its boxes.
        offered: what can be explained at once, the best first: `target`, `name` and `score` of
            each, and of a detector its `box`, top, left, bottom and right in pixels.
        names: of all outputs, for a search; empty where they have none.
    """

    black_box: BlackBox
    offered: tuple[dict[str, Any], ...]
    names: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """What the page shows of it."""
        return {"offered": list(self.offered), "named": len(self.names)}


def look(photo: Photo, reading: Reading, black_box: BlackBox, queries: Sequence[Photo]) -> Look:
    """Ask a model about an image, in one call, and one for each image to compare with.

    Args:
        photo: the image.
        reading: how its file is read.
        black_box: the model.
        queries: images to compare with: the outputs are then how like each of them the image is.

    Raises:
        InputError: a detector finds nothing, or the model has no features to compare by.
        BlackBoxError: the model failed.
    """
    image = photo.decode(reading)
    if queries:
        # Names of files need not differ, and a mapping has each name once.
        named = {f"{k + 1}: {one.name}": one.decode(reading) for k, one in enumerate(queries)}
        black_box = Similarity(named, black_box)
    elif isinstance(black_box, Detector):
        return _look_for_boxes(black_box.aim(image))
    scores = black_box(image[None])[0]
    names = black_box.class_names or ()
    best = np.argsort(-scores, kind="stable")[:TOP].tolist()
    offered = [
        {"target": f"class {k}", "name": _name(names, k), "score": float(scores[k])} for k in best
    ]
    return Look(black_box, tuple(offered), tuple(names))


def _look_for_boxes(black_box: BlackBox) -> Look:
    boxes = black_box.boxes
    assert boxes is not None
    offered = [
        {
            "target": f"class {k}",
            "name": _name(boxes.names, k),
            "score": confidence,
            "box": box.tolist(),
        }
        for k, (box, confidence) in enumerate(zip(boxes.boxes, boxes.confidences, strict=True))
    ]
    return Look(black_box, tuple(offered[:MOST_BOXES]), boxes.names)


def _name(names: Sequence[str], index: int) -> str:
    return plain(names[index].split(",")[0].strip()) if names else f"class {index}"


def find_names(text: str, names: Sequence[str]) -> list[str]:
    """Names of classes that hold a text, those that begin with it first.

    Example:
        >>> find_names("cat", ["tiger cat", "catamaran", "dog"])
        ['catamaran', 'tiger cat']
    """
    wanted = text.strip().casefold()
    first = [name.split(",")[0].strip() for name in names]
    folded = [name.casefold() for name in names]
    holding = [k for k, name in enumerate(folded) if wanted and wanted in name]
    holding.sort(key=lambda k: (not folded[k].startswith(wanted), len(first[k])))
    return [plain(first[k]) for k in holding[:MOST_FOUND]]


def read_targets(texts: Sequence[str]) -> list[str]:
    """Targets that a visitor of the page names: classes, groups and contrasts.

    Raises:
        InputError: none, too many, or the name of a function, whose code would be run.
    """
    wanted = [one for one in (text.strip() for text in texts) if one]
    tops = [re.fullmatch(r"top-(\d{1,9})", text.lower()) for text in wanted]
    count = sum(1 if top is None else int(top[1]) for top in tops)
    require(
        1 <= count <= MOST_TARGETS,
        f"expected one to {MOST_TARGETS} targets, got {count}. Choose what to explain.",
    )
    for text in wanted:
        if FUNCTION.fullmatch(re.sub(r"^(not\s+)+", "", text, flags=re.IGNORECASE)):
            raise InputError(
                f"expected a class, a group or a contrast, got {text!r}. A function is named on "
                "the command line alone, as its code is run."
            )
    return wanted
