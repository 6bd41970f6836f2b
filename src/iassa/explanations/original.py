"""What an explanation keeps of a large image: a picture of it, and the image as it was explained.

A photograph has a hundred times the pixels that a model looks at, and a map has no more to say than
the model saw. So the picture and the maps have at most `LONGEST` pixels on the longer side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.archives import take_array
from iassa.checks import Within
from iassa.image import resize, to_planes
from iassa.models.identity import digest_arrays

LONGEST = 512  # pixels of the longer side


@dataclass(frozen=True, eq=False)
class Original:
    """What is known of an image that is larger than the picture that is kept of it.

    Attributes:
        size: (height, width) of the image.
        digest: of its pixels, see `digest_arrays`.
        seen: (3, h, w) float32 in [0, 1], the image as the black box saw it, to go on from.
    """

    size: tuple[int, int]
    digest: str
    seen: NDArray[np.float32]


def keep(image: NDArray[np.float32], seen: Tensor) -> tuple[NDArray[np.float32], Original | None]:
    """What an explanation keeps of an image.

    Args:
        image: (H, W, 3) float32 in [0, 1], as it was given.
        seen: (3, h, w) float32, as the black box sees it.

    Returns:
        A picture of it, and what it was. An image of at most `LONGEST` pixels on the longer side is
        kept as it is, and has no original. The picture of a larger one has 8 bits a channel.
    """
    size = (image.shape[0], image.shape[1])
    if bound(size) == size:
        return image, None
    picture = to_planes(image, bound(size)).permute(1, 2, 0).mul(255).round().div(255)
    original = Original(size, digest_arrays([image]), seen.cpu().numpy())
    return np.ascontiguousarray(picture.numpy()), original


def bound(size: tuple[int, int]) -> tuple[int, int]:
    """The size (height, width) of the picture and the maps of an image.

    Example:
        >>> bound((3000, 4000)), bound((512, 300)), bound((9, 9000))
        ((384, 512), (512, 300), (1, 512))
    """
    longest = max(size)
    if longest <= LONGEST:
        return size
    height, width = (max(1, round(side * LONGEST / longest)) for side in size)
    return height, width


def resize_maps(maps: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """Maps (..., h, w) at another size, infinite where they are infinite."""
    finite = maps.isfinite()
    resized = resize(torch.where(finite, maps, 0.0), size)
    if not finite.all():
        # The weights of a resize add up to 1 but for rounding.
        resized = torch.where(resize(finite.float(), size) < 0.999, torch.inf, resized)
    return resized.cpu().numpy()


def size_of(picture: NDArray[np.float32], original: Original | None) -> tuple[int, int]:
    """(height, width) of the image as it was given."""
    return (picture.shape[0], picture.shape[1]) if original is None else original.size


def digest_image(picture: NDArray[np.float32], original: Original | None) -> str:
    """Digest of the pixels of the image as it was given, see `digest_arrays`."""
    return digest_arrays([picture]) if original is None else original.digest


def describe(picture: NDArray[np.float32], original: Original | None) -> dict[str, Any]:
    """What JSON holds of an image: its size, and the digest of one that was scaled down."""
    size = {"size": list(size_of(picture, original))}
    return size if original is None else {**size, "digest": original.digest}


def pack(picture: NDArray[np.float32], original: Original | None) -> dict[str, NDArray[Any]]:
    """The arrays of an image: of 8 bits its bytes, which are enough and a tenth of the size."""
    planes = {} if original is None else {"seen": original.seen}
    return {name: _pack(pixels) for name, pixels in {"image": picture, **planes}.items()}


def unpack(
    size: tuple[int, int], digest: str | None, arrays: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.float32], Original | None]:
    """A picture and its original, as `describe` and `pack` gave them.

    Raises:
        InputError: an array is missing, or does not fit.
    """
    if digest is None:
        return _take(arrays, "image", (*size, 3)), None
    seen = _take(arrays, "seen", (3, None, None))
    return _take(arrays, "image", (*bound(size), 3)), Original(size, digest, seen)


def _take(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | None, ...]
) -> NDArray[np.float32]:
    pixels = take_array(arrays, name, shape, (np.uint8, np.float32))
    if pixels.dtype == np.float32:
        return take_array(arrays, name, shape, np.float32, Within(0, 1))
    return _unpack(pixels)


def _pack(pixels: NDArray[np.float32]) -> NDArray[Any]:
    packed = np.round(pixels * 255).astype(np.uint8)
    return packed if np.array_equal(_unpack(packed), pixels) else pixels


def _unpack(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    whole = pixels.astype(np.float32)
    whole /= np.float32(255)  # in place: it may be large
    return whole
