"""Overlap of a map with an annotation: IoU and F1 of the region above a threshold, or the best one.

The region is S > minimum + T (peak - minimum), T = 0.3 (Vasu and Long, WACV 2020, Eq. 7-8). The
minimum depends on the map:

- a map with a negative value has a natural zero, 'no effect': the minimum is 0, and the region is a
  part of the positive pixels;
- a map without a negative value (such as RISE's) has an arbitrary offset: its own minimum counts.

A region without a pixel has precision, recall, F1 and IoU 0.

The paper gives every metric at image level and at pixel level (Table 1). The value at pixel level
is that at image level divided by the number of activated pixels: those in the top 30 % of the map's
range. Where a high value is good, this rewards maps that mark fewer pixels. Where a low value is
good, as in deletion, it rewards maps that mark more: read it beside the image level, not alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iassa.checks import as_array
from iassa.errors import InputError


@dataclass(frozen=True)
class Overlap:
    """How well a region covers an annotation, each number in [0, 1], 1 for a perfect region.

    Attributes:
        iou: pixels in both over pixels in either.
        precision: share of the region that is annotated.
        recall: share of the annotation that is in the region.
        f1: harmonic mean of precision and recall.
    """

    iou: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class BestF1:
    """The best F1 that any threshold gives.

    Attributes:
        f1: in [0, 1].
        fraction: a threshold that gives it, as a fraction of the map's range in [0, 1). If several
            do, the highest.
    """

    f1: float
    fraction: float

    @property
    def iou(self) -> float:
        """The best IoU, at the same threshold: F1 / (2 - F1), which grows with F1."""
        return self.f1 / (2 - self.f1)


def threshold_region(saliency: ArrayLike, fraction: float = 0.3) -> NDArray[np.bool_]:
    """Pixels above a fraction of the map's range (Eq. 7-8).

    Args:
        saliency: (H, W) finite.
        fraction: T in [0, 1).

    Returns:
        (H, W) bool. It is empty for a flat map, and for one with negative but no positive values.

    Raises:
        InputError: an argument has another shape, dtype or range.
    """
    saliency = as_map(saliency)
    if not 0 <= fraction < 1:
        raise InputError(f"expected a threshold as a fraction in [0, 1), got {fraction}. Use 0.3.")
    minimum = natural_minimum(saliency)
    span = float(saliency.max()) - minimum
    if span <= 0:
        return np.zeros(saliency.shape, dtype=np.bool_)
    return np.asarray(saliency > minimum + fraction * span)


def measure_overlap(region: ArrayLike, annotation: ArrayLike) -> Overlap:
    """IoU, precision, recall and F1 of a region.

    Args:
        region: (H, W) bool.
        annotation: (H, W) bool, with one pixel set at least.

    Returns:
        The four numbers, all 0 for an empty region.

    Raises:
        InputError: another shape or dtype, or an empty annotation.

    Example:
        >>> region = np.array([[True, True, False], [False, False, False]])
        >>> annotation = np.array([[False, True, True], [False, False, False]])
        >>> measure_overlap(region, annotation)
        Overlap(iou=0.3333333333333333, precision=0.5, recall=0.5, f1=0.5)
    """
    region = as_array(region, "a region")
    if region.ndim != 2 or region.dtype != np.bool_:
        got = f"{region.shape} of {region.dtype}"
        raise InputError(f"expected a region (H, W) of dtype bool, got {got}. Threshold the map.")
    annotation = as_annotation(annotation, region.shape)
    inside = int(np.count_nonzero(region & annotation))
    marked, annotated = int(np.count_nonzero(region)), int(np.count_nonzero(annotation))
    return Overlap(
        iou=inside / (marked + annotated - inside),
        precision=inside / marked if marked else 0.0,
        recall=inside / annotated,
        f1=2 * inside / (marked + annotated),
    )


def overlap_at(saliency: ArrayLike, annotation: ArrayLike, *, fraction: float = 0.3) -> Overlap:
    """Overlap of the region above a fraction of the map's range.

    Args:
        saliency: (H, W) finite.
        annotation: (H, W) bool, with one pixel set at least.
        fraction: T in [0, 1).

    Returns:
        IoU, precision, recall and F1.

    Raises:
        InputError: an argument has another shape, dtype or range, or the annotation is empty.
    """
    return measure_overlap(threshold_region(saliency, fraction), annotation)


def best_f1(saliency: ArrayLike, annotation: ArrayLike) -> BestF1:
    """The best F1 over all thresholds, exactly: every distinct value above the minimum is one.

    Pixels at the minimum belong to no region. Otherwise the whole image would be one, and a flat
    map would earn F1.

    Args:
        saliency: (H, W) finite, float32 (values that differ by less may fall on one threshold).
        annotation: (H, W) bool, with one pixel set at least.

    Returns:
        The F1 and a threshold that gives it; F1 0 for a flat map.

    Raises:
        InputError: an argument has another shape or dtype, or the annotation is empty.

    Example:
        >>> saliency = np.array([[0.9, 0.6, 0.1], [0.5, 0.0, 0.0]], dtype=np.float32)
        >>> annotation = np.array([[True, True, False], [False, False, False]])
        >>> best = best_f1(saliency, annotation)
        >>> best.f1, round(best.fraction, 3)
        (1.0, 0.611)
    """
    saliency = as_map(saliency)
    annotation = as_annotation(annotation, saliency.shape)
    minimum = natural_minimum(saliency)
    span = float(saliency.max()) - minimum
    if span <= 0:
        return BestF1(f1=0.0, fraction=0.0)
    order = np.argsort(-saliency, axis=None)
    values = saliency.ravel()[order]
    above = values > minimum
    values = values[above]
    inside = np.cumsum(annotation.ravel()[order][above])
    # Only the last of equal values ends a region: a threshold takes all of them or none.
    ends = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    f1 = 2 * inside[ends] / (ends + 1 + np.count_nonzero(annotation))
    best = int(np.argmax(f1))
    lowest = values[ends[best]]
    below = values[ends[best + 1]] if best + 1 < len(ends) else minimum
    fraction = ((lowest - minimum) + (below - minimum)) / 2 / span
    return BestF1(float(f1[best]), float(fraction))


def as_map(saliency: ArrayLike) -> NDArray[np.float64]:
    """Check a map and make it float64, so that its order and range are exact.

    Args:
        saliency: (H, W) finite floating point.

    Returns:
        (H, W) float64.

    Raises:
        InputError: another shape or dtype, or values that are not finite.
    """
    array = as_array(saliency, "a map")
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"expected one map (H, W), got shape {array.shape}. Pass saliency[0].")
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"expected floating point values, got {array.dtype}. Convert the map.")
    if not np.isfinite(array).all():
        raise InputError("expected finite values in the map, got NaN or infinity. Clean it.")
    return array.astype(np.float64)


def as_annotation(annotation: ArrayLike, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Check an annotation.

    Args:
        annotation: (H, W) bool.
        size: (H, W) wanted.

    Returns:
        (H, W) bool.

    Raises:
        InputError: another shape or dtype, or no pixel set.
    """
    array = as_array(annotation, "an annotation")
    if array.dtype != np.bool_:
        raise InputError(
            f"expected an annotation of dtype bool, got {array.dtype}. Compare with 0."
        )
    if array.shape != size:
        got = f"got {array.shape}. Resize the map"
        raise InputError(f"expected an annotation of shape {tuple(size)}, like the map, {got}.")
    if not array.any():
        raise InputError("expected an annotation with a pixel set, got an empty one. Leave it out.")
    return array


def natural_minimum(saliency: NDArray[np.float64]) -> float:
    """The value of no relevance: 0 for a map with a negative value, otherwise its minimum."""
    return max(float(saliency.min()), 0.0)


def count_activated(saliency: ArrayLike, *, fraction: float = 0.7) -> int:
    """Number of activated pixels: S > minimum + fraction (peak - minimum).

    The minimum is 0 for a map with negative values, otherwise the map's own.

    Args:
        saliency: (H, W) finite.
        fraction: in [0, 1); 0.7 for the top 30 % of the range.

    Returns:
        At least 1, but 0 for a flat map and for one with only negative values.

    Raises:
        InputError: an argument has another shape, dtype or range.

    Example:
        >>> count_activated(np.array([[-9.0, 0.0, 7.0], [7.5, 8.0, 10.0]]))
        3
    """
    return int(np.count_nonzero(threshold_region(saliency, fraction)))


def pixel_level(value: float, num_activated: int) -> float:
    """A metric at pixel level.

    Args:
        value: the metric of the map at image level.
        num_activated: pixels that the map activates, of `count_activated`.

    Returns:
        value / num_activated, in units of the metric per pixel.

    Raises:
        InputError: the value is not finite, or no pixel is activated.
    """
    if not math.isfinite(value):
        raise InputError(f"expected a finite value, got {value}. Leave this image out.")
    if num_activated < 1:
        raise InputError(f"expected at least 1 activated pixel, got {num_activated}. Leave it out.")
    return value / num_activated
