"""How similar two maps are: by the order of all pixels, by the most salient ones, as pictures.

- Spearman's rank correlation, and the structural similarity of Wang, Bovik, Sheikh, Simoncelli:
  Image Quality Assessment: From Error Visibility to Structural Similarity, IEEE Trans. Image
  Processing, 2004: both used by Adebayo et al.: Sanity Checks for Saliency Maps, NeurIPS 2018;
- intersection over union of the most salient pixels, for which Ghorbani, Abid, Zou: Interpretation
  of Neural Networks is Fragile, AAAI 2019, count the intersection.

None depends on the scale or the offset of a map. A flat map has no order of pixels: its rank
correlation and its overlap with any map are 0, even with another flat map.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iassa.errors import InputError
from iassa.metrics.overlap import as_map

WINDOW = 11  # pixels: Wang et al.'s Gaussian of sigma 1.5, cut there


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's rank correlation over pixels, equal values sharing their mean rank.

    Args:
        first: (H, W) finite.
        second: (H, W) finite.

    Returns:
        In [-1, 1]: 1 for the same order, 0 for unrelated orders or a flat map, -1 for the reverse.

    Raises:
        InputError: a shape or dtype is another, values are not finite, or the sizes differ.

    Example:
        >>> round(rank_correlation(np.array([[1.0, 2.0, 9.0]]), np.array([[0.1, 0.3, 0.2]])), 9)
        0.5
    """
    first, second = _as_pair(first, second)
    return correlate(standardise_ranks(first), standardise_ranks(second))


def top_overlap(first: ArrayLike, second: ArrayLike, *, share: float = 0.1) -> float:
    """Intersection over union of the most salient pixels of two maps; see `mark_top`.

    Args:
        first: (H, W) finite.
        second: (H, W) finite.
        share: of the pixels, in (0, 1).

    Returns:
        In [0, 1]. Two unrelated maps have about share / (2 - share), a flat one 0.

    Raises:
        InputError: an argument has another shape, dtype or range, or the maps have unlike sizes.

    Example:
        >>> first = np.array([[9.0, 8.0, 7.0], [0.0, 0.0, 0.0]])
        >>> second = np.array([[7.0, 0.0, 0.0], [9.0, 0.0, 8.0]])
        >>> top_overlap(first, second, share=0.5)
        0.2
    """
    first, second = _as_pair(first, second)
    return share_of_either(mark_top(first, share), mark_top(second, share))


def structural_similarity(first: ArrayLike, second: ArrayLike) -> float:
    """SSIM of the maps as pictures, each stretched from its minimum to its maximum.

    Wang et al.'s constants and their Gaussian window of 11 x 11 pixels, by scikit-image.

    Args:
        first: (H, W) finite, 11 pixels or more along each axis.
        second: (H, W) finite.

    Returns:
        In [-1, 1]: 1 for the same picture, which two flat maps are.

    Raises:
        InputError: another shape or dtype, values that are not finite, maps of unlike sizes or
            smaller than the window.
    """
    from skimage.metrics import structural_similarity as ssim  # here, since it is slow to import

    first, second = _as_pair(first, second)
    if min(first.shape) < WINDOW:
        least = f"{WINDOW} x {WINDOW} pixels"
        raise InputError(f"expected maps of {least} or more, got {first.shape}. Enlarge them.")
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pair = (_stretch(first), _stretch(second))
    return float(ssim(*pair, data_range=1.0, **window))  # type: ignore[no-untyped-call]


def standardise_ranks(saliency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks of a map's pixels, scaled so that an inner product is a correlation.

    Args:
        saliency: (H, W) finite.

    Returns:
        (H W,) float64 of mean 0 and length 1; all 0 for a flat map.
    """
    row: NDArray[np.float64] = standardise_rows(saliency.reshape(1, -1))[0]
    return row


def standardise_rows(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same of several maps at once, each a row: (R, P) finite to (R, P) float64."""
    from scipy.stats import rankdata  # here, as it is slow to import

    ranks: NDArray[np.float64] = rankdata(values, axis=1) - (values.shape[1] + 1) / 2
    # Not a product by BLAS, whose threads cost more than so short a sum.
    lengths = np.sqrt(np.square(ranks).sum(1, keepdims=True))
    standardised: NDArray[np.float64] = ranks / np.where(lengths > 0, lengths, 1)
    return standardised


def correlate(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Inner product of two standardised ranks, clipped to [-1, 1]."""
    return float(np.clip((first * second).sum(), -1, 1))


def mark_top(saliency: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """The most salient pixels of a map, at most a share of all.

    Pixels of one value are all taken, or all left out if they would exceed the share. Taking the
    first of them would make two maps agree on pixels that neither of them ranks.

    Args:
        saliency: (H, W) finite.
        share: of the pixels, in (0, 1); it is rounded to pixels, at least one.

    Returns:
        (H, W) bool.

    Raises:
        InputError: the share is out of range.
    """
    if not 0 < share < 1:
        raise InputError(f"expected a share of the pixels in (0, 1), got {share}. Use 0.1.")
    num_top = max(1, round(share * saliency.size))
    if num_top >= saliency.size:
        return np.asarray(saliency > saliency.min())
    # The largest value that is not among the top.
    limit = np.partition(saliency, -num_top - 1, axis=None)[-num_top - 1]
    return np.asarray(saliency > limit)


def share_of_either(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Pixels in both masks over pixels in either; 0 for two empty masks."""
    either = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / either if either else 0.0


def _as_pair(
    first: ArrayLike, second: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = as_map(first), as_map(second)
    if first.shape != second.shape:
        raise InputError(
            f"expected maps of one size, got {first.shape} and {second.shape}. Resize one."
        )
    return first, second


def _stretch(saliency: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = saliency.min(), saliency.max()
    return (saliency - low) / (high - low) if high > low else np.zeros_like(saliency)
