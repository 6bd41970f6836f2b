"""Insertion and deletion: how the score changes as pixels go or come in order of their saliency.

Petsiuk, Das, Saenko: RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC
2018, section 4.2. Pixels change from a start image to an end image, most salient first, a fixed
number at each step. The black box scores the start and the image after every step:

- deletion goes from the image to a constant. A good map makes the score fall at once, so a small
  area under the curve is good;
- insertion goes from the blurred image to the image. A large area is good.

Image and map must have one size. The size that the black box looks at is best: a step then changes
a fixed number of the pixels that it sees. Resize both first (`iassa.image.to_planes`,
`iassa.image.resize`). The overlap with an annotation belongs to the size of the annotation.

Pass a black box of iassa as `black_box.call_without_copy`: the images are a view of planes that are
written anew for each batch, so it needs no copy of them.

The curve has the unit of the score, so confident images dominate a mean over images. `normalise`
divides each curve by its own scores:

- 'none': s, as Petsiuk et al. do;
- 'score': s / s(image), the share of the score that is left, as in the average drop of
  Chattopadhay et al.: Grad-CAM++, WACV 2018;
- 'range': (s - s(other)) / (s(image) - s(other)), where other is the end that is not the image: 1
  for the image and 0 for what hides it, as Schulz et al.: Restricting the Flow, ICLR 2020,
  normalise their degradation curves (they by means over the dataset, we for one image).

Two points differ from the authors' code on purpose. Their blur pads with black, which adds a dark
border to the start image; here the border is mirrored. Their kernel is scipy's Gaussian folded at
the edges of its 11 x 11 window, nearly a box; here it is the Gaussian itself.
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

Images: TypeAlias = NDArray[np.float32]
# Changed pixels (H, W) bool -> the image (H, W, 3) float32 in [0, 1] after their change.
Remove: TypeAlias = Callable[[NDArray[np.bool_]], NDArray[np.float32]]
Normalisation: TypeAlias = Literal["none", "score", "range"]


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores along the way from the start image to the end image.

    Attributes:
        scores: (S + 1,) float64, the score of the start image and of the image after each of the S
            steps, normalised or not.
        fractions: (S + 1,) float64 in [0, 1], the share of pixels changed by then. They are evenly
            spaced, but the last step may be smaller.
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
    baseline: ArrayLike | Remove = 0.5,
    pixels_per_step: int = 224,
    batch_size: int = 16,
    normalise: Normalisation = "none",
) -> Curve:
    """Deletion curve: a baseline replaces pixels, most salient first. Lower is better.

    Args:
        saliency: (H, W) finite; only its order counts.
        image: (H, W, 3) in [0, 1].
        black_box: images (N, H, W, 3) float32 in [0, 1] -> scores (N, K).
        weights: (K,) of the target.
        baseline: replaces deleted pixels, in [0, 1]: a number, (3,) or (H, W, 3). ImageNet's mean,
            (0.485, 0.456, 0.406), is the zero that Petsiuk et al. put into the normalised image;
            mid-grey is near it. Or a function of the deleted pixels (see `Remove`), such as
            `LinearImputation`.
        pixels_per_step: pixels that change between two scores.
        batch_size: the most images in a call of the black box.
        normalise: how the scores are normalised; see above.

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
    end = baseline if callable(baseline) else as_fill(baseline, image.shape)
    _check_normalisation(normalise)
    steps = {"pixels_per_step": pixels_per_step, "batch_size": batch_size}
    curve = causal_curve(saliency, black_box, weights, start=image, end=end, **steps)
    return _normalise(curve, normalise, whole=0)


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
        pixels_per_step: pixels that change between two scores.
        batch_size: the most images in a call of the black box.
        normalise: how the scores are normalised; see above.

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
    start = gaussian_blur(image, size=blur_size, sigma=blur_sigma)
    _check_normalisation(normalise)
    steps = {"pixels_per_step": pixels_per_step, "batch_size": batch_size}
    curve = causal_curve(saliency, black_box, weights, start=start, end=image, **steps)
    return _normalise(curve, normalise, whole=-1)


def causal_curve(
    saliency: ArrayLike,
    black_box: Callable[[Images], ArrayLike],
    weights: ArrayLike,
    *,
    start: ArrayLike,
    end: ArrayLike | Remove,
    pixels_per_step: int = 224,
    batch_size: int = 16,
) -> Curve:
    """Scores as pixels change from `start` to `end` in order of falling saliency.

    Equally salient pixels change in row order. The memory needed is that of one batch. The black
    box must not keep its images: their buffer is used again.

    Args:
        saliency: (H, W) finite; only its order counts.
        black_box: images (N, H, W, 3) float32 in [0, 1] -> scores (N, K). The images are a view of
            planes (N, 3, H, W), so that a network which wants planes gets them without a copy.
        weights: (K,) of the target: the score is their inner product with the black box's scores.
        start: (H, W, 3) in [0, 1], the image of the first score.
        end: (H, W, 3) in [0, 1], the image of the last score. Or a function of the changed pixels,
            which is asked at every step, where what a pixel becomes depends on the others.
        pixels_per_step: pixels that change between two scores.
        batch_size: the most images in a call of the black box.

    Returns:
        The curve over S = ceil(H W / pixels_per_step) steps.

    Raises:
        InputError: an argument has another shape, dtype or range.
        BlackBoxError: the scores are not (N, K) or not finite.
    """
    saliency, start = as_map(saliency), as_image(start)
    _check_size("saliency", saliency.shape, start.shape[:2])
    after = None if callable(end) else as_image(end)
    if after is not None:
        _check_size("end", after.shape, start.shape)
        after = _planes(after)
    for name, value in (("pixels_per_step", pixels_per_step), ("batch_size", batch_size)):
        if value < 1:
            raise InputError(f"expected {name} of at least 1, got {value}. Raise it.")
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 1 or not np.isfinite(weights).all():
        raise InputError(
            f"expected finite weights (K,), one for each output, got shape {weights.shape}. "
            "Pass one target at a time."
        )
    order = np.argsort(-saliency, axis=None, kind="stable")
    changed = np.zeros(saliency.size, dtype=np.bool_)
    planes = _planes(start)
    num_scores = 1 + -(-order.size // pixels_per_step)
    scores = np.empty(num_scores)
    shape = (min(batch_size, num_scores), 3, *saliency.shape)
    buffer = np.empty(shape, dtype=np.float32)
    for first in range(0, num_scores, len(buffer)):
        batch = buffer[: num_scores - first]
        for row, step in enumerate(range(first, first + len(batch))):
            if step > 0:
                pixels = order[(step - 1) * pixels_per_step : step * pixels_per_step]
                changed[pixels] = True
                if after is not None:
                    planes[:, pixels] = after[:, pixels]
                elif callable(end):
                    planes = _planes(end(changed.reshape(saliency.shape)))
            batch[row] = planes.reshape(batch[row].shape)
        answer = check_scores(black_box(batch.transpose(0, 2, 3, 1)), len(batch), weights.size)
        scores[first : first + len(batch)] = answer @ weights
    num_changed = np.minimum(np.arange(num_scores) * pixels_per_step, order.size)
    return Curve(scores, np.asarray(num_changed / order.size, dtype=np.float64))


def gaussian_blur(image: ArrayLike, *, size: int = 11, sigma: float = 5.0) -> NDArray[np.float32]:
    """Blur with a Gaussian cut to `size` taps along each axis, the border mirrored.

    Args:
        image: (H, W, 3) in [0, 1].
        size: taps, odd.
        sigma: standard deviation in pixels.

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        InputError: `size` is not odd and positive, or `sigma` is not positive.
    """
    from scipy.ndimage import gaussian_filter1d  # here, as it takes a fifth of a second to import

    blurred = as_image(image)
    if size < 1 or size % 2 == 0:
        raise InputError(f"expected an odd number of taps, got size {size}. Use 11.")
    if not sigma > 0:
        raise InputError(f"expected a sigma above 0 pixels, got {sigma}. Use 5.")
    for axis in (0, 1):
        # scipy's 'reflect' repeats the pixel at the border, as in d c b a | a b c d.
        blurred = gaussian_filter1d(blurred, sigma, axis, mode="reflect", radius=size // 2)
    return blurred.clip(0, 1)  # rounding may leave the range


def _check_normalisation(normalise: str) -> None:
    if normalise not in get_args(Normalisation):
        known = ", ".join(map(repr, get_args(Normalisation)))
        raise InputError(f"expected normalise among {known}, got {normalise!r}.")


def _normalise(curve: Curve, normalise: Normalisation, whole: Literal[0, -1]) -> Curve:
    """The curve by its own scores; `whole` is the place of the image's score."""
    if normalise == "none":
        return curve
    image_score, other_score = curve.scores[whole], curve.scores[-1 - whole]
    zero = other_score if normalise == "range" else 0.0
    unit = image_score - zero
    if not unit > 0:  # a negative unit would turn the curve upside down
        what = "above what hides it" if normalise == "range" else "above 0"
        raise InputError(
            f"expected an image that scores {what} ({zero:g}) to normalise by {normalise!r}, got "
            f"{image_score:g}. Use normalise='none', or leave this image out."
        )
    return Curve((curve.scores - zero) / unit, curve.fractions)


def _planes(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy of an image (H, W, 3) as (3, H W)."""
    return np.array(image.transpose(2, 0, 1), order="C").reshape(3, -1)


def _check_size(name: str, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if got != expected:
        raise InputError(f"expected {name} of shape {expected}, got {got}. Resize it.")


def as_fill(baseline: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """What replaces pixels, (H, W, 3), from a number, (3,) or (H, W, 3)."""
    values = np.asarray(baseline, dtype=np.float32)
    if values.shape not in ((), (3,), shape):
        raise InputError(
            f"expected a baseline that is a number, (3,) or {shape}, got shape {values.shape}."
        )
    return np.broadcast_to(values, shape)


def check_scores(answer: ArrayLike, num_images: int, num_outputs: int) -> NDArray[np.float64]:
    """Scores (N, K) as float64, or a `BlackBoxError`."""
    scores = np.asarray(answer, dtype=np.float64)
    if scores.shape != (num_images, num_outputs):
        raise BlackBoxError(
            f"expected scores ({num_images}, {num_outputs}), a row for each image and a column for "
            f"each weight, the black box returned {scores.shape}."
        )
    if not np.isfinite(scores).all():
        raise BlackBoxError(
            "expected finite scores, the black box returned NaN or infinity. Check its outputs."
        )
    return scores
