"""The curves of one map: scores of the target while pixels go or come in order of saliency."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from iassa import metrics
from iassa.benchmark.protocol import ROAD, Protocol
from iassa.masks.baselines import open_baseline
from iassa.models.black_box import BlackBox
from iassa.models.targets import Target

CURVE_BATCH = 16  # images; more are no faster on a CPU
FILL_SEED = 0  # of noisy fills: the same for all methods and runs
LEAST_FIRST, MOST_FIRST = "least_first_", "most_first_"  # and the fill: names of curves


def ask_curves(
    saliency: NDArray[np.float32],
    image: NDArray[np.float32],
    black_box: BlackBox,
    target: Target,
    protocol: Protocol,
) -> dict[str, metrics.Curve]:
    """Deletion, insertion, and both orders of removal with each fill.

    Args:
        saliency: (H, W), of the size of the image.
        image: (H, W, 3) in [0, 1], at the size of the protocol.
        black_box: that is asked.
        target: whose score it is.
        protocol: how the curves are made.

    Returns:
        Curves by name; `summarise` makes metrics of them.
    """

    def score(images: NDArray[np.float32]) -> NDArray[np.float64]:
        """The score of the target alone, (N, 1)."""
        scores = black_box.call_without_copy(images).astype(np.float64)
        weights = np.zeros(scores.shape[1])
        weights[list(target.indices)] = target.weights
        return (scores @ weights)[:, None]

    options: dict[str, Any] = {"batch_size": CURVE_BATCH, "normalise": protocol.normalise}
    steps = options | {"pixels_per_step": protocol.pixels_per_step}
    blur = {"blur_size": protocol.blur_size, "blur_sigma": protocol.blur_sigma}
    given = (saliency, image, score, [1.0])
    curves = {
        "deletion": metrics.deletion(*given, baseline=protocol.fill, **steps),
        "insertion": metrics.insertion(*given, **steps | blur),
    }
    coarse = options | {"pixels_per_step": -(-saliency.size // protocol.gain_steps)}
    for fill in protocol.gain_fills:
        both = metrics.relevance_gain(*given, baseline=_open_fill(fill, image), **coarse)
        curves[LEAST_FIRST + fill] = both.least_first
        curves[MOST_FIRST + fill] = both.most_first
    return curves


def summarise(curves: Mapping[str, metrics.Curve]) -> dict[str, float]:
    """The metrics that are made of curves alone.

    Args:
        curves: as `ask_curves` returns them.

    Returns:
        The areas of deletion and insertion, their difference, the symmetric relevance gain with
        each fill ('gain_grey', ...) and its mean over the fills ('gain').
    """
    deleted, inserted = curves["deletion"].area, curves["insertion"].area
    gains = {
        f"gain_{fill}": metrics.RelevanceGain(curve, curves[MOST_FIRST + fill]).gain
        for name, curve in curves.items()
        if (fill := name.removeprefix(LEAST_FIRST)) != name
    }
    return {
        **({"gain": float(np.mean([*gains.values()]))} if gains else {}),
        "deletion": deleted,
        "insertion": inserted,
        "insertion_minus_deletion": inserted - deleted,
        **gains,
    }


def _open_fill(
    name: str, image: NDArray[np.float32]
) -> ArrayLike | Callable[[NDArray[np.bool_]], NDArray[np.float32]]:
    if name == ROAD:
        return metrics.linear_imputation(image, seed=FILL_SEED)
    planes = torch.from_numpy(np.array(image.transpose(2, 0, 1), order="C"))  # image is read-only
    return open_baseline(name, planes, FILL_SEED).permute(1, 2, 0).numpy()
