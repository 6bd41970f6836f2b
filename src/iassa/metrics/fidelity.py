"""Mu-fidelity: do the sums of the map over sets of pixels tell how much the score drops with them?

Bhatt, Weller, Moura: Evaluating and Aggregating Feature-based Model Explanations, IJCAI 2020,
section 4.1; sensitivity-n of Ancona et al., ICLR 2018, is the same with sets of n features. Random
sets of cells are replaced by a baseline, and the drops of the score correlated with the sums of the
map over the same pixels. Bhatt et al. take Pearson's correlation. Here it is Spearman's, as in the
tables of Fel et al., which does not depend on the unit of the map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iassa.errors import require
from iassa.image import as_image
from iassa.metrics.causal import Images, as_fill, check_scores
from iassa.metrics.overlap import as_map
from iassa.metrics.similarity import rank_correlation


@dataclass(frozen=True, eq=False)
class Fidelity:
    """What the map said and what the black box did, for each set.

    Attributes:
        sums: (M,) float64, of the map over the pixels of each set.
        drops: (M,) float64, score of the image minus its score without the set.
    """

    sums: NDArray[np.float64]
    drops: NDArray[np.float64]

    @property
    def correlation(self) -> float:
        """Spearman's, in [-1, 1]. Higher is better; 0 if all sums or all drops are equal."""
        return rank_correlation(self.sums[None], self.drops[None])


def mu_fidelity(
    saliency: ArrayLike,
    image: ArrayLike,
    black_box: Callable[[Images], ArrayLike],
    weights: ArrayLike,
    *,
    baseline: ArrayLike = 0.5,
    cells: int = 9,
    share: float = 0.2,
    num_sets: int = 200,
    seed: int = 0,
    batch_size: int = 16,
) -> Fidelity:
    """Ask about random sets of cells; 1 + `num_sets` images are scored.

    Args:
        saliency: (H, W) finite.
        image: (H, W, 3) in [0, 1].
        black_box: images (N, H, W, 3) float32 in [0, 1] -> scores (N, K).
        weights: (K,) of the target.
        baseline: replaces the pixels of a set, in [0, 1]: a number, (3,) or (H, W, 3).
        cells: the image is divided into cells x cells; at most as many as pixels along an axis.
        share: of the cells that are in a set, in (0, 1); rounded, at least one.
        num_sets: sets, 2 or more.
        seed: of the sets, 0 or more.
        batch_size: the most images in a call of the black box.

    Returns:
        Sums, drops and their correlation.

    Raises:
        InputError: an argument has another shape, dtype or range.
        BlackBoxError: the scores are not (N, K) or not finite.

    Example:
        >>> image = np.ones((4, 6, 3), dtype=np.float32)
        >>> left = lambda images: images[:, :, :3].mean(axis=(1, 2, 3))[:, None]
        >>> saliency = np.array([[1.0, 1, 1, 0, 0, 0]] * 4)
        >>> round(mu_fidelity(saliency, image, left, [1.0], cells=2, share=0.5).correlation, 9)
        1.0
    """
    saliency, image = as_map(saliency), as_image(image)
    size = image.shape[:2]
    require(saliency.shape == size, f"expected a map {size}, got {saliency.shape}. Resize it.")
    most = min(size)
    require(1 <= cells <= most, f"expected cells from 1 to {most}, got {cells}. Use 9.")
    require(0 < share < 1, f"expected a share of cells in (0, 1), got {share}. Use 0.2.")
    require(num_sets >= 2, f"expected 2 sets or more, got {num_sets}. Use 200.")
    require(seed >= 0, f"expected a seed of 0 or more, got {seed}. Use 0.")
    require(batch_size >= 1, f"expected batch_size of at least 1, got {batch_size}. Raise it.")
    fill, weights = as_fill(baseline, image.shape), np.asarray(weights, dtype=np.float64)
    sets = _draw_sets(size, cells, share, num_sets, seed)
    drops = np.empty(num_sets)
    whole = check_scores(black_box(image[None].copy()), 1, weights.size)[0] @ weights
    for first in range(0, num_sets, batch_size):
        batch = sets[first : first + batch_size]
        images = np.where(batch[..., None], fill, image)
        answer = check_scores(black_box(images), len(batch), weights.size)
        drops[first : first + len(batch)] = whole - answer @ weights
    sums = np.array([saliency[each].sum() for each in sets])
    return Fidelity(sums=sums, drops=drops)


def _draw_sets(
    size: tuple[int, ...], cells: int, share: float, num_sets: int, seed: int
) -> NDArray[np.bool_]:
    """Pixels of each set, (M, H, W) bool."""
    rng = np.random.default_rng(seed)
    num_chosen = max(1, round(share * cells**2))
    chosen = np.zeros((num_sets, cells**2), dtype=np.bool_)
    for each in chosen:
        each[rng.choice(cells**2, num_chosen, replace=False)] = True
    rows, columns = (np.arange(length) * cells // length for length in size)
    return chosen.reshape(num_sets, cells, cells)[:, rows[:, None], columns]
