"""Images: files and arrays in, one layout out. Only this file uses Pillow's decoders.

The layout is (H, W, 3) float32 RGB in [0, 1]. The loop holds the same values as planes (3, H, W),
the memory order of nearly every network.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from iassa.errors import InputError

Decoded = TypeVar("Decoded")

ImageLike: TypeAlias = "str | Path | Image.Image | ArrayLike"

ROUNDINGS = 8  # steps at 1 of the array's type, at least of float32, that are taken for none
EXAMPLES = {"cat": "chelsea", "coffee": "coffee"}  # pictures that scikit-image ships


def load_image(path: str | Path) -> NDArray[np.float32]:
    """Read an image file as (H, W, 3) float32 RGB in [0, 1].

    The EXIF orientation is applied, and transparency is laid over white, as viewers do. Grey and
    palette images become RGB. 16-bit grey keeps its depth; Pillow reduces 16-bit colour to 8 bits.
    An animation gives its first frame.

    Args:
        path: any format that Pillow reads.

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        InputError: the file is missing, empty, truncated, not an image, or larger than Pillow's
            limit against decompression bombs.
    """
    return _read(Path(path), _decode)


def decode_image(content: bytes, name: str) -> NDArray[np.float32]:
    """The content of an image file as (H, W, 3) float32 RGB in [0, 1]; see `load_image`.

    Args:
        content: of the file.
        name: of the file, for errors.

    Raises:
        InputError: it is empty, truncated, not an image, or larger than Pillow's limit against
            decompression bombs.
    """
    return _open(content, name, _decode)


def load_mask(path: str | Path) -> NDArray[np.bool_]:
    """Read an image file that marks the pixels of an object.

    A pixel is marked if it is not zero: any grey value (of 1, 8 or 16 bits) or colour but black. In
    a palette image any index but 0 is marked, whatever its colour. Otherwise a pixel that is fully
    transparent is not marked. The EXIF orientation is applied, as to the image.

    Args:
        path: PNG, or any other lossless format that Pillow reads.

    Returns:
        (H, W) bool.

    Raises:
        InputError: as `load_image`.
    """
    return _read(Path(path), _decode_mask)


def _read(path: Path, decode: Callable[[Image.Image], Decoded]) -> Decoded:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"no such image: {path}. Check the path.") from None
    except IsADirectoryError:
        raise InputError(f"expected an image file, got a folder: {path}. Name a file.") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {path}: {reason}. Check the path.") from error
    return _open(content, str(path), decode)


def _open(content: bytes, name: str, decode: Callable[[Image.Image], Decoded]) -> Decoded:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the metadata may be damaged, the pixels whole
            # Pillow warns above its limit and raises above twice the limit. We always raise.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as picture:
                picture.load()
                return decode(picture)
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


def _decode(picture: Image.Image) -> NDArray[np.float32]:
    if 0 in picture.size:
        raise InputError(f"expected an image with pixels, got one of size {picture.size}.")
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I") or picture.mode == "F":
        return _decode_deep_grey(picture)
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return np.asarray(picture.convert("RGB"), dtype=np.float32) / np.float32(255)


def _decode_mask(picture: Image.Image) -> NDArray[np.bool_]:
    picture = ImageOps.exif_transpose(picture)
    transparent = picture.mode != "P" and picture.has_transparency_data
    values = np.asarray(picture.convert("RGBA") if transparent else picture) != 0
    colours = values[..., :3] if transparent else values.reshape(*values.shape[:2], -1)
    marked: NDArray[np.bool_] = colours.any(axis=2)
    return marked & values[..., 3] if transparent else marked


def _decode_deep_grey(picture: Image.Image) -> NDArray[np.float32]:
    grey = np.asarray(picture, dtype=np.float32)
    limit = 1.0 if picture.mode == "F" else 65535.0
    if not (np.isfinite(grey).all() and grey.min() >= 0 and grey.max() <= limit):
        raise InputError(
            f"expected grey values in [0, {limit:g}], got [{grey.min():g}, {grey.max():g}] in mode "
            f"{picture.mode}. Rescale the image, or pass it as an array."
        )
    return np.repeat(grey[:, :, None] / np.float32(limit), 3, axis=2)


def as_image(value: ImageLike) -> NDArray[np.float32]:
    """Turn anything that a user may pass as an image into (H, W, 3) float32 RGB in [0, 1].

    Args:
        value: a path, 'example:cat' or another bundled photograph, a Pillow image, or an array:
            (H, W, 3) or grey (H, W), uint8 in [0, 255] or floating point in [0, 1]. Values beyond
            it by no more than rounding are 0 and 1.

    Returns:
        (H, W, 3) float32 in [0, 1], a contiguous copy.

    Raises:
        InputError: the shape, dtype or range is another, or values are not finite.
    """
    if isinstance(value, str) and value.startswith("example:"):
        return example_image(value.removeprefix("example:"))
    if isinstance(value, str | Path):
        return load_image(value)
    if isinstance(value, Image.Image):
        try:
            return _decode(value)
        except (OSError, SyntaxError) as error:  # Pillow decodes a file only now
            raise InputError(f"cannot decode the image: {error}. It looks damaged.") from error
    return _check_array(value)


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
        raise InputError(f"expected an example among {', '.join(EXAMPLES)}, got {name!r}.")
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
