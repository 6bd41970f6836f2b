"""Images: files and arrays in, one layout out.

The layout is (H, W, 3) float32 RGB in [0, 1]. The loop holds the same values as planes (3, H, W),
the memory order of nearly every network.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path, PurePath, PureWindowsPath
from typing import IO, Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from iassa.decoding import (
    MAX_PIXELS,
    PILLOWS_MOST,
    UPRIGHT,
    Decoded,
    ImageFile,
    Reading,
    decode_mask,
    decode_picture,
    open_picture,
)
from iassa.errors import InputError, list_choices, require
from iassa.files import user_path

ROUNDINGS = 8  # steps at 1 of the array's type, at least of float32, that are taken for none
DEEPEST = 8  # bytes a pixel in a file: four channels of 16 bits
METADATA = 1 << 24  # bytes
EXAMPLES = {"cat": "chelsea", "coffee": "coffee"}  # pictures that scikit-image ships

URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)


ImageLike: TypeAlias = "str | PurePath | ImageFile | bytes | IO[bytes] | Image.Image | ArrayLike"


def load_image(
    path: str | PurePath,
    *,
    upright: bool = True,
    white: float | None = None,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.float32]:
    """Read an image file as (H, W, 3) float32 RGB in [0, 1].

    Transparency is laid over white, as viewers do. Grey and palette images become RGB. 16-bit grey
    keeps its depth; Pillow reduces 16-bit colour to 8 bits. An animation gives its first frame.

    Args:
        path: PNG, JPEG, WebP, TIFF, BMP, GIF, PPM or PGM. A leading `~` is the home folder.
        upright: whether to turn the image as its EXIF orientation says.
        white: the value that is white in grey of more than 8 bits; see `Reading`.
        max_pixels: the most that are read, 16 bytes of memory each. Pillow reads 179 million.

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        InputError: the file is missing, empty, truncated, not an image, of another format, or of
            more pixels.

    Warns:
        ImageWarning: it is deep and nearly black, or its EXIF orientation is not applied.
    """
    reading = Reading(upright=upright, white=white, max_pixels=max_pixels)
    return _read(path, reading, decode_picture)


def decode_image(content: bytes, name: str, reading: Reading = UPRIGHT) -> NDArray[np.float32]:
    """The content of an image file as (H, W, 3) float32 RGB in [0, 1]; see `load_image`.

    Args:
        content: of the file.
        name: of the file, for errors.
        reading: how to read it.

    Raises:
        InputError: it is empty, truncated, not an image, of another format, or of more pixels than
            `reading` allows.

    Warns:
        ImageWarning: as `load_image`.
    """
    return open_picture(content, name, reading, decode_picture)


def load_mask(path: str | PurePath, reading: Reading = UPRIGHT) -> NDArray[np.bool_]:
    """Read an image file that marks the pixels of an object.

    A pixel is marked if it is not zero: any grey value (of 1, 8 or 16 bits) or colour but black. In
    a palette image any index but 0 is marked, whatever its colour. Otherwise a pixel that is fully
    transparent is not marked.

    Args:
        path: PNG, or another lossless format among those of `load_image`.
        reading: as of the image: whether the EXIF orientation is applied.

    Returns:
        (H, W) bool.

    Raises:
        InputError: as `load_image`.
    """
    return _read(path, reading, decode_mask)


def _read(
    path: str | PurePath, reading: Reading, decode: Callable[[Image.Image, Reading], Decoded]
) -> Decoded:
    return open_picture(read_content(path, reading), str(path), reading, decode)


def read_content(path: str | PurePath, reading: Reading = UPRIGHT) -> bytes:
    """The content of an image file, for `decode_image`.

    Args:
        path: of the file.
        reading: how it will be read; a file that is larger than its most pixels is refused.

    Raises:
        InputError: the file is missing, a folder, cannot be read, or is too large.
    """
    require(str(path) not in ("", "."), f"expected an image file, got {str(path)!r}. Name a file.")
    named = user_path(path, "an image file")
    most = METADATA + DEEPEST * reading.max_pixels
    try:
        with named.open("rb") as file:  # a pipe may never end
            content = file.read(most + 1)
    except FileNotFoundError:
        raise InputError(f"no such image: {path}. {_advise(str(path))}") from None
    except IsADirectoryError:
        raise InputError(f"expected an image file, got a folder: {path}. Name a file.") from None
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot read {path}: {reason}. Check the path.") from error
    require(
        len(content) <= most,
        f"expected a file of at most {most} bytes, got more in {path}. Save one picture as PNG, or "
        "allow more: load_image(path, max_pixels=N) or --max-pixels N.",
    )
    return content


def _advise(path: str) -> str:
    """What to do about a path where no file is."""
    if URL.match(path):
        return "It is a URL, and no image is fetched. Download it, and name the file."
    slashes = PureWindowsPath(path).as_posix()
    if slashes != path and Path(slashes).is_file():
        return f"There is {slashes}. Name that."
    return "Check the path."


def as_image(value: ImageLike) -> NDArray[np.float32]:
    """Turn anything that a user may pass as an image into (H, W, 3) float32 RGB in [0, 1].

    Args:
        value: a path, 'example:cat' or another bundled photograph, the content of an image file as
            bytes, a file that is open for bytes (read from its start, where it can be), a Pillow
            image, or an array: (H, W, 3) or grey (H, W), uint8 in [0, 255] or floating point in
            [0, 1]. Values beyond it by no more than rounding are 0 and 1.

    Returns:
        (H, W, 3) float32 in [0, 1], a contiguous copy.

    Raises:
        InputError: the shape, dtype or range is another, or values are not finite.

    Warns:
        ImageWarning: as `load_image`.
    """
    require(
        value is not None,
        "expected an image, got None. Some readers return it for a file that they cannot read: "
        "check the path, or pass that.",
    )
    path, reading = value, UPRIGHT
    if isinstance(value, ImageFile):
        path, reading = value.path, value.reading
    if isinstance(path, str) and path.startswith("example:"):
        return example_image(path.removeprefix("example:"))
    if isinstance(path, str | PurePath):
        return _read(path, reading, decode_picture)
    if isinstance(value, bytes | bytearray):
        return decode_image(bytes(value), "the bytes")
    if isinstance(value, Image.Image):
        try:
            return decode_picture(value)
        except (OSError, SyntaxError) as error:  # Pillow decodes a file only now
            raise InputError(f"cannot decode the image: {error}. It looks damaged.") from error
    if hasattr(value, "read"):
        return _read_open(value)
    return _check_array(cast("ArrayLike", value))


def _read_open(file: Any) -> NDArray[np.float32]:
    name = str(getattr(file, "name", "the open file"))
    require(not isinstance(file, io.TextIOBase), f"expected bytes, got {name} open for text: 'rb'.")
    try:
        if file.seekable():
            file.seek(0)
        content = file.read()
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"cannot read {name}: {error}. Pass the path of the image.") from error
    require(isinstance(content, bytes), f"expected bytes in {name}, got {type(content).__name__}.")
    return decode_image(content, name)


def _check_array(value: ArrayLike) -> NDArray[np.float32]:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        got = type(value).__name__
        raise InputError(f"expected an image or an array, got {got}: {error}.") from error
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise InputError(
            f"expected an image (H, W, 3) or (H, W), got shape {array.shape}. Pass one RGB image."
        )
    require(
        array.size // 3 <= PILLOWS_MOST,
        f"expected an image of at most {PILLOWS_MOST} pixels, got {array.shape[0]} x "
        f"{array.shape[1]} (height x width). Scale it down.",
    )
    if array.dtype == np.uint8:
        return array.astype(np.float32, order="C") / np.float32(255)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"expected dtype uint8 or floating point, got {array.dtype}. Convert it.")
    if not np.isfinite(array).all():
        raise InputError("expected finite values in the image, got NaN or infinity. Clean it.")
    low, high = float(array.min()), float(array.max())
    # Sums and resizing leave [0, 1] by a few roundings: 1.0000001 is white.
    rounding = ROUNDINGS * float(max(np.finfo(array.dtype).eps, np.finfo(np.float32).eps))
    if low < -rounding or high > 1 + rounding:
        raise InputError(
            f"expected image values in [0, 1], got [{low:g}, {high:g}]. Divide 8-bit values by "
            "255, and leave normalisation to the black box."
        )
    pixels = np.array(array, dtype=np.float32, order="C")
    return pixels if low >= 0 and high <= 1 else pixels.clip(0, 1)


def example_image(name: str) -> NDArray[np.float32]:
    """One of the bundled photographs, by name.

    Args:
        name: `cat` (Chelsea, an Egyptian cat, 300 x 451) or `coffee` (an espresso, 400 x 600).

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        InputError: no such example.
    """
    if name not in EXAMPLES:
        raise InputError(f"expected an example among {list_choices(EXAMPLES)}, got {name!r}.")
    from skimage import data  # here, as it is slow to import

    return as_image(getattr(data, EXAMPLES[name])())


def to_planes(image: NDArray[np.float32], size: tuple[int, int]) -> Tensor:
    """An image as planes, at the size that a black box looks at.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        size: (height, width) wanted; the aspect ratio may change.

    Returns:
        (3, height, width) float32 in [0, 1].
    """
    return resize(torch.from_numpy(image).permute(2, 0, 1), size).clamp(0, 1)


def resize(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize planes with a bilinear filter, widened when shrinking so that nothing aliases.

    Args:
        planes: (..., H, W) float tensor.
        size: (height, width) wanted.

    Returns:
        (..., height, width); the same tensor if it has this size already.
    """
    if tuple(planes.shape[-2:]) == tuple(size):
        return planes
    flat = planes.reshape(-1, 1, *planes.shape[-2:])
    if size[1] > 1:
        resized = _interpolate(flat, size)
    else:  # for a single column torch repeats the first row: resize one axis, then the other
        resized = _interpolate(_interpolate(flat, (flat.shape[2], 1)).mT, (1, size[0])).mT
    return resized.reshape(*planes.shape[:-2], *size)


def _interpolate(planes: Tensor, size: tuple[int, int]) -> Tensor:
    return torch.nn.functional.interpolate(planes, size, mode="bilinear", antialias=True)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """The content of a PNG file of pixels, (H, W) or (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def encode_jpeg(picture: Image.Image, quality: int) -> bytes:
    """The content of a JPEG file, of a quality from 0 to 95."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
