"""Off the object: how much of a map's positive saliency lies where the object is not.

A map of few calls has errors. At a pixel of no effect half of them are positive, so a sum over
positive pixels counts errors as saliency, and there are most such pixels off a small object. So two
halves of the masks share the work: one says which pixels are positive, the other how high they are.
Their errors have nothing to do with each other. With errors e of size SE that are normal, S + e and
S - e are such halves (Rasines and Young, Biometrika, 2023), and the mean over all ways to halve is

    m = S Phi(S / SE) - SE phi(S / SE)

with the normal distribution Phi and its density phi. Where SE is 0 it is the positive part of S. A
pixel of no effect has an m of 0 on average. The share is that of the sums of m.

The interval is that of the jackknife: the share without each group of masks, for the map of which
see `estimators.jackknife`. So errors count that neighbouring pixels have in common. An error at
each pixel alone does not say what they have in common; then there is no interval, and no m.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr
from scipy.stats import t as student

from iassa.checks import as_array, taking
from iassa.explanations.explanation import Explanation
from iassa.image import resize
from iassa.methods.explain import retarget
from iassa.metrics.overlap import as_annotation, as_map, natural_minimum
from iassa.models.targets import find_target

LEVEL = 0.95
FEWEST_GROUPS = 8  # two are an error at each pixel, see `jackknife.deviate`


@dataclass(frozen=True)
class OffObject:
    """The share of a map's positive saliency that is off an object.

    Attributes:
        share: in [0, 1]; 0 for a map without positive saliency.
        interval: of 95 %, in [0, 1]; None where the errors of the map are not known, or the map is
            a mean score.
    """

    share: float
    interval: tuple[float, float] | None = None

    @property
    def least(self) -> float:
        """The lower end of the interval; the share where there is none."""
        return self.share if self.interval is None else self.interval[0]

    def __str__(self) -> str:
        """As in '62 % [55 %, 70 %]'."""
        ends = "" if self.interval is None else " [{:.0%}, {:.0%}]".format(*self.interval)
        return f"{self.share:.0%}{ends}".replace("%", " %")


@taking("explanation")
def off_object(explanation: Explanation, mask: ArrayLike, target: int | str = 0) -> OffObject:
    """How much of a map's positive saliency lies off an object, with its 95 % interval.

    An explanation that was loaded has no `deviations`. Its maps are made again from its evidence,
    without a call, in about a second.

    Args:
        explanation: of the image.
        mask: (H, W) bool, True on the object, at the size of the image as it was given or of the
            map; one pixel is set at least.
        target: of the explanation: its place, from 0, or its name.

    Returns:
        The share and its interval. A map that is all errors has the interval (0, 1).

    Raises:
        InputError: no such target, a mask of another shape or dtype, or an empty one; or maps that
            cannot be made again, see `iassa.retarget`.

    Example:
        >>> import iassa
        >>> image = np.full((24, 32, 3), 0.2, np.float32)
        >>> image[6:18, 8:24] = 1  # a bright patch, and a black box that looks at nothing else
        >>> brightness = lambda images: images[:, 6:18, 8:24].mean(axis=(1, 2, 3))[:, None]
        >>> method = iassa.methods.Iassa(features="none")
        >>> explanation = iassa.explain(image, brightness, method=method, calls=200)
        >>> patch = image[:, :, 0] == 1
        >>> off_object(explanation, patch).share < 0.2, off_object(explanation, ~patch).share > 0.8
        (True, True)
    """
    place = find_target(target, explanation.targets)
    saliency = explanation.saliency[place]
    off = 1 - _at_size_of(explanation, mask)
    deviations = _find_deviations(explanation, place)
    if deviations is None:
        return OffObject(_share(_positive(as_map(saliency)), off) or 0.0)
    error = explanation.standard_error[place].astype(np.float64)
    share = _share(_expect_positive(saliency, error), off)
    if share is None:
        return OffObject(_share(_positive(as_map(saliency)), off) or 0.0, (0.0, 1.0))
    moved = [
        _share(_expect_positive(saliency + resize(one, saliency.shape).numpy(), error), off)
        for one in torch.from_numpy(deviations).double()
    ]
    return OffObject(_clip(share), _interval(share, moved))


def _at_size_of(explanation: Explanation, mask: ArrayLike) -> NDArray[np.float64]:
    """The part of each pixel of the maps (h, w) that is on the object."""
    size = explanation.saliency.shape[1:]
    given = as_array(mask, "a mask")
    if given.shape != size:
        given = as_annotation(given, explanation.image_size)
        return resize(torch.from_numpy(given).double(), (size[0], size[1])).clamp(0, 1).numpy()
    return as_annotation(given, size).astype(np.float64)


def _find_deviations(explanation: Explanation, place: int) -> NDArray[np.float32] | None:
    """(G, rows, columns) of a target; None where the share has no interval."""
    if explanation.method["measures"] != "effect":
        return None  # a mean score has no zero of its own, and errors lift its minimum
    if not np.isfinite(explanation.standard_error[place]).all():
        return None
    if explanation.deviations is None:
        if explanation.evidence is None:
            return None
        again = retarget(explanation, explanation.targets[place]).deviations
        assert again is not None, "it was made just now"
        found = again[:, 0]
    else:
        found = explanation.deviations[:, place]
    return found if len(found) >= FEWEST_GROUPS else None


def _positive(saliency: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(saliency - natural_minimum(saliency), 0)


def _expect_positive(
    saliency: NDArray[np.floating], error: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What is positive of a map (h, w) beside its errors: m, see above."""
    z = saliency / np.maximum(error, np.finfo(np.float64).tiny)
    z = z.clip(-40, 40)  # beyond, the normal distribution is 0 or 1 to the last bit
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return np.asarray(saliency * ndtr(z) - error * density, np.float64)


def _share(mass: NDArray[np.float64], off: NDArray[np.float64]) -> float | None:
    """The share of the mass that is off the object; None of no mass."""
    peak = np.abs(mass).max()
    whole = float((mass / peak).sum()) if peak > 0 else 0.0  # no sum overflows
    return float((mass / peak * off).sum()) / whole if whole > 0 else None


def _interval(share: float, without: list[float | None]) -> tuple[float, float]:
    """From the share with all groups of masks, and without each."""
    known = [one for one in without if one is not None]
    groups = len(without)
    if len(known) < groups:
        return 0.0, 1.0
    spread = float(np.square(np.array(known) - np.mean(known)).sum())
    quantile = float(student.ppf((1 + LEVEL) / 2, groups - 1))
    reach = math.sqrt((groups - 1) / groups * spread) * quantile
    return _clip(share - reach), _clip(share + reach)


def _clip(share: float) -> float:
    return min(max(share, 0.0), 1.0)
