"""The random-logit check: does the map go with the class that it is of?

Sixt, Granz, Landgraf: When Explanations Lie: Why Many Modified BP Attributions Fail, ICML 2020:
a method whose maps of two classes are alike shows the image, not the decision. The other
class is drawn at random. `iassa.retarget` gives its map from the same masks, without a call.

Two maps that differ need not be right. Classes of one kind, as two breeds of dogs, have maps that
are rightly alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike

from iassa.metrics.similarity import rank_correlation, structural_similarity


@dataclass(frozen=True)
class RandomLogit:
    """How like the map of a class is to that of another class. Lower is better.

    Attributes:
        rank_correlation: Spearman's, in [-1, 1].
        structural_similarity: of the maps as pictures, in [-1, 1].
    """

    rank_correlation: float
    structural_similarity: float


def random_logit(saliency: ArrayLike, other: ArrayLike) -> RandomLogit:
    """Compare the map of a class with that of another class, of one image and one method.

    Args:
        saliency: (H, W) finite, 11 pixels or more along each axis.
        other: (H, W) finite, of a class drawn at random.

    Returns:
        The similarities.

    Raises:
        InputError: another shape or dtype, values that are not finite, maps of unlike sizes or
            smaller than 11 pixels.

    Example:
        >>> import numpy as np
        >>> rising = np.arange(144.0).reshape(12, 12)
        >>> random_logit(rising, 2 * rising), random_logit(rising, -rising).rank_correlation
        (RandomLogit(rank_correlation=1.0, structural_similarity=1.0), -1.0)
    """
    return RandomLogit(
        rank_correlation=rank_correlation(saliency, other),
        structural_similarity=structural_similarity(saliency, other),
    )
