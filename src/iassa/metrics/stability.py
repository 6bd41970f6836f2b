"""Stability: how similar the maps are that a method makes of one image with several seeds.

The means over all pairs of maps of their rank correlation and of the overlap of their most salient
pixels (see `similarity`). A method without randomness has 1. Alvarez-Melis and Jaakkola: On the
Robustness of Interpretability Methods, 2018, change the image a little; here only the seed changes.
A stable map may still be wrong: one that ignores the model is perfectly stable, but
`randomisation` finds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iassa.errors import InputError
from iassa.metrics.overlap import as_map
from iassa.metrics.similarity import correlate, mark_top, share_of_either, standardise_ranks


@dataclass(frozen=True)
class Stability:
    """How similar the maps of several seeds are: means over pairs, higher is better.

    Attributes:
        rank_correlation: Spearman's, in [-1, 1].
        top_overlap: intersection over union of the most salient pixels, in [0, 1].
    """

    rank_correlation: float
    top_overlap: float


def stability(saliencies: Iterable[ArrayLike], *, share: float = 0.1) -> Stability:
    """Compare maps of one image, one target and one method, of different seeds.

    Args:
        saliencies: 2 maps (H, W) or more, finite: a list, or an array (M, H, W).
        share: of the pixels that count as the most salient, in (0, 1).

    Returns:
        The means over the M (M - 1) / 2 pairs. A flat map agrees with no other, flat or not.

    Raises:
        InputError: there are fewer than 2 maps, their sizes differ, or an argument has another
            shape, dtype or range.

    Example:
        >>> rising = np.arange(20.0).reshape(4, 5)
        >>> stability([rising, rising, -rising])
        Stability(rank_correlation=-0.3333333333333333, top_overlap=0.3333333333333333)
    """
    maps = [as_map(saliency) for saliency in saliencies]
    if len(maps) < 2:
        raise InputError(f"expected 2 maps or more, got {len(maps)}. Explain with another seed.")
    sizes = sorted({saliency.shape for saliency in maps})
    if len(sizes) > 1:
        raise InputError(f"expected maps of one size, got {sizes}. Take maps of one image.")
    ranks = [standardise_ranks(saliency) for saliency in maps]
    tops: list[NDArray[np.bool_]] = [mark_top(saliency, share) for saliency in maps]
    return Stability(
        rank_correlation=float(np.mean([correlate(a, b) for a, b in combinations(ranks, 2)])),
        top_overlap=float(np.mean([share_of_either(a, b) for a, b in combinations(tops, 2)])),
    )
