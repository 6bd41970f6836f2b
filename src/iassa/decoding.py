"""The content of an image file in, pixels out. Only this file uses Pillow's decoders.

A file may be made to harm. So only `FORMATS` are opened, whose decoders start no program; its
pixels are counted before they are decoded; and they become floats some rows at a time, so that a
picture takes 16 bytes a pixel at most: 4 as Pillow has it, 12 as float32.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from iassa.checks import Within, take_fields
from iassa.errors import ImageWarning, InputError, list_choices, require, warn

Decoded = TypeVar("Decoded")

# Only these formats are opened, whatever a file's name says. Another of Pillow's starts
# Ghostscript, and few are photographs.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
MULTI_PICTURE = "MPO"  # what Pillow calls a JPEG with further pictures behind the first
MAX_PIXELS = 50_000_000  # 0.8 GB at most while it is read, 0.6 GB then
PILLOWS_MOST = 178_956_970  # it opens no larger ones
# Scans of a JPEG: each takes the time of the whole image and may take 75 bytes. Cameras and
# programs write ten; a hundred is libtiff's limit, too.
MOST_SCANS = 100
SCAN = b"\xff\xda"  # begins one, and occurs nowhere in the pixels
TILE = (322, 323)  # TIFF's tags of a tile's width and height
STRIP = 1 << 20  # pixels that become floats at a time

ORIENTATION = 0x0112  # of EXIF; 1 is upright
DEEP = 65535.0  # white of more than 8 bits
# A deep image whose values all lie below this share of white is read as nearly black: 14 bits are
# a quarter of 16.
DARK = 0.25
DEEP_COLOUR = re.compile(r"(RGB[AX]?|LA);16[BLN]")  # in Pillow's words, which reduces it to 8 bits


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How an image file is read, where that is not clear from the file.

    Attributes:
        upright: whether to turn the image as its EXIF orientation says, as viewers do. Otherwise
            its pixels are taken as they are stored, with a warning if that differs.
        white: the value that is white in grey of more than 8 bits: 4095 for 12 bits in a 16-bit
            file. None takes the limit of the type: 65535 for whole numbers, 1 for others.
        max_pixels: the most that are read, as a small file may hold billions. They change nothing
            in an image that is read.
    """

    upright: bool = True
    white: Annotated[float | None, Within(0, above=True)] = None
    max_pixels: Annotated[int, Within(1, PILLOWS_MOST)] = MAX_PIXELS

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> Self:
        """The reading that a description of a dataset has; see `describe`."""
        return cls(upright="orientation" not in description, white=description.get("white"))

    def describe(self) -> dict[str, Any]:
        """What differs from the default, as JSON holds it."""
        orientation = {} if self.upright else {"orientation": "stored"}
        return orientation | ({} if self.white is None else {"white": self.white})

    def __post_init__(self) -> None:
        """Refuse a white or a number of pixels that cannot be."""
        take_fields(self)


@dataclass(frozen=True)
class ImageFile:
    """An image file, and how it is read."""

    path: str | PurePath
    reading: Reading

    def __str__(self) -> str:
        """The path."""
        return str(self.path)


UPRIGHT = Reading()
STORED = Reading(upright=False)


def open_picture(
    content: bytes,
    name: str,
    reading: Reading,
    decode: Callable[[Image.Image, Reading], Decoded],
) -> Decoded:
    """What `decode` makes of an image file, with its errors and warnings by name.

    Args:
        content: of the file.
        name: of the file, for errors.
        reading: how to read it.
        decode: `decode_picture` or `decode_mask`.

    Raises:
        InputError: it is none of `FORMATS`, has too many pixels, or is damaged.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            # The metadata may be damaged, the pixels whole. Pillow warns of many pixels, too.
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", ImageWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
                _check_cost(picture, content, reading.max_pixels)
                decoded = decode(picture, reading)
    except Image.DecompressionBombError:
        raise InputError(
            f"{name} has more pixels than the {2 * (Image.MAX_IMAGE_PIXELS or 0)} that Pillow "
            "opens. Scale it down."
        ) from None
    except UnidentifiedImageError:
        what = "a file that is no known image" if content else "an empty file"
        raise InputError(
            f"expected an image, got {what}: {name}. Save it as one of {list_choices(FORMATS)}."
        ) from None
    except InputError as error:
        raise InputError(f"{name}: {error}") from error.__cause__
    except Exception as error:  # Pillow's decoders raise errors of many kinds
        reason = str(error) or type(error).__name__
        raise InputError(
            f"cannot decode {name}: {reason}. It is damaged; save it as PNG."
        ) from error
    for one in caught:
        warn(f"{name}: {one.message}", ImageWarning)
    return decoded


def _check_cost(picture: Image.Image, content: bytes, max_pixels: int) -> None:
    """Refuse what would take much memory or time, before it is decoded."""
    width, height = picture.size
    require(
        width * height <= max_pixels,
        f"expected an image of at most {max_pixels} pixels, got {width} x {height} (width x "
        "height). Scale it down, or allow more: load_image(path, max_pixels=N) or --max-pixels N.",
    )
    tile = [getattr(picture, "tag_v2", {}).get(tag, 0) for tag in TILE]
    if all(isinstance(side, int) for side in tile):  # Pillow refuses others
        require(
            math.prod(tile) <= max_pixels,
            f"expected tiles of at most {max_pixels} pixels in a TIFF, got {tile[0]} x {tile[1]} "
            "in a smaller image. Save it as PNG.",
        )
    if picture.format in ("JPEG", MULTI_PICTURE):
        scans = content.count(SCAN)
        require(
            scans <= MOST_SCANS,
            f"expected a JPEG of at most {MOST_SCANS} scans, got {scans}. Save it as PNG.",
        )


def decode_picture(picture: Image.Image, reading: Reading = UPRIGHT) -> NDArray[np.float32]:
    """Pixels (H, W, 3) float32 in [0, 1]; see `iassa.load_image`."""
    if 0 in picture.size:
        raise InputError(f"expected an image with pixels, got one of size {picture.size}.")
    reduced = DEEP_COLOUR.search(str(getattr(picture, "tile", "")))  # known before it is loaded
    stored, picture = picture, _turn(picture, reading.upright)
    orientation = 1 if reading.upright else stored.getexif().get(ORIENTATION, 1)
    if orientation in range(2, 9):
        warn(
            "EXIF would turn it, but its pixels are taken as they are stored, as COCO's outlines "
            "have them. To turn it, say --orientation upright.",
            ImageWarning,
        )
    if picture.mode.startswith("I") or picture.mode == "F":
        return _decode_deep_grey(picture, reading.white)
    pixels = _by_strips(picture, _decode_colour)
    if reduced:
        brightest = 257 * 255 * float(pixels.max())
        _warn_if_dark(brightest, "scale its values up, or pass an array in [0, 1]")
    return pixels


def measure_picture(picture: Image.Image, reading: Reading = UPRIGHT) -> tuple[int, int]:
    """(height, width) of the pixels that `decode_picture` gives."""
    width, height = _turn(picture, reading.upright).size
    return height, width


def _by_strips(
    picture: Image.Image, decode: Callable[[Image.Image], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Pixels (H, W, 3): `decode` makes them of some rows at a time, so that copies are small."""
    width, height = picture.size
    pixels = np.empty((height, width, 3), np.float32)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        pixels[top:bottom] = decode(picture.crop((0, top, width, bottom)))
    return pixels


def _decode_colour(picture: Image.Image) -> NDArray[np.float32]:
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return np.asarray(picture.convert("RGB"), dtype=np.float32) / np.float32(255)


def decode_mask(picture: Image.Image, reading: Reading = UPRIGHT) -> NDArray[np.bool_]:
    """Which pixels (H, W) bool are marked; see `iassa.image.load_mask`."""
    picture = _turn(picture, reading.upright)
    if picture.mode.startswith("I"):  # Pillow would compare 8 of its 16 bits
        grey = np.asarray(picture)
        return np.asarray((grey != 0) & (grey != picture.info.get("transparency", 0)))
    transparent = picture.mode != "P" and picture.has_transparency_data
    values = np.asarray(picture.convert("RGBA") if transparent else picture) != 0
    colours = values[..., :3] if transparent else values.reshape(*values.shape[:2], -1)
    marked: NDArray[np.bool_] = colours.any(axis=2)
    return marked & values[..., 3] if transparent else marked


def _turn(picture: Image.Image, upright: bool) -> Image.Image:
    known = (None, *FORMATS, MULTI_PICTURE)  # None: it is of no file
    require(
        picture.format in known,
        f"expected an image of {list_choices(FORMATS)}, got {picture.format}. Pass its pixels as "
        "an array.",
    )
    picture.load()  # EXIF may stand behind the pixels
    turned = upright and picture.getexif().get(ORIENTATION, 1) in range(2, 9)
    return ImageOps.exif_transpose(picture) if turned else picture


def _decode_deep_grey(picture: Image.Image, white: float | None) -> NDArray[np.float32]:
    limit = white or (1.0 if picture.mode == "F" else DEEP)
    clear = picture.info.get("transparency")

    def decode(strip: Image.Image) -> NDArray[np.float32]:
        values = np.asarray(strip)
        grey = values.astype(np.float32)
        ends.extend([grey.min(), grey.max()])
        if clear is not None:
            grey[values == clear] = limit
        return grey[:, :, None] / np.float32(limit)

    ends: list[np.float32] = []
    pixels = _by_strips(picture, decode)
    low, high = float(np.min(ends)), float(np.max(ends))
    if not (low >= 0 and high <= limit):  # nor where one is NaN
        raise InputError(
            f"expected grey values in [0, {limit:g}], got [{low:g}, {high:g}] in mode "
            f"{picture.mode}. Say which value is white, with load_image(path, white=...) or "
            "--white, or pass an array in [0, 1]."
        )
    if white is None and picture.mode != "F":
        guess = (1 << int(high).bit_length()) - 1
        _warn_if_dark(high, f"say so, with load_image(path, white={guess}) or --white {guess}")
    return pixels


def _warn_if_dark(brightest: float, remedy: str) -> None:
    if 0 < brightest <= DARK * DEEP:
        warn(
            f"its brightest value is {brightest:g}, of {DEEP:g} that its type can hold, so it is "
            f"read as nearly black. If a smaller value is white in it, {remedy}.",
            ImageWarning,
        )
