"""Shared places: where the maps of one class look, and those of others do not, as at a stamp.

A place is a window of 3 x 3 of the 14 x 14 cells that a map is cut into. Its height in an image is
its positive saliency, as a share of that of the image's highest place. For a class and a place the
mean height over the images of the class is compared with that over all images, in standard errors:

    z = (mean of the class - mean of all) / (standard deviation of all / sqrt(images of the class))

Many places of many classes are looked at, so the largest z is compared with that of the same images
whose classes are dealt again, `DEALS` times (Westfall and Young, 1993). The place is reported if at
most 5 % of the deals have a z as large anywhere. So where the class of an image has nothing to do
with where its map looks, an audit reports a place in one of twenty runs, however many classes there
are. What all classes have in common, as objects in the middle, is no place of a class.

Then the images of that class are left out, and the others are searched again: maps of other classes
look away from a stamp of one, which is no place of theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn.functional import adaptive_avg_pool2d

from iassa.checks import Within, as_array, taking
from iassa.errors import require
from iassa.metrics.overlap import as_map, natural_minimum

Seed: TypeAlias = Annotated[int, Within(0)]

CELLS = 14  # rows and columns that a map is cut into
WINDOW = 3  # of a place
PLACES = (CELLS - WINDOW + 1) ** 2
LOOKS = 0.5  # height from which an image is said to look at a place
FEWEST = 3  # images of a class, and of these those that look there
DEALS = 999
CHANCE = 0.05  # of a report where there is nothing
ROUNDING = 1e-9  # of z


@dataclass(frozen=True)
class SharedPlace:
    """A place that the maps of a class look at more often than those of others.

    Attributes:
        category: the class.
        box: (top, left, bottom, right) as shares of the height and the width.
        images: which look there, by place among the images of the audit.
        of: images of the class.
        others: other images that look there.
        of_others: other images.
        chance: that classes which are dealt at random show as much anywhere.
    """

    category: str
    box: tuple[float, float, float, float]
    images: tuple[int, ...]
    of: int
    others: int
    of_others: int
    chance: float


def measure_places(saliency: ArrayLike) -> NDArray[np.float64]:
    """The share of a map's positive saliency in each cell.

    Args:
        saliency: (H, W) finite.

    Returns:
        (14, 14), of sum 1; all 0 of a flat map.

    Raises:
        InputError: the shape or dtype is another, or values are not finite.
    """
    saliency = as_map(saliency)
    mass = np.maximum(saliency - natural_minimum(saliency), 0)
    peak = mass.max()
    if peak <= 0:
        return np.zeros((CELLS, CELLS))
    cells = adaptive_avg_pool2d(torch.from_numpy(mass / peak)[None], CELLS)[0].numpy()
    return np.asarray(cells / cells.sum(), np.float64)


@taking("seed")
def find_shared_places(
    places: ArrayLike, categories: Sequence[str], *, seed: Seed = 0
) -> tuple[SharedPlace, ...]:
    """The place of each class that its maps share, where that is no chance.

    Args:
        places: (N, 14, 14), of each image, see `measure_places`.
        categories: the class of each.
        seed: of the deals.

    Returns:
        At most one of each class, the surest first; the others that it is compared with are those
        of classes that were not found before it. None of a class of fewer than three images, and
        none where there is one class: there is nothing to compare it with.

    Raises:
        InputError: places of another shape, or not as many classes.
    """
    classes, cells = np.asarray(categories, object), as_array(places, "places")
    require(
        classes.ndim == 1
        and cells.shape == (len(classes), CELLS, CELLS)
        and cells.dtype.kind in "fiu",
        f"expected places (N, {CELLS}, {CELLS}) of numbers and N classes, got {cells.shape} of "
        f"{cells.dtype} and {classes.size} of these. Stack what measure_places gives.",
    )
    heights = _measure_heights(cells)
    rng = np.random.default_rng(seed)
    left, found = np.arange(len(classes)), list[SharedPlace]()
    while (place := _find_surest(heights, classes, left, rng)) is not None:
        found.append(place)
        left = left[classes[left] != place.category]
    return tuple(found)


def _find_surest(
    heights: NDArray[np.float64],
    classes: NDArray[np.object_],
    left: NDArray[np.intp],
    rng: np.random.Generator,
) -> SharedPlace | None:
    """The surest place of a class among the images that are left; None if it may be chance."""
    known = Counter(classes[left].tolist())
    names = [name for name, count in known.items() if count >= FEWEST]
    if len(known) < 2 or not names:
        return None
    own = heights[left]
    spread = own.std(0)
    scaled = np.where(spread > 0, (own - own.mean(0)) / np.where(spread > 0, spread, 1), 0)
    member = np.array([classes[left] == name for name in names])
    weights = member / np.sqrt(member.sum(1, keepdims=True))
    z = weights @ scaled
    k, window = (int(place) for place in np.unravel_index(z.argmax(), z.shape))
    orders = (rng.permutation(len(left)) for _ in range(DEALS))
    dealt = np.array([(weights[:, order] @ scaled).max() for order in orders])
    chance = (1 + int((dealt >= z[k, window] - ROUNDING).sum())) / (1 + DEALS)
    looking = own[:, window] >= LOOKS
    if chance > CHANCE or (looking & member[k]).sum() < FEWEST:
        return None
    row, column = divmod(window, CELLS - WINDOW + 1)
    return SharedPlace(
        category=names[k],
        box=(row / CELLS, column / CELLS, (row + WINDOW) / CELLS, (column + WINDOW) / CELLS),
        images=tuple(left[looking & member[k]].tolist()),
        of=int(member[k].sum()),
        others=int((looking & ~member[k]).sum()),
        of_others=int((~member[k]).sum()),
        chance=chance,
    )


def _measure_heights(places: NDArray[Any]) -> NDArray[np.float64]:
    """The height of each of P places in N images (N, P)."""
    windows = np.lib.stride_tricks.sliding_window_view(
        places.astype(np.float64), (WINDOW, WINDOW), (1, 2)
    )
    mass = windows.sum((3, 4)).reshape(len(places), PLACES)
    highest = mass.max(1, keepdims=True)
    return np.asarray(mass / np.where(highest > 0, highest, 1))
