"""Superpixels: several SLIC segmentations of one image, coarse to fine, or a single fine one."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.image import resize

Algorithm: TypeAlias = Literal["quickshift", "slic"]

# SLIC is run at this many pixels at most and its labels are enlarged: finer outlines matter little
# to a network, and twelve segmentations take twice the time at 224 x 224, five seconds at 1024.
MAX_PIXELS = 160 * 160
KEPT = 1 / 3  # of the segments asked for, the fewest that a segmentation may end with
MOST_DOUBLINGS = 10  # of the compactness; squares are left by then
ITERATIONS = 5  # k-means steps; ten, scikit-image's default, cost twice and move hardly a border
# A single segmentation is made at the size of most networks: quickshift takes a quarter of a second
# there, and more of an image would make more segments, not better ones.
MAX_PIXELS_ONCE = 224 * 224


@dataclass(frozen=True, eq=False)
class Segmentations:
    """L segmentations of one image.

    Attributes:
        labels: (L, H, W) int32 on the image's device, the segment of each pixel, from 0.
        num_segments: the most segments of any.
        wanted: (L,) the number of segments that was asked for.
    """

    labels: Tensor
    num_segments: int
    wanted: tuple[int, ...]

    def of(self, counts: tuple[int, ...]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Numbers of the segmentations that were asked for with these counts."""
        return np.flatnonzero(np.isin(self.wanted, counts))

    def digest(self) -> str:
        """SHA-256 of the labels: a mask of superpixels means nothing without them."""
        labels = self.labels.cpu().numpy()
        content = f"{labels.shape}".encode() + labels.astype("<u2").tobytes()
        return hashlib.sha256(content).hexdigest()


def segment(
    image: Tensor, counts: tuple[int, ...], compactness: tuple[float, ...]
) -> Segmentations:
    """Segment an image with SLIC (Achanta et al., 2012), once for each count and compactness.

    Args:
        image: (3, H, W) float32 in [0, 1].
        counts: approximate numbers of segments.
        compactness: SLIC's balance of colour against distance; higher is squarer.

    Returns:
        len(counts) * len(compactness) segmentations, counts in the outer loop.
    """
    pixels, enlarge = shrink(image, MAX_PIXELS)
    wanted = tuple(n for n in counts for _ in compactness)
    labels = np.empty((len(wanted), *image.shape[-2:]), np.int32)
    for n, (count, compact) in enumerate(itertools.product(counts, compactness)):
        labels[n] = _slic(pixels, count, compact)[enlarge]
    return Segmentations(torch.from_numpy(labels).to(image.device), 1 + int(labels.max()), wanted)


def segment_once(image: Tensor, algorithm: Algorithm, count: int) -> Segmentations:
    """Segment an image once, as the `lime` package and those who use it do.

    Args:
        image: (3, H, W) float32 in [0, 1].
        algorithm: 'quickshift' (Vedaldi and Soatto, 2008) with the settings of the package, or
            'slic' with compactness 10 and a Gaussian of 1 pixel before it.
        count: approximate number of segments; quickshift, which finds its own, takes none.

    Returns:
        One segmentation.
    """
    pixels, enlarge = shrink(image, MAX_PIXELS_ONCE)
    if algorithm == "quickshift":
        found = _quickshift(pixels)
    else:
        found = _slic(pixels, count, compactness=10.0, sigma=1.0, iterations=10)
    labels = found[enlarge][None].astype(np.int32)
    return Segmentations(torch.from_numpy(labels).to(image.device), 1 + int(labels.max()), (count,))


def shrink(image: Tensor, most: int) -> tuple[NDArray[np.float32], tuple[NDArray[np.integer], ...]]:
    """An image (h, w, 3) of this many pixels at most, and the index that enlarges its labels."""
    height, width = image.shape[-2:]
    shrink = min(1.0, (most / (height * width)) ** 0.5)
    seen = (max(1, int(height * shrink)), max(1, int(width * shrink)))
    # On the CPU: the superpixels must be the same wherever a run goes on.
    pixels: NDArray[np.float32] = resize(image.cpu(), seen).permute(1, 2, 0).numpy()
    # Each pixel takes the label at its centre; in NumPy, as it is too small a work for threads.
    rows = (np.arange(height) * 2 + 1) * seen[0] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * seen[1] // (2 * width)
    return pixels, np.ix_(rows, columns)


def _quickshift(pixels: NDArray[np.float32]) -> NDArray[np.integer]:
    """Quickshift with the `lime` package's settings; its ties are broken from a fixed seed."""
    from skimage.segmentation import quickshift  # here, as SLIC

    options = {"kernel_size": 4, "max_dist": 200, "ratio": 0.2, "rng": 42}
    labels: NDArray[np.integer] = quickshift(pixels, **options)  # type: ignore[no-untyped-call]
    return labels


def _slic(
    pixels: NDArray[np.float32],
    count: int,
    compactness: float,
    sigma: float = 0.0,
    iterations: int = ITERATIONS,
) -> NDArray[np.integer]:
    """SLIC, with the compactness doubled until enough segments are left.

    On a grainy image colour outweighs place, segments fall into crumbs and SLIC joins the crumbs:
    of noise a single segment is left. A mask of it would hide everything at once and say nothing.
    """
    from skimage.segmentation import slic  # here: half a second to import, and RISE needs none

    enough = KEPT * min(count, pixels.shape[0] * pixels.shape[1])
    for doubling in range(MOST_DOUBLINGS + 1):
        labels: NDArray[np.integer] = slic(
            pixels,
            count,
            compactness=compactness * 2**doubling,
            sigma=sigma,
            max_num_iter=iterations,
            start_label=0,
        )
        if labels.max() + 1 >= enough:
            break
    return labels
