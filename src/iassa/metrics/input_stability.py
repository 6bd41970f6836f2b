"""Stability under input noise: how similar the maps of nearly equal images are.

Alvarez-Melis, Jaakkola: On the Robustness of Interpretability Methods, 2018, change the image a
little and compare the maps. Yeh, Hsieh, Suggala, Inouye, Ravikumar: On the (In)fidelity and
Sensitivity of Explanations, NeurIPS 2019, take the largest relative change, max-sensitivity. Both
are here. The model may rightly answer another way about another image, so keep the noise small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iassa.errors import require
from iassa.image import as_image
from iassa.metrics.overlap import as_map
from iassa.metrics.similarity import rank_correlation, top_overlap


@dataclass(frozen=True)
class InputStability:
    """The map of the image against those of noisy copies.

    Attributes:
        rank_correlation: Spearman's, the mean over copies, in [-1, 1]. Higher is better.
        top_overlap: intersection over union of the most salient pixels, the mean, in [0, 1].
        max_sensitivity: largest ||map' - map|| / ||map||, Euclidean. Lower is better; infinite if
            the map is 0 everywhere and one of the others is not.
    """

    rank_correlation: float
    top_overlap: float
    max_sensitivity: float


def input_stability(
    explain: Callable[[NDArray[np.float32]], ArrayLike],
    image: ArrayLike,
    *,
    noise: float = 0.02,
    repeats: int = 5,
    seed: int = 0,
    share: float = 0.1,
) -> InputStability:
    """Explain an image, and noisy copies of it: 1 + `repeats` explanations.

    Args:
        explain: image (H, W, 3) -> map (H, W), with the same seed and target each time.
        image: (H, W, 3) in [0, 1].
        noise: uniform in [-noise, noise] is added to each value and the result cut to [0, 1];
            0.02 is 5 of 255 levels. In (0, 1].
        repeats: noisy copies, 1 or more.
        seed: of the noise, 0 or more.
        share: of the pixels that count as the most salient, in (0, 1).

    Returns:
        The similarities.

    Raises:
        InputError: an argument has another shape, dtype or range, or the maps cannot be compared.

    Example:
        >>> image = np.random.default_rng(1).random((6, 8, 3)).astype(np.float32)
        >>> input_stability(lambda image: np.diff(np.arange(54.0).reshape(6, 9)) * 2, image)
        InputStability(rank_correlation=0.0, top_overlap=0.0, max_sensitivity=0.0)
    """
    image = as_image(image)
    require(0 < noise <= 1, f"expected noise in (0, 1], got {noise}. Use 0.02.")
    require(repeats >= 1, f"expected 1 repeat or more, got {repeats}. Use 5.")
    require(seed >= 0, f"expected a seed of 0 or more, got {seed}. Use 0.")
    rng = np.random.default_rng(seed)
    saliency = as_map(explain(image))
    others = []
    for _ in range(repeats):
        offsets = rng.uniform(-noise, noise, image.shape)
        others.append(as_map(explain((image + offsets).clip(0, 1).astype(np.float32))))
    correlations = [rank_correlation(saliency, other) for other in others]
    overlaps = [top_overlap(saliency, other, share=share) for other in others]
    return InputStability(
        rank_correlation=float(np.mean(correlations)),
        top_overlap=float(np.mean(overlaps)),
        max_sensitivity=max(_relative_change(saliency, other) for other in others),
    )


def _relative_change(saliency: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    change, length = np.linalg.norm(other - saliency), np.linalg.norm(saliency)
    if length == 0:
        return float("inf") if change > 0 else 0.0
    return float(change / length)
