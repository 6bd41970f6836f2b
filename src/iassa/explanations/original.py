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

from iassa.checks import fits
from iassa.errors import require
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
        kept as it is, and has no original. Of another the picture has 8 bits a channel.
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


def describe(picture: NDArray[np.float32], original: Original | None) -> dict[str, Any]:
    """What JSON holds of an image: its size, and the digest of one that was scaled down."""
    size = {"size": list(size_of(picture, original))}
    return size if original is None else {**size, "digest": original.digest}


def pack(picture: NDArray[np.float32], original: Original | None) -> dict[str, NDArray[Any]]:
    """The arrays of an image: of 8 bits its bytes, which are enough and a tenth of the size."""
    planes = {} if original is None else {"seen": original.seen}
    return {name: _pack(pixels) for name, pixels in {"image": picture, **planes}.items()}


def unpack(
    described: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.float32], Original | None]:
    """A picture and its original, as `describe` and `pack` gave them.

    Raises:
        InputError: they do not fit.
        KeyError: a part is missing.
    """
    picture = _unpack(arrays["image"])
    if "digest" not in described:
        return picture, None
    seen, size = _unpack(arrays["seen"]), tuple(described["size"])
    require(
        fits(size, tuple[int, int]) and seen.ndim == 3 and len(seen) == 3,
        f"expected an image (3, h, w) and the size of the original, got {seen.shape} and {size}. "
        "Make the explanation again.",
    )
    return picture, Original((size[0], size[1]), str(described["digest"]), seen)


def _pack(pixels: NDArray[np.float32]) -> NDArray[Any]:
    packed = np.round(pixels * 255).astype(np.uint8)
    return packed if np.array_equal(_unpack(packed), pixels) else pixels


def _unpack(pixels: NDArray[Any]) -> NDArray[np.float32]:
    return pixels.astype(np.float32) / np.float32(255) if pixels.dtype == np.uint8 else pixels
