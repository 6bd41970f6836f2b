"""Superpixels: several SLIC segmentations of one image, coarse to fine."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.image import resize

__all__ = ["Segmentations", "segment"]

# SLIC is run at this many pixels at most and its labels are enlarged: finer outlines matter little
# to a network, and twelve segmentations take twice the time at 224 x 224, five seconds at 1024.
MAX_PIXELS = 160 * 160
KEPT = 1 / 3  # of the segments asked for, the fewest that a segmentation may end with
MOST_DOUBLINGS = 10  # of the compactness; squares are left by then
ITERATIONS = 5  # k-means steps; ten, scikit-image's default, cost twice and move hardly a border


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
    height, width = image.shape[-2:]
    shrink = min(1.0, (MAX_PIXELS / (height * width)) ** 0.5)
    seen = (max(1, int(height * shrink)), max(1, int(width * shrink)))
    pixels = resize(image, seen).permute(1, 2, 0).cpu().numpy()
    wanted = tuple(n for n in counts for _ in compactness)
    # Each pixel takes the label at its centre; in NumPy, as it is too small a work for threads.
    rows = (np.arange(height) * 2 + 1) * seen[0] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * seen[1] // (2 * width)
    labels = np.empty((len(wanted), height, width), np.int32)
    for n, (count, compact) in enumerate(itertools.product(counts, compactness)):
        labels[n] = _slic(pixels, count, compact)[np.ix_(rows, columns)]
    return Segmentations(torch.from_numpy(labels).to(image.device), 1 + int(labels.max()), wanted)


def _slic(pixels: NDArray[np.float32], count: int, compactness: float) -> NDArray[np.integer]:
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
            max_num_iter=ITERATIONS,
            start_label=0,
        )
        if labels.max() + 1 >= enough:
            break
    return labels
