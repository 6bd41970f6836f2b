"""The content of an image file in, pixels out. Only this file uses Pillow's decoders."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from iassa.errors import ImageWarning, InputError, require, warn

Decoded = TypeVar("Decoded")

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
    """

    upright: bool = True
    white: float | None = None

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> Self:
        """The reading that a description of a dataset has; see `describe`."""
        return cls(upright="orientation" not in description, white=description.get("white"))

    def describe(self) -> dict[str, Any]:
        """What differs from the default, as JSON holds it."""
        orientation = {} if self.upright else {"orientation": "stored"}
        return orientation | ({} if self.white is None else {"white": self.white})

    def __post_init__(self) -> None:
        """Refuse a white that no value can be below."""
        sound = self.white is None or 0 < self.white < float("inf")
        require(sound, f"expected a finite value above 0 that is white, got {self.white}.")


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


def open_content(content: bytes, name: str, decode: Callable[[Image.Image], Decoded]) -> Decoded:
    """What `decode` makes of the content of an image file, with its errors and warnings by name."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")  # the metadata may be damaged, the pixels whole
            # Pillow warns above its limit and raises above twice the limit. We always raise.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("always", ImageWarning)
            with Image.open(io.BytesIO(content)) as picture:
                decoded = decode(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(
            f"{name} has more pixels than Pillow's safety limit of {Image.MAX_IMAGE_PIXELS}. "
            "Scale it down first."
        ) from None
    except UnidentifiedImageError:
        what = "a file that is no known image" if content else "an empty file"
        raise InputError(f"expected an image, got {what}: {name}. Use PNG or JPEG.") from None
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except Exception as error:  # Pillow's decoders raise errors of many kinds
        raise InputError(
            f"cannot decode {name}: {error}. It is damaged; save it as PNG."
        ) from error
    for one in caught:
        warn(f"{name}: {one.message}", ImageWarning)
    return decoded


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
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    # Twelve megapixels take 144 MB here: neither the picture nor its values are copied in vain.
    rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
    values = np.array(rgb, dtype=np.float32)
    if reduced:
        _warn_if_dark(257 * float(values.max()), "scale its values up, or pass an array in [0, 1]")
    values /= np.float32(255)
    return values


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
    picture.load()  # EXIF may stand behind the pixels
    turned = upright and picture.getexif().get(ORIENTATION, 1) != 1
    return ImageOps.exif_transpose(picture) if turned else picture  # which copies in any case


def _decode_deep_grey(picture: Image.Image, white: float | None) -> NDArray[np.float32]:
    values = np.asarray(picture)
    grey = values.astype(np.float32)
    limit = white or (1.0 if picture.mode == "F" else DEEP)
    low, high = float(grey.min()), float(grey.max())
    if not (np.isfinite(grey).all() and low >= 0 and high <= limit):
        raise InputError(
            f"expected grey values in [0, {limit:g}], got [{low:g}, {high:g}] in mode "
            f"{picture.mode}. Say which value is white, with load_image(path, white=...) or "
            "--white, or pass an array in [0, 1]."
        )
    if white is None and picture.mode != "F":
        guess = (1 << int(high).bit_length()) - 1
        _warn_if_dark(high, f"say so, with load_image(path, white={guess}) or --white {guess}")
    if "transparency" in picture.info:
        grey[values == picture.info["transparency"]] = limit
    return np.repeat(grey[:, :, None] / np.float32(limit), 3, axis=2)


def _warn_if_dark(brightest: float, remedy: str) -> None:
    if 0 < brightest <= DARK * DEEP:
        warn(
            f"its brightest value is {brightest:g}, of {DEEP:g} that its type can hold, so it is "
            f"read as nearly black. If a smaller value is white in it, {remedy}.",
            ImageWarning,
        )
