"""Insertion and deletion: how the score moves as pixels go or come in order of their saliency.

Petsiuk, Das, Saenko: RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC
2018, section 4.2. Pixels change from a start image to an end image, most salient first, a fixed
number at each step; the black box scores the start and the image after every step:

- deletion: from the image to a constant; a good map makes the score fall at once, so a small area
  under the curve is good;
- insertion: from the blurred image to the image; a large area is good.

Image and map have one size, best that at which the black box sees the image: a step is then a fixed
number of pixels of what it sees. Resize both first (`iassa.image.to_planes`, `iassa.image.resize`);
the overlap with an annotation belongs to the size of the annotation.

A black box of ours is best passed as `black_box.call_without_copy`: the images are a view of planes
that are filled anew for each batch, so it needs no copy of them.

The curve is in score units, so a mean over images is ruled by those of which the model is sure.
`normalise` takes that out of deletion and insertion, each curve by its own scores:

- 'none': s, as Petsiuk et al. do;
- 'score': s / s(image), the share of the score that is left, as in the average drop of
  Chattopadhay et al.: Grad-CAM++, WACV 2018;
- 'range': (s - s(other)) / (s(image) - s(other)), other being the end that is not the image: 1 for
  the image and 0 for what hides it, as Schulz et al.: Restricting the Flow, ICLR 2020, normalise
  their degradation curves (by means over the dataset, where this is for one image).

Two points differ from the authors' code, both on purpose. Their blur pads with black, which frames
the start image with a dark border of its own; here the border is mirrored. Their kernel is scipy's
Gaussian folded at the edges of its 11 x 11 window, nearly a box; here it is the Gaussian itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iassa.errors import BlackBoxError, InputError
from iassa.image import as_image
from iassa.metrics.overlap import as_map

__all__ = ["Curve", "Normalisation", "causal_curve", "deletion", "gaussian_blur", "insertion"]

Images: TypeAlias = NDArray[np.float32]
Normalisation: TypeAlias = Literal["none", "score", "range"]


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores along the way from the start image to the end image.

    Attributes:
        scores: (S + 1,) float64, the score of the start image and after each of the S steps, as
            the black box gives them or normalised.
        fractions: (S + 1,) float64 in [0, 1], the share of pixels changed by then. Evenly spaced
            but for the last step, which takes the pixels that are left.
    """

    scores: NDArray[np.float64]
    fractions: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Area by the trapezoid rule over the fraction of pixels, in the units of the scores."""
        heights = (self.scores[1:] + self.scores[:-1]) / 2
        return float(heights @ np.diff(self.fractions))


def deletion(
    saliency: ArrayLike,
    image: ArrayLike,
    black_box: Callable[[Images], ArrayLike],
    weights: ArrayLike,
    *,
    baseline: ArrayLike = 0.5,
    pixels_per_step: int = 224,
    batch_size: int = 16,
    normalise: Normalisation = "none",
) -> Curve:
    """Deletion curve: pixels give way to a baseline, most salient first. Lower is better.

    Args:
        saliency: (H, W) finite; only its order counts.
        image: (H, W, 3) in [0, 1].
        black_box: images (N, H, W, 3) float32 in [0, 1] -> scores (N, K).
        weights: (K,) of the target.
        baseline: what takes the place of a deleted pixel, in [0, 1]: a number, (3,) or (H, W, 3).
            (0.485, 0.456, 0.406), ImageNet's mean, is the zero that Petsiuk et al. put into the
            normalised image; mid-grey is near it.
        pixels_per_step: pixels changed between two scores.
        batch_size: images that the black box gets at once, at most.
        normalise: what the scores are divided by, see above.

    Returns:
        The curve over S = ceil(H W / pixels_per_step) steps.

    Raises:
        InputError: an argument has another shape, dtype or range, or the score to normalise by is
            not above 0.
        BlackBoxError: the scores are not (N, K) or not finite.

    Example:
        >>> image = np.full((4, 6, 3), 0.5, dtype=np.float32)
        >>> brightness = lambda images: images.mean(axis=(1, 2, 3))[:, None]
        >>> curve = deletion(
        ...     image[..., 0], image, brightness, [1.0], baseline=0.0, pixels_per_step=6
        ... )
        >>> curve.scores.tolist(), curve.area
        ([0.5, 0.375, 0.25, 0.125, 0.0], 0.25)
    """
    image = as_image(image)
    _check_normalisation(normalise)
    scores = causal_curve(
        saliency,
        image,
        black_box,
        weights,
        start=image,
        end=_fill(baseline, image.shape),
        pixels_per_step=pixels_per_step,
        batch_size=batch_size,
    )
    scores = _normalise(scores, normalise, image_score=scores[0], other_score=scores[-1])
    return Curve(scores, _fractions(image.shape[0] * image.shape[1], pixels_per_step))


def insertion(
    saliency: ArrayLike,
    image: ArrayLike,
    black_box: Callable[[Images], ArrayLike],
    weights: ArrayLike,
    *,
    blur_size: int = 11,
    blur_sigma: float = 5.0,
    pixels_per_step: int = 224,
    batch_size: int = 16,
    normalise: Normalisation = "none",
) -> Curve:
    """Insertion curve: a blurred image is made sharp, most salient first. Higher is better.

    Args:
        saliency: (H, W) finite; only its order counts.
        image: (H, W, 3) in [0, 1].
        black_box: images (N, H, W, 3) float32 in [0, 1] -> scores (N, K).
        weights: (K,) of the target.
        blur_size: taps of the Gaussian along each axis, odd.
        blur_sigma: its standard deviation in pixels.
        pixels_per_step: pixels changed between two scores.
        batch_size: images that the black box gets at once, at most.
        normalise: what the scores are divided by, see above.

    Returns:
        The curve over S = ceil(H W / pixels_per_step) steps.

    Raises:
        InputError: an argument has another shape, dtype or range, or the score to normalise by is
            not above 0.
        BlackBoxError: the scores are not (N, K) or not finite.

    Example:
        >>> image = np.full((4, 6, 3), 0.5, dtype=np.float32)
        >>> brightness = lambda images: images.mean(axis=(1, 2, 3))[:, None]
        >>> insertion(image[..., 0], image, brightness, [2.0], pixels_per_step=10).area
        1.0
    """
    image = as_image(image)
    _check_normalisation(normalise)
    scores = causal_curve(
        saliency,
        image,
        black_box,
        weights,
        start=gaussian_blur(image, size=blur_size, sigma=blur_sigma),
        end=image,
        pixels_per_step=pixels_per_step,
        batch_size=batch_size,
    )
    scores = _normalise(scores, normalise, image_score=scores[-1], other_score=scores[0])
    return Curve(scores, _fractions(image.shape[0] * image.shape[1], pixels_per_step))


def causal_curve(
    saliency: ArrayLike,
    image: ArrayLike,
    black_box: Callable[[Images], ArrayLike],
    weights: ArrayLike,
    *,
    start: ArrayLike,
    end: ArrayLike,
    pixels_per_step: int = 224,
    batch_size: int = 16,
) -> NDArray[np.float64]:
    """Scores as pixels change from `start` to `end` in order of falling saliency.

    Equally salient pixels change in row order. Memory is that of one batch, whatever the number of
    steps is. The images handed over are valid during the call only: their buffer is used again.

    Args:
        saliency: (H, W) finite; only its order counts.
        image: (H, W, 3) in [0, 1]; the image that the map explains, which fixes H and W.
        black_box: images (N, H, W, 3) float32 in [0, 1] -> scores (N, K). The images are a view of
            planes (N, 3, H, W), so that a network which wants planes gets them without a copy.
        weights: (K,) of the target: the score is their inner product with the black box's scores.
        start: (H, W, 3) in [0, 1], the image of the first score.
        end: (H, W, 3) in [0, 1], the image of the last score.
        pixels_per_step: pixels changed between two scores.
        batch_size: images that the black box gets at once, at most.

    Returns:
        (S + 1,) float64 with S = ceil(H W / pixels_per_step).

    Raises:
        InputError: an argument has another shape, dtype or range.
        BlackBoxError: the scores are not (N, K) or not finite.
    """
    image, start, end = as_image(image), as_image(start), as_image(end)
    saliency = as_map(saliency)
    height, width = image.shape[:2]
    for name, got, size in (
        ("saliency", saliency.shape, image.shape[:2]),
        ("start", start.shape, image.shape),
        ("end", end.shape, image.shape),
    ):
        if got != size:
            raise InputError(
                f"expected {name} of shape {size}, like the image, got {got}. "
                "Resize it to the image, or the image to it."
            )
    weights = _as_weights(weights)
    _check_positive("pixels_per_step", pixels_per_step)
    _check_positive("batch_size", batch_size)

    order = np.argsort(-saliency, axis=None, kind="stable")
    # `canvas` is kept apart from the batch, so that a black box that works in place does no harm.
    canvas = _planes(start)
    target = _planes(end)
    num_scores = 1 + -(-order.size // pixels_per_step)
    scores = np.empty(num_scores)
    buffer = np.empty((min(batch_size, num_scores), 3, height, width), dtype=np.float32)
    for first in range(0, num_scores, len(buffer)):
        batch = buffer[: num_scores - first]
        for row, step in enumerate(range(first, first + len(batch))):
            if step > 0:
                pixels = order[(step - 1) * pixels_per_step : step * pixels_per_step]
                for plane, source in zip(canvas, target, strict=True):
                    plane[pixels] = source[pixels]
            batch[row].reshape(3, -1)[:] = canvas
        answer = _check_scores(black_box(batch.transpose(0, 2, 3, 1)), len(batch), weights.size)
        scores[first : first + len(batch)] = answer @ weights
    return scores


def gaussian_blur(image: ArrayLike, *, size: int = 11, sigma: float = 5.0) -> NDArray[np.float32]:
    """Blur with a Gaussian cut to `size` taps along each axis, the border mirrored.

    Args:
        image: (H, W, 3) in [0, 1].
        size: taps, odd.
        sigma: standard deviation in pixels.

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        InputError: `size` is not odd and positive, or `sigma` not positive.
    """
    from scipy.ndimage import gaussian_filter1d  # here: a fifth of a second to import

    blurred = as_image(image)
    if size < 1 or size % 2 == 0:
        raise InputError(f"expected an odd number of taps, got size {size}. Use 11, say.")
    if not sigma > 0:
        raise InputError(f"expected a sigma above 0 pixels, got {sigma}. Use 5, say.")
    for axis in (0, 1):
        # scipy's 'reflect' repeats the pixel at the border, as in d c b a | a b c d.
        blurred = gaussian_filter1d(blurred, sigma, axis, mode="reflect", radius=size // 2)
    return blurred.clip(0, 1)  # the taps' sum is 1 but for rounding


def _normalise(
    scores: NDArray[np.float64],
    normalise: Normalisation,
    *,
    image_score: float,
    other_score: float,
) -> NDArray[np.float64]:
    if normalise == "none":
        return scores
    zero = other_score if normalise == "range" else 0.0
    unit = image_score - zero
    if not unit > 0:  # less than 0 would turn the curve upside down, and better into worse
        what = "above what hides it" if normalise == "range" else "above 0"
        raise InputError(
            f"expected an image that scores {what} ({zero:g}) to normalise by {normalise!r}, got "
            f"{image_score:g}. Use normalise='none', or leave this image out."
        )
    return (scores - zero) / unit


def _check_normalisation(normalise: str) -> None:
    if normalise not in get_args(Normalisation):
        known = ", ".join(map(repr, get_args(Normalisation)))
        raise InputError(f"expected normalise among {known}, got {normalise!r}.")


def _fractions(num_pixels: int, pixels_per_step: int) -> NDArray[np.float64]:
    num_steps = -(-num_pixels // pixels_per_step)
    changed = np.minimum(np.arange(num_steps + 1) * pixels_per_step, num_pixels)
    return np.asarray(changed / num_pixels, dtype=np.float64)


def _planes(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, 3) -> (3, H W), a copy."""
    return np.array(image.transpose(2, 0, 1), order="C").reshape(3, -1)


def _fill(baseline: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = np.asarray(baseline, dtype=np.float32)
    if values.shape not in ((), (3,), shape):
        raise InputError(
            f"expected a baseline that is a number, (3,) or {shape}, got shape {values.shape}. "
            "Pass one value, one for each colour, or an image of the same size."
        )
    return np.broadcast_to(values, shape)


def _as_weights(weights: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(weights, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise InputError(
            f"expected finite weights (K,), one for each output, got shape {values.shape}. "
            "Pass one target at a time."
        )
    return values


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise InputError(f"expected {name} of at least 1, got {value}. Raise it.")


def _check_scores(answer: ArrayLike, num_images: int, num_outputs: int) -> NDArray[np.float64]:
    scores = np.asarray(answer, dtype=np.float64)
    if scores.shape != (num_images, num_outputs):
        raise BlackBoxError(
            f"expected scores ({num_images}, {num_outputs}) for {num_images} images and "
            f"{num_outputs} weights, the black box returned {scores.shape}. Return one row for "
            "each image and one column for each weight."
        )
    if not np.isfinite(scores).all():
        raise BlackBoxError(
            "expected finite scores, the black box returned NaN or infinity. Check its outputs."
        )
    return scores
