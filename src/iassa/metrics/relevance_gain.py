"""Symmetric relevance gain (SRG): the score while the most relevant pixels go last, minus first.

Bluecher, Vielhaben, Strodthoff: Decoupling Pixel Flipping and Occlusion Strategy for Consistent XAI
Benchmarks, TMLR 2024. Deletion alone and insertion alone rank methods by the fill that hides
pixels. Both of these curves remove pixels with the same fill, so what a fill does to any image
cancels, and methods rank alike over forty fills.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from iassa.metrics.causal import Curve, Images, Normalisation, Remove, deletion
from iassa.metrics.overlap import as_map


@dataclass(frozen=True, eq=False)
class RelevanceGain:
    """The two curves, both from the image to the fill.

    Attributes:
        least_first: scores while pixels go in order of rising saliency.
        most_first: scores while they go in order of falling saliency.
    """

    least_first: Curve
    most_first: Curve

    @property
    def gain(self) -> float:
        """Difference of the areas, in units of the score: higher is better, a flat map has 0."""
        return self.least_first.area - self.most_first.area


def relevance_gain(
    saliency: ArrayLike,
    image: ArrayLike,
    black_box: Callable[[Images], ArrayLike],
    weights: ArrayLike,
    *,
    baseline: ArrayLike | Remove = 0.5,
    pixels_per_step: int = 1792,
    batch_size: int = 16,
    normalise: Normalisation = "none",
) -> RelevanceGain:
    """Remove pixels in both orders.

    Args:
        saliency: (H, W) finite; only its order counts. Equal pixels go in row order.
        image: (H, W, 3) in [0, 1].
        black_box: images (N, H, W, 3) float32 in [0, 1] -> scores (N, K).
        weights: (K,) of the target.
        baseline: replaces removed pixels; see `deletion`.
        pixels_per_step: pixels that change between two scores; 28 steps at 224 x 224.
        batch_size: the most images in a call of the black box.
        normalise: how the scores are normalised; see `deletion`.

    Returns:
        Two curves of S + 1 scores, S = ceil(H W / pixels_per_step), and their gain.

    Raises:
        InputError: an argument has another shape, dtype or range, or the score to normalise by is
            not above 0.
        BlackBoxError: the scores are not (N, K) or not finite.

    Example:
        >>> image = np.full((4, 6, 3), 0.5, dtype=np.float32)
        >>> left = lambda images: images[:, :, :3].mean(axis=(1, 2, 3))[:, None]
        >>> saliency = np.array([[1.0, 1, 1, 0, 0, 0]] * 4)
        >>> curves = relevance_gain(saliency, image, left, [1.0], baseline=0, pixels_per_step=12)
        >>> curves.least_first.scores.tolist(), curves.most_first.scores.tolist(), curves.gain
        ([0.5, 0.5, 0.0], [0.5, 0.0, 0.0], 0.25)
    """
    saliency = as_map(saliency)

    def remove(order: ArrayLike) -> Curve:
        return deletion(
            order,
            image,
            black_box,
            weights,
            baseline=baseline,
            pixels_per_step=pixels_per_step,
            batch_size=batch_size,
            normalise=normalise,
        )

    return RelevanceGain(least_first=remove(-np.asarray(saliency)), most_first=remove(saliency))
