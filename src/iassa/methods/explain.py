"""`iassa.explain`: an image and a black box go in, an explanation comes out."""

from __future__ import annotations

from typing import Unpack

from iassa.explanations.explanation import Explanation
from iassa.image import ImageLike
from iassa.methods.engine.base import Explainer, RunOptions
from iassa.methods.registry import open_method
from iassa.models.opening import BlackBoxLike

__all__ = ["explain"]


def explain(
    image: ImageLike,
    black_box: BlackBoxLike = "efficientnet-lite0",
    *,
    method: str | Explainer = "iassa",
    **options: Unpack[RunOptions],
) -> Explanation:
    """Explain what a black box looks at in an image.

    Args:
        image: a path, a Pillow image or an array (H, W, 3), uint8 or floating point in [0, 1].
        black_box: any callable, images (N, H, W, 3) float32 in [0, 1] -> scores (N, K), a torch
            module, or the name of a model.
        method: a name, or an instance with hyperparameters of your own.
        options: `target`, `calls`, `seconds`, `tolerance`, `seed`, `batch_size`, `keep`, `device`,
            `progress` and `cancel`, as in `Explainer.iterate`.

    Returns:
        The explanation.

    Raises:
        InputError: an argument that cannot be used.
        BlackBoxError: the black box failed; its `explanation` holds the map so far.
        CancelledError: cancelled before there was a map.

    Example:
        >>> import numpy as np, iassa
        >>> image = np.zeros((24, 32, 3), np.float32)
        >>> image[6:12, 8:16] = 1  # a bright patch, and a black box that looks at nothing else
        >>> brightness = lambda images: images[:, 6:12, 8:16].mean(axis=(1, 2, 3))[:, None]
        >>> explanation = iassa.explain(image, brightness, method="rise", calls=200)
        >>> row, column = np.unravel_index(explanation.saliency[0].argmax(), (24, 32))
        >>> bool(6 <= row < 12 and 8 <= column < 16), explanation.calls
        (True, 200)
    """
    return open_method(method).explain(image, black_box, **options)
